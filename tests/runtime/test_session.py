"""A loaded bundle: states come and go as promised, and what cannot be done is said in one line."""

from __future__ import annotations

import dataclasses
import itertools
import json
from dataclasses import asdict

import numpy as np
import onnx
import pytest
from checkpoint_files import RRWKV, RWKV4
from hypothesis import given
from hypothesis import strategies as st

from rrwkv_export.bundle import bundle_files, file_entries
from rrwkv_runtime.errors import (
    BundleError,
    Cancelled,
    DamagedBundle,
    InputError,
    ProviderError,
    RRWKVError,
    StateError,
)
from rrwkv_runtime.manifest import compute_bundle_id, file_sha256
from rrwkv_runtime.model import Model

IDS = np.random.default_rng(9).integers(0, 40, 24).tolist()


@pytest.fixture(scope="session")
def tiny(make_tiny):
    return make_tiny(RRWKV, 6).model


@pytest.fixture(scope="session")
def expected(tiny):
    """Logits of all IDS in one run."""
    return tiny.forward(IDS, num_logits=len(IDS))[0]


def assert_close(found, wanted):
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def sign(bundle, change):
    """Change the bundle's manifest, with every sha256 and id as if it had been exported so."""
    path = bundle / "manifest.json"
    fields = json.loads(path.read_text())
    change(fields)
    for entry in fields["files"]:
        file = bundle / entry["name"]
        entry.update(bytes=file.stat().st_size, sha256=file_sha256(file))
    fields["bundle_id"] = compute_bundle_id(fields)
    path.write_text(json.dumps(fields))


@pytest.mark.parametrize("wkv", ["plain", "stable"])
@pytest.mark.parametrize("config", [RWKV4, RRWKV], ids=["rwkv4", "rrwkv"])
def test_forward_leaves_the_given_state_as_it_was(make_tiny, config, wkv):
    model = make_tiny(config, 0, wkv).model
    _, state = model.forward(IDS[:10])
    kept = state.copy()
    first, _ = model.forward(IDS[10:], state, 14, chunk=3)
    second, _ = model.forward(IDS[10:], state, 14, chunk=3)
    np.testing.assert_array_equal(first, second)
    for name, value in kept.values.items():
        np.testing.assert_array_equal(state.values[name], value)


@given(st.data())
def test_any_chunk_and_any_number_of_logits_give_the_same_rows(tiny, expected, data):
    start = data.draw(st.integers(0, len(IDS) - 1))
    state = tiny.forward(IDS[:start])[1] if start else None
    wanted = data.draw(st.integers(1, len(IDS) - start))
    chunk = data.draw(st.integers(1, 30))
    logits, after = tiny.forward(IDS[start:], state, wanted, chunk=chunk)
    assert_close(logits, expected[len(IDS) - wanted :])
    assert after.position == len(IDS)


def test_a_step_is_a_forward_of_one_token(tiny, expected):
    decoder = tiny.decoder()
    for t, token in enumerate(IDS):
        assert_close(decoder.step(token), expected[t])
        assert decoder.position == t + 1


@given(st.lists(st.integers(-4, 6).filter(bool), min_size=1, max_size=12))
def test_steps_and_runs_may_alternate(tiny, moves):
    """Positive: a run of that many tokens. Negative: as many steps."""
    ids = IDS * 3
    decoder, wanted = tiny.decoder(), tiny.forward(ids, num_logits=len(ids))[0]
    for move in moves:
        piece = ids[decoder.position : decoder.position + abs(move)]
        logits = decoder.prefill(piece) if move > 0 else [decoder.step(token) for token in piece][-1]
        assert_close(logits, wanted[decoder.position - 1])


def test_steps_take_turns_between_two_sets_of_buffers(tiny):
    decoder = tiny.decoder()
    used = []
    for token in IDS:
        decoder.step(token)
        used.append({name: value.ctypes.data for name, value in decoder.take_state().values.items()})
    assert all(len({places[name] for places in used}) == 2 for name in used[0])
    assert all(one["shift"] != next_one["shift"] for one, next_one in itertools.pairwise(used))


def test_the_logits_of_a_step_are_a_view_that_the_next_overwrites(tiny):
    decoder = tiny.decoder()
    first = decoder.step(IDS[0])
    kept = first.copy()
    second = decoder.step(IDS[1])
    assert np.shares_memory(first, second)
    assert not np.array_equal(first, kept)


