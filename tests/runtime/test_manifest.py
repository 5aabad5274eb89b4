"""The contract: what the exporter writes is valid, what anyone changed is refused by name."""

from __future__ import annotations

import copy
import json

import pytest
from checkpoint_files import RRWKV
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from rrwkv_runtime.bundle.canonical import canonical_json
from rrwkv_runtime.bundle.schema import violations
from rrwkv_runtime.errors import BundleError, DamagedBundle, NewerFormat, OlderFormat
from rrwkv_runtime.manifest import Manifest, Thinking, check_sizes, compute_bundle_id, schema, verify_files
from rrwkv_runtime.model import Model
from rrwkv_runtime.state import State

FILES = ["model.onnx", "model.onnx.data", "decode.onnx", "segment_end.onnx", "tokenizer.json"]


@pytest.fixture(scope="session")
def fields(small_bundle):
    """The small bundle's manifest as JSON; copy it to change it."""
    return json.loads((small_bundle / "manifest.json").read_text())


def rewrite(bundle, change, sign=True):
    """Change the manifest's JSON in place and, unless told not to, give it the bundle id that then belongs to it."""
    path = bundle / "manifest.json"
    fields = json.loads(path.read_text())
    change(fields)
    if sign:
        fields["bundle_id"] = compute_bundle_id(fields)
    path.write_text(json.dumps(fields))


def set_at(fields, path, value):
    for step in path[:-1]:
        fields = fields[step]
    fields[path[-1]] = value