def test_a_state_is_independent_of_later_steps(tiny, expected):
    decoder = tiny.decoder()
    decoder.prefill(IDS[:10])
    state = decoder.state()
    for token in IDS[10:]:
        decoder.step(token)
    assert state.position == 10
    assert_close(tiny.forward(IDS[10:], state, 14)[0], expected[10:])


def test_a_decoder_does_not_touch_the_state_it_began_with(tiny):
    _, state = tiny.forward(IDS[:5])
    kept = state.copy()
    decoder = tiny.decoder(state)
    for token in IDS[5:]:
        decoder.step(token)
    for name, value in kept.values.items():
        np.testing.assert_array_equal(state.values[name], value)


class Interrupted:
    """A session that is interrupted while it runs, as by Ctrl-C: the run is completed, and then it is raised."""

    def __init__(self, session):
        self.io_binding, self._session = session.io_binding, session

    def run_with_iobinding(self, binding, options):
        self._session.run_with_iobinding(binding, options)
        raise KeyboardInterrupt


@pytest.mark.parametrize("graph", ["decode", "segment_end"])
def test_a_step_that_is_interrupted_never_was(tiny, expected, graph):
    """The fourth token ends a segment; the eighth does so with bound values of the decoder's own."""
    decoder = tiny.decoder()
    for t in (3, 7):
        for token in IDS[decoder.position : t]:
            decoder.step(token)
        before = decoder.state()
        decoder._sessions = {**tiny.sessions, graph: Interrupted(tiny.sessions[graph])}
        with pytest.raises(KeyboardInterrupt):
            decoder.step(IDS[t])
        decoder._sessions = tiny.sessions
        for name, value in before.values.items():
            np.testing.assert_array_equal(decoder.state().values[name], value)
        np.testing.assert_array_equal(decoder.step(IDS[t]), expected[t])


def test_graphs_and_states_are_found_by_what_they_are_for(bundle):
    """Under any names; only the graphs' values have theirs in the graphs' files."""
    wanted = Model.load(bundle).forward(IDS, num_logits=len(IDS))[0]
    sign(bundle, lambda fields: fields.update(graphs={f"g-{n}": graph for n, graph in fields["graphs"].items()}))
    decoder = Model.load(bundle).decoder()
    np.testing.assert_array_equal(np.stack([decoder.step(token).copy() for token in IDS]), wanted)


def test_the_position_has_whatever_name_the_graph_gives_it(bundle):
    for file in ("model.onnx", "decode.onnx"):
        model = onnx.load(bundle / file, load_external_data=False)
        for value in (*model.graph.input, *model.graph.output):
            value.name = value.name.replace("position", "seen")
        for node in model.graph.node:
            node.input[:] = ["seen" if name == "position" else name for name in node.input]
            node.output[:] = ["seen_out" if name == "position_out" else name for name in node.output]
        onnx.save(model, bundle / file)

    def renamed(fields):
        fields["states"][0].update(input="seen", output="seen_out")
        fields["files"] = [asdict(entry) for entry in file_entries(bundle_files(bundle), "", folder=bundle)]

    sign(bundle, renamed)
    model = Model.load(bundle)
    state = model.forward(IDS[:9])[1]
    assert state.position == state.copy().position == model.decoder(state).position == 9


def test_two_decoders_do_not_disturb_each_other(tiny, expected):
    one, other = tiny.decoder(), tiny.decoder()
    for t, token in enumerate(IDS):
        logits = one.step(token).copy()
        other.step(IDS[-1 - t])
        assert_close(logits, expected[t])


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda value: np.stack([value, value], axis=-1)[..., 0]])
def test_a_state_may_be_laid_out_in_memory_in_any_way(tiny, expected, layout):
    _, state = tiny.forward(IDS[:9])
    strided = dataclasses.replace(state, values={name: layout(value) for name, value in state.values.items()})
    assert_close(tiny.forward(IDS[9:], strided, 15, chunk=4)[0], expected[9:])


@pytest.mark.parametrize(
    "convert", [tuple, np.array, lambda ids: np.array(ids, np.uint8), lambda ids: np.array(ids)[:]]
)
def test_ids_may_come_in_any_sequence(tiny, expected, convert):
    assert_close(tiny.forward(convert(IDS))[0][0], expected[-1])
    assert_close(tiny.decoder().step(convert(IDS)[0]), expected[0])


def test_progress_is_told_after_each_chunk(tiny):
    told = []
    tiny.forward(IDS, chunk=10, progress=lambda *done: told.append(done))
    assert told == [(10, 24), (20, 24), (24, 24)]


def test_progress_can_stop_a_run_and_the_decoder_goes_on(tiny, expected):
    decoder = tiny.decoder()
    with pytest.raises(Cancelled, match="stopped after 20 of 24 tokens"):
        decoder.run(IDS, chunk=10, progress=lambda done, _: done < 15)
    assert decoder.position == 20
    assert_close(decoder.prefill(IDS[20:]), expected[-1])


def test_stopping_at_the_end_is_too_late(tiny, expected):
    logits, _ = tiny.forward(IDS, progress=lambda *_: False)
    assert_close(logits[0], expected[-1])


@pytest.mark.parametrize(
    ("ids", "options", "message"),
    [
        ([], {}, "at least one token id is needed"),
        (3, {}, "token ids must be a flat sequence of whole numbers, not 3"),
        ([[1, 2], [3, 4]], {}, "a flat sequence"),
        ([[1], [2, 3]], {}, "a flat sequence"),
        ([1.0, 2.0], {}, r"of whole numbers, not \[1.0, 2.0\]"),
        ([True], {}, "of whole numbers"),
        (["a"], {}, "of whole numbers"),
        ([1, 40], {}, "token ids: 40 at position 1 is outside 0..39"),
        ([1, -1], {}, "token ids: -1 at position 1 is outside 0..39"),
        ([2**70], {}, "of whole numbers"),
        ([2**63], {}, f"token ids: {2**63} at position 0 is outside"),
        ([1, 2], {"num_logits": 0}, "num_logits must be from 1 to the 2 tokens given, not 0"),
        ([1, 2], {"num_logits": 3}, "num_logits must be from 1 to the 2 tokens given, not 3"),
        ([1, 2], {"chunk": 0}, "chunk must be a whole number from 1, not 0"),
        ([1, 2], {"chunk": -4}, "chunk must be a whole number from 1, not -4"),
        ([1, 2], {"chunk": 1.5}, "chunk must be a whole number from 1, not 1.5"),
        ([1, 2], {"num_logits": "2"}, "num_logits must be from 1 to the 2 tokens given, not '2'"),
        ([1, 2], {"num_logits": 1.0}, "num_logits must be from 1 to the 2 tokens given, not 1.0"),
    ],
)
def test_what_cannot_be_run_is_an_input_error(tiny, ids, options, message):
    with pytest.raises(InputError, match=message) as caught:
        tiny.forward(ids, **options)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("token", "message"), [(-1, "-1 at"), (40, "40 at position 0 is outside 0..39"), (1.5, "not .1.5"), ("a", "'a'")]
)
def test_a_wrong_step_is_an_input_error_and_changes_nothing(tiny, expected, token, message):
    decoder = tiny.decoder()
    with pytest.raises(InputError, match=message):
        decoder.step(token)
    assert_close(decoder.step(IDS[0]), expected[0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"provider": "tpu"}, ProviderError, "unknown provider 'tpu'; known are cpu, cuda, .*, auto"),
        ({"threads": 0}, InputError, "threads must be a whole number from 1 to 1024, not 0"),
        ({"threads": 2**40}, InputError, "threads must be a whole number from 1 to 1024"),
        ({"threads": 2.5}, InputError, "threads must be a whole number from 1 to 1024, not 2.5"),
        ({"threads": "2"}, InputError, "threads must be a whole number from 1 to 1024, not '2'"),
        ({"optimization": "most"}, InputError, "optimization must be one of disabled, .*, not 'most'"),
    ],
)
def test_wrong_options_are_named(make_tiny, options, error, message):
    with pytest.raises(error, match=message):
        Model.load(make_tiny(RWKV4).path, **options)


def test_a_provider_that_is_not_installed_says_what_to_install(make_tiny, monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match=r"'cuda' is not in this onnxruntime .*pip install './runtimes/python\[c"):
        Model.load(make_tiny(RWKV4).path, "cuda")


def test_a_missing_onnxruntime_says_what_to_install(make_tiny, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ProviderError, match=r"pip install './runtimes/python\[cpu\]'"):
        Model.load(make_tiny(RWKV4).path)


def test_the_state_of_another_bundle_is_refused(tiny, make_tiny):
    foreign = make_tiny(RRWKV, 7).model.initial_state()
    for use in (tiny.decoder, lambda state: tiny.forward(IDS, state)):
        with pytest.raises(StateError, match="belongs to another model"):
            use(foreign)