def paths(value, path=()):
    """Every place in a JSON value."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(schema())


def test_what_the_exporter_writes_is_valid(fields):
    Draft202012Validator(schema()).validate(fields)
    assert list(violations(fields, schema())) == []
    assert {entry["name"] for entry in fields["files"]} == set(FILES)


def test_a_model_without_mediums_or_tokenizer_is_valid_too(make_tiny):
    fields = json.loads((make_tiny(RRWKV, 0, "stable").path / "manifest.json").read_text())
    Draft202012Validator(schema()).validate(fields)
    assert fields["tokenizer"] is None


THINKING = {"open": " <t", "skip": "<t></t>", "begin": "<t>", "end": "</t>", "kept": True}


def test_how_a_model_thinks_comes_with_its_chat_and_decides_the_id(bundle):
    before = Manifest.load(bundle)
    assert "thinking" not in before.to_json()["chat"]
    assert (before.chat.thinking, before.chat.system) == (None, "")
    rewrite(bundle, lambda fields: fields["chat"].update(system="System: ", thinking=THINKING))
    manifest = Manifest.load(bundle)
    assert (manifest.chat.thinking, manifest.chat.system) == (Thinking(**THINKING), "System: ")
    assert manifest.to_json() == json.loads((bundle / "manifest.json").read_text())
    assert manifest.bundle_id != before.bundle_id
    rewrite(bundle, lambda fields: fields["chat"].update(thinking=None))
    assert Manifest.load(bundle).chat.thinking is None


# jsonschema takes 1.0 for an integer and lets `$` match before a last newline; the runtime is stricter in both.
texts = st.text(max_size=6).filter(lambda text: not text.endswith("\n")) | st.sampled_from(["../x", "a/b", "plain"])
numbers = st.integers(-2, 2**21) | st.floats(allow_nan=False).filter(lambda x: not x.is_integer())
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)


def mutate(data, fields):
    """Replace, add or remove a value anywhere, up to three times."""
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([place for place in paths(fields) if place]))
        parent = fields
        for step in path[:-1]:
            parent = parent[step]
        action = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "remove":
            del parent[path[-1]]
        elif action == "replace":
            parent[path[-1]] = data.draw(values)
        elif isinstance(parent, dict):
            parent[data.draw(texts)] = data.draw(values)
        else:
            parent.append(data.draw(values))


@settings(max_examples=200)
@given(st.data())
def test_the_checker_agrees_with_jsonschema(fields, data):
    fields = copy.deepcopy(fields)
    fields["chat"]["thinking"] = dict(THINKING)
    mutate(data, fields)
    expected = Draft202012Validator(schema()).is_valid(fields)
    found = list(violations(fields, schema()))
    assert (not found) == expected, found


@given(st.data())
def test_a_mutated_manifest_is_the_same_or_refused(fields, data):
    """Whatever was changed: a BundleError, or a manifest whose behaviour is what it was."""
    changed = copy.deepcopy(fields)
    mutate(data, changed)
    try:
        manifest = Manifest.from_json(changed)
    except BundleError:
        return
    assert manifest.bundle_id == fields["bundle_id"]
    assert manifest.states == Manifest.from_json(fields).states


@pytest.mark.parametrize("value", [float("nan"), 1.0, True], ids=repr)
def test_the_checker_is_strict_about_numbers(fields, value):
    fields = copy.deepcopy(fields)
    set_at(fields, ["states", 1, "shape", 0], value)
    assert [text.split(" must")[0] for text in violations(fields, schema())] == ["states[1].shape[0]"]


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["config", "vocab_size"], "many", "config.vocab_size must be integer, not 'many'"),
        (["config", "vocab_size"], 2**20 + 1, "config.vocab_size is out of range"),
        (["states", 1, "dtype"], "float64", r"states\[1\].dtype must be 'float32' or"),
        (["states", 1, "shape"], [0, 2, 2], r"states\[1\].shape\[0\] is out of range: 0"),
        (["graphs", "main", "chunk"], 65537, "graphs.main.chunk is out of range"),
        (["graphs", "main", "speed"], 3, "graphs.main.speed is not a known field"),
        (["model_id"], "0" * 63 + "\n", "model_id is not acceptable"),
        (["files", 0, "name"], "../x", r"files\[0\].name is not acceptable: '../x'"),
        (["files", 0, "name"], "/etc/passwd", r"files\[0\].name is not acceptable: '/etc/passwd'"),
        (["files", 0, "name"], "a/../../x", r"files\[0\].name is not acceptable"),
        (["graphs", "main", "file"], "..\\x", "graphs.main.file is not acceptable"),
        (["tokenizer", "type"], "sentencepiece", "tokenizer.type must be 'tokenizer.json' or 'rwkv-world'"),
        (["tokenizer", "file"], ".hidden", "tokenizer.file is not acceptable"),
        (["chat", "thinking"], True, "chat.thinking must be object or null, not True"),
        (["chat", "thinking"], {**THINKING, "begin": ""}, "chat.thinking.begin is not acceptable: ''"),
        (["chat", "thinking"], {**THINKING, "kept": 1}, "chat.thinking.kept must be boolean, not 1"),
        (["chat", "thinking"], {"open": ""}, "chat.thinking.skip is missing"),
        (["extra"], 1, "manifest.json: extra is not a known field"),
    ],
)
def test_a_wrong_field_is_named(fields, path, value, named):
    fields = copy.deepcopy(fields)
    set_at(fields, path, value)
    with pytest.raises(DamagedBundle, match=named):
        Manifest.from_json(fields)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["decode", "reads"], ["medium_bank", "memory"], "'memory' of graph 'decode' is no state"),
        (["segment_end", "updates"], ["memory"], "'memory' of graph 'segment_end' is no state"),
        (["segment_end", "updates"], [], "graph 'segment_end' does not say which states it updates, and when"),
        (["segment_end", "after_every"], 0, "graph 'segment_end' does not say which states it updates, and when"),
        (["main", "after_every"], 4, "graph 'main' takes tokens, and yet says when it updates states"),
        (["main", "reads"], ["shift"], "graph 'main' only reads states, but does not run one token"),
        (["main", "runs"], "one", "2 graphs run 'one', and one is the most"),
        (["main", "runs"], "fixed", "graph 'main' runs 'fixed', which is not what fixed_shape says"),
        (["main", "variant"], "x", "no graph that runs as 'x' may run 'any'"),
        (["main"], None, "graphs.main must be object"),
    ],
)
def test_a_graph_that_cannot_be_run_is_named(bundle, path, value, named):
    rewrite(bundle, lambda fields: set_at(fields["graphs"], path, value))
    with pytest.raises(DamagedBundle, match=named):
        Manifest.load(bundle)


def test_every_required_field_is_missed_by_name(fields):
    for name in schema()["required"]:
        with pytest.raises(BundleError, match=name if name != "format" else "not the manifest of an rrwkv bundle"):
            Manifest.from_json({key: value for key, value in fields.items() if key != name})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["config", "num_layers"], 9),
        (["states", 1, "init"], 1),
        (["chat", "user"], "Human: "),
        (["states", 2, "form"], "stable"),
        (["files", 0, "bytes"], 7),
        (["model_id"], "0" * 64),
        (["tokenizer"], None),
        (["quantization"], {"scheme": "int8"}),
    ],
)
def test_a_tampered_field_is_noticed(bundle, path, value):
    rewrite(bundle, lambda fields: set_at(fields, path, value), sign=False)
    with pytest.raises(DamagedBundle, match="its content does not match its bundle id"):
        Manifest.load(bundle)


def test_parity_and_provenance_do_not_change_the_bundle_id(bundle, fields):
    rewrite(bundle, lambda fields: fields.update(parity=None, provenance={"note": "measured again"}), sign=False)
    assert Manifest.load(bundle).bundle_id == fields["bundle_id"]


@pytest.mark.parametrize("rest", [{}, {"states": "of another kind"}, {"files": None}])
def test_a_newer_format_is_told_from_damage(fields, rest):
    with pytest.raises(NewerFormat, match="bundle format 3 is newer than this runtime's, 2; upgrade it"):
        Manifest.from_json({**fields, **rest, "format_version": 3})


@pytest.mark.parametrize("rest", [{}, {"graphs": "of another kind"}])
def test_an_older_format_is_to_be_exported_again(fields, rest):
    with pytest.raises(OlderFormat, match="bundle format 1 is older than this runtime's, 2; export its checkpoint"):
        Manifest.from_json({**fields, **rest, "format_version": 1})


@pytest.mark.parametrize("version", [0, "2", 2.5, True, None])
def test_an_impossible_format_version_is_damage(fields, version):
    with pytest.raises(DamagedBundle, match="format_version"):
        Manifest.from_json({**fields, "format_version": version})


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 10_000], ids=range(5))
def test_a_manifest_that_is_not_json_is_named(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(DamagedBundle, match=r"not (valid JSON|UTF-8 text)") as caught:
        Manifest.load(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"format": "onnx"}'])
def test_other_json_is_not_a_manifest(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BundleError, match="not the manifest of an rrwkv bundle"):
        Manifest.load(tmp_path)


def test_what_is_no_bundle_is_named(tmp_path):
    with pytest.raises(BundleError, match="absent: no such bundle directory"):
        Manifest.load(tmp_path / "absent")
    with pytest.raises(BundleError, match=r"not a bundle, it has no manifest.json"):
        Manifest.load(tmp_path)


def test_a_whole_bundle_passes(small_bundle):
    verify_files(small_bundle, Manifest.load(small_bundle))


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(DamagedBundle, match=f"{name} is missing"):
        check_sizes(bundle, Manifest.load(bundle))


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_named(bundle, name):
    size = (bundle / name).stat().st_size
    with (bundle / name).open("r+b") as stream:
        stream.truncate(size - 1)
    with pytest.raises(DamagedBundle, match=f"{name} has {size - 1} bytes instead of {size}"):
        check_sizes(bundle, Manifest.load(bundle))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [0, -1, 1000])
def test_a_flipped_byte_is_noticed(bundle, name, at):
    content = bytearray((bundle / name).read_bytes())
    content[at] ^= 1
    (bundle / name).write_bytes(content)
    check_sizes(bundle, Manifest.load(bundle))
    with pytest.raises(DamagedBundle, match=f"{name} is not the file that was exported"):
        verify_files(bundle, Manifest.load(bundle))


def test_a_link_out_of_the_bundle_is_refused(bundle, tmp_path):
    outside = tmp_path / "elsewhere.json"
    (bundle / "tokenizer.json").rename(outside)
    (bundle / "tokenizer.json").symlink_to(outside)
    with pytest.raises(DamagedBundle, match=r"tokenizer.json leads out of the bundle's folder"):
        Model.load(bundle)


def test_a_link_inside_the_bundle_and_a_linked_bundle_are_fine(bundle, tmp_path):
    (bundle / "model.onnx.data").rename(bundle / "weights")
    (bundle / "model.onnx.data").symlink_to("weights")
    (tmp_path / "link").symlink_to(bundle, target_is_directory=True)
    verify_files(tmp_path / "link", Manifest.load(tmp_path / "link"))


def test_a_link_to_itself_is_named(bundle):
    (bundle / "tokenizer.json").unlink()
    (bundle / "tokenizer.json").symlink_to("tokenizer.json")
    with pytest.raises(DamagedBundle, match=r"tokenizer.json"):
        Model.load(bundle)


def test_a_file_that_is_used_must_be_listed(bundle):
    rewrite(bundle, lambda fields: fields["files"].pop())
    with pytest.raises(DamagedBundle, match=r"tokenizer.json is used but not listed under files"):
        Model.load(bundle)


def test_states_too_large_for_any_model_are_refused(bundle):
    rewrite(bundle, lambda fields: set_at(fields, ["states", 1, "shape"], [2**20, 2**20, 2**10]))
    with pytest.raises(DamagedBundle, match=r"states of \d+ bytes are larger than any model's"):
        Manifest.load(bundle)


@pytest.mark.parametrize("init", [[[0], [1], [2]], [[None]], [{}], ["a"], [[0], [1, 2]]], ids=repr)
def test_an_initial_value_that_is_none_is_refused(bundle, init):
    rewrite(bundle, lambda fields: set_at(fields, ["states", 1, "init"], init))
    with pytest.raises(BundleError, match="initial value of state 'shift'"):
        State.initial(Manifest.load(bundle))


@pytest.mark.parametrize("value", [float("inf"), 10**400, "\ud800"], ids=["inf", "huge", "half"])
def test_what_has_no_canonical_form_is_refused(fields, value):
    fields = copy.deepcopy(fields)
    set_at(fields, ["states", 1, "init"] if isinstance(value, int | float) else ["chat", "user"], value)
    with pytest.raises(DamagedBundle, match=r"manifest.json: it has no bundle id, for it holds"):
        Manifest.from_json(fields)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        # Most are RFC 8785's own: 3.2.2, 3.2.3 and appendix B.
        ([333333333.33333329, 1e30, 4.50, 2e-3, 1e-27], "[333333333.3333333,1e+30,4.5,0.002,1e-27]"),
        ({"a": '\u20ac$\u000f\nA\'B"\\\\"/'}, r"""{"a":"€$\u000f\nA'B\"\\\\\"/"}"""),
        ([None, True, False, -0.0, 5e-324, 1e21], "[null,true,false,0,5e-324,1e+21]"),
        ([999999999999999900000.0, 295147905179352830000], "[999999999999999900000,295147905179352830000]"),
        ([0.000001, 1e-7, -1e30, 2**53 + 1], "[0.000001,1e-7,-1e+30,9007199254740992]"),
        ({"\u20ac": 1, "\r": 2, "\U0001f600": 3, "\ufb33": 4}, '{"\\r":2,"€":1,"😀":3,"\ufb33":4}'),
    ],
)
def test_json_is_written_as_rfc_8785_has_it(value, written):
    assert canonical_json(value).decode() == written


def test_the_manifest_is_read_back_as_it_was_written(fields):
    assert Manifest.from_json(fields).to_json() == fields