def test_the_state_of_another_quantization_is_taken_when_allowed(tiny, expected):
    _, state = tiny.forward(IDS[:9])
    sibling = dataclasses.replace(state, bundle_id="f" * 64)
    with pytest.raises(StateError, match=r"another bundle of this model .*; allow_other_quantization=True"):
        tiny.decoder(sibling)
    decoder = tiny.decoder(sibling, allow_other_quantization=True)
    assert_close(decoder.run(IDS[9:], 15), expected[9:])
    assert decoder.state().bundle_id == tiny.manifest.bundle_id


def test_a_state_of_the_wrong_shape_is_one_line_and_nothing_is_printed(make_tiny, capfd):
    tiny = Model.load(make_tiny(RRWKV).path)
    state = tiny.initial_state()
    state.values["shift"] = np.zeros((2, 2, 17), np.float32)
    with pytest.raises(RRWKVError, match=r"laid out differently .*\(shift is float32 \[2, 2, 17\]") as caught:
        tiny.forward(IDS, state)
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json"])
def test_a_damaged_file_is_named_when_the_model_is_loaded(bundle, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(DamagedBundle, match=f"{name} is not the file that was exported") as caught:
        Model.load(bundle)
    assert len(str(caught.value).splitlines()) == 1


def test_without_verification_only_sizes_are_checked(bundle):
    data = bundle / "model.onnx.data"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    assert Model.load(bundle, verify=False).forward([1])[0].shape == (1, 4096)
    data.write_bytes(content[:-1])
    with pytest.raises(DamagedBundle, match=r"model.onnx.data has \d+ bytes instead of"):
        Model.load(bundle, verify=False)


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x0a" * 300], ids=["empty", "text", "noise"])
def test_a_graph_that_onnxruntime_refuses_is_damage(bundle, content):
    (bundle / "model.onnx").write_bytes(content)
    sign(bundle, lambda fields: None)
    with pytest.raises(
        DamagedBundle, match=r"onnxruntime cannot load model.onnx: |model.onnx: no ONNX graph"
    ) as caught:
        Model.load(bundle)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("change", ["drop", "rename"])
def test_a_graph_with_other_states_than_the_manifest_is_damage(bundle, change):
    def other_states(fields):
        spec = fields["states"].pop(1)
        if change == "rename":
            fields["states"].append({**spec, "input": "memory"})

    sign(bundle, other_states)
    with pytest.raises(DamagedBundle, match=r"they differ in '(memory|shift)"):
        Model.load(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float16"}, r"state 'shift' is tensor\(float\) .* in the graph, tensor\(float16\) "),
        ({"shape": [2, 2, 17]}, r"state 'shift' is .* in the graph, tensor\(float\) \[2, 2, 17\] in the manifest"),
    ],
)
def test_a_state_of_another_type_than_the_manifests_is_damage(bundle, change, message):
    sign(bundle, lambda fields: fields["states"][1].update(change))
    with pytest.raises(DamagedBundle, match=message):
        Model.load(bundle)


def test_an_update_of_other_states_than_its_graphs_is_damage(bundle):
    sign(bundle, lambda fields: fields["graphs"]["segment_end"]["updates"].pop())
    with pytest.raises(DamagedBundle, match="they differ in 'medium_key'"):
        Model.load(bundle)


@pytest.mark.parametrize("name", ["input", "output"])
def test_a_state_that_is_listed_twice_is_damage(bundle, name):
    sign(bundle, lambda fields: fields["states"].append({**fields["states"][1], name: "another"}))
    with pytest.raises(DamagedBundle, match="is there twice"):
        Model.load(bundle)


def test_a_path_that_is_no_bundle_is_named(tmp_path):
    with pytest.raises(BundleError, match=r"absent: no such bundle directory"):
        Model.load(str(tmp_path / "absent"))


def test_a_bundle_without_a_tokenizer_still_runs_on_ids(tiny):
    assert tiny.tokenizer is None
    assert tiny.vocab_size == 40
    assert tiny.forward([0])[1].position == 1


@pytest.mark.parametrize("spin", [True, False])
def test_threads_spin_unless_told_not_to(spin, make_tiny):
    tiny = make_tiny(RRWKV)
    model = Model.load(tiny.path, threads=1, spin=spin)
    for name, session in model.sessions.items():
        options = session.get_session_options()
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == str(int(spin))
        # Those of a step wait for the next; others leave the cores to another graph's threads.
        assert options.get_session_config_entry("session.force_spinning_stop") == ("0" if name == "decode" else "1")
    np.testing.assert_array_equal(model.forward(IDS)[0], tiny.model.forward(IDS)[0])
