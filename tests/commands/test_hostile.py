"""Files that someone made to do harm: refused in one line, before they cost memory or end the process."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
import zipfile

import onnx
import pytest
import torch
from checkpoint_files import RWKV4, random_weights, write_blinkdl
from fuzzing import TARGETS, Seeds, attempt, nested, seal

from rrwkv_export.bench.record import read_earlier
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.commands import _run, main
from rrwkv_export.errors import BenchError, CheckpointError, ConfigError, RecipeError
from rrwkv_export.markdown import escaped
from rrwkv_export.quantize.recipe import load_recipe, parse_recipe
from rrwkv_runtime.__main__ import main as run_alone
from rrwkv_runtime.bundle.graph_file import check_graph
from rrwkv_runtime.common.printable import json_escaped, one_line, visible, without_controls
from rrwkv_runtime.errors import BundleError, DamagedBundle
from rrwkv_runtime.manifest import Manifest, verify_files
from rrwkv_runtime.model import Model

NASTY = "a\x1b[31m\x9b2J\u202eb\u2066\u2028\x7f"


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return Seeds(tmp_path_factory.mktemp("seeds"))


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_is_changed_is_taken_or_refused_in_a_line(target, seeds, tmp_path):
    came = {number: attempt(target, number, seeds, tmp_path / "x") for number in range(12)}
    assert {number: said for number, said in came.items() if said not in ("taken", "refused")} == {}


def edited(bundle, change):
    """Its manifest changed by a function, and sealed."""
    fields = json.loads((bundle / "manifest.json").read_text())
    change(fields)
    seal(bundle, fields, files=False)
    return bundle


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f["states"][1].update(shape=[2**14, 2**14], exponents=1), "do not belong to a model of"),
        (lambda f: f["states"][1].update(shape=[2**20, 2**20], exponents=1), "larger than any model's"),
        (lambda f: f["states"][1].update(shape=[1] * 70), "has 70 items, and 8 are the most"),
        (lambda f: f["states"][0].update(exponents=1), "exponents for state 'position', which is int64"),
        (lambda f: f["states"].pop(0), "not one state has the role 'position', a single int64"),
        (lambda f: f.update(quantization={}), "quantization.scheme is missing"),
        (lambda f: f.update(quantization={"scheme": nested(990)}), "not valid JSON (nested more than 64 deep)"),
        (lambda f: f.update(quantization={"scheme": nested(70)}), "not valid JSON (nested more than 64 deep)"),
        (lambda f: f["parity"].update(error=10**400), "not valid JSON (a number of 401 digits)"),
        (lambda f: f["graphs"]["main"].update(file="model.onnx.data"), "is no .onnx file"),
    ],
)
def test_a_manifest_that_asks_for_much_costs_little(bundle, change, said):
    edited(bundle, change)
    tracemalloc.start()
    with pytest.raises(BundleError) as caught:
        Manifest.load(bundle)
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()
    assert said in str(caught.value)


def changed_graph(bundle, change, name="model.onnx"):
    """One of its graphs changed by a function, and sealed."""
    graph = onnx.load(str(bundle / name), load_external_data=False)
    change(graph)
    (bundle / name).write_bytes(graph.SerializeToString())
    seal(bundle, json.loads((bundle / "manifest.json").read_text()))
    return bundle


def placed(where):
    def change(graph):
        tensor = next(tensor for tensor in graph.graph.initializer if tensor.external_data)
        next(entry for entry in tensor.external_data if entry.key == "location").value = where

    return change


@pytest.mark.parametrize(
    "where", ["unlisted.data", "../model.onnx.data", "/etc/hostname", "tokenizer.json", "*/_ORT_MEM_ADDR_/*", ""]
)
def test_weights_are_read_from_listed_files_alone(bundle, where):
    (bundle / "unlisted.data").write_bytes((bundle / "model.onnx.data").read_bytes())
    changed_graph(bundle, placed(where))
    for refused in (lambda: Model.load(bundle, verify=False), lambda: verify_files(bundle, Manifest.load(bundle))):
        with pytest.raises(DamagedBundle, match="which the manifest does not list as data of this graph"):
            refused()


def test_weights_are_looked_for_wherever_tensors_can_be(bundle):
    def in_a_branch(graph):
        tensor = onnx.TensorProto(name="x", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="elsewhere")
        body = onnx.helper.make_graph([onnx.helper.make_node("Constant", [], ["y"], value=tensor)], "b", [], [])
        graph.graph.node.append(onnx.helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body))

    changed_graph(bundle, in_a_branch)
    with pytest.raises(DamagedBundle, match="has weights in b'elsewhere'"):
        Model.load(bundle)


def made_of_functions(depth):
    """Functions that each call the one before ten times."""
    graph = onnx.ModelProto()
    graph.graph.node.add(op_type=f"level_{depth}", domain="f")
    for level in range(1, depth + 1):
        nodes = [onnx.helper.make_node(f"level_{level - 1}", ["x"], ["y"], domain="f") for _ in range(10)]
        graph.functions.append(onnx.helper.make_function("f", f"level_{level}", ["x"], ["y"], nodes, []))
    return graph.SerializeToString()


def test_functions_do_not_grow_beyond_a_model():
    check_graph(made_of_functions(4), "g", ())
    with pytest.raises(DamagedBundle, match=r"comes to \d+ bytes with its functions in place of their calls"):
        check_graph(made_of_functions(9), "g", ())


def test_functions_do_not_call_themselves():
    graph = onnx.ModelProto()
    graph.graph.node.add(op_type="f", domain="f")
    node = onnx.helper.make_node("f", ["x"], ["y"], domain="f")
    graph.functions.append(onnx.helper.make_function("f", "f", ["x"], ["y"], [node, node], []))
    with pytest.raises(DamagedBundle, match="call themselves"):
        check_graph(graph.SerializeToString(), "g", ())


def test_sparse_tensors_are_refused(bundle):
    changed_graph(bundle, lambda graph: graph.graph.sparse_initializer.add(dims=[2**31]))
    with pytest.raises(DamagedBundle, match="has sparse tensors"):
        Model.load(bundle)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured as Linux does")
def test_constants_are_not_made_large_while_loading(bundle):
    def grow(graph):
        shape = onnx.helper.make_tensor("shape_of_much", onnx.TensorProto.INT64, [1], [2**28 - 1])
        graph.graph.initializer.append(shape)
        graph.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["shape_of_much"], ["much"]))
        graph.graph.output.add(name="more").CopyFrom(onnx.helper.make_tensor_value_info("more", 1, None))
        graph.graph.node.append(onnx.helper.make_node("ReduceMax", ["much"], ["more"], keepdims=0))

    code = (
        "import re, sys\nfrom rrwkv_runtime import Model, RRWKVError\n"
        "try: Model.load(sys.argv[1])\nexcept RRWKVError as error: print(error, file=sys.stderr)\n"
        # not getrusage, which knows the memory of the process that started this one
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)"
    )
    changed_graph(bundle, grow)
    done = subprocess.run([sys.executable, "-c", code, bundle], capture_output=True, text=True, check=True)
    assert "inputs and outputs are not the manifest's" in done.stderr
    assert int(done.stdout) < 600


def test_weights_cut_after_loading_are_noticed(bundle):
    model = Model.load(bundle)
    os.truncate(bundle / "model.onnx.data", 4096)
    with pytest.raises(DamagedBundle, match=r"model.onnx.data has 4096 bytes instead of \d+ since it was loaded"):
        model.forward([1, 2, 3])
    with pytest.raises(DamagedBundle):
        model.decoder().step(1)


def test_weights_written_to_after_loading_are_noticed_and_touched_ones_are_not(bundle):
    model, path = Model.load(bundle), bundle / "model.onnx.data"
    logits, _ = model.forward([1, 2, 3])
    os.utime(path, ns=(1, 1))
    assert (model.forward([1, 2, 3])[0] == logits).all()
    with path.open("r+b") as stream:
        stream.write(b"\1\2\3")
    with pytest.raises(DamagedBundle, match=r"model.onnx.data is not the file that was exported"):
        model.forward([1, 2, 3])


def test_a_file_replaced_after_loading_is_another_file(bundle):
    model, path = Model.load(bundle), bundle / "model.onnx.data"
    logits, _ = model.forward([1, 2, 3])
    (bundle / "new").write_bytes(b"new")
    (bundle / "new").replace(path)
    assert (model.forward([1, 2, 3])[0] == logits).all()


@pytest.mark.parametrize("name", ["model.onnx.data", "decode.onnx", "tokenizer.json"])
def test_a_file_swapped_while_loading_is_noticed(bundle, name, monkeypatch):
    from rrwkv_runtime.execution import loading

    def swap(*arguments):
        (bundle / "copy").write_bytes((bundle / name).read_bytes())
        (bundle / "copy").replace(bundle / name)
        return make(*arguments)

    make = loading._session
    monkeypatch.setattr(loading, "_session", swap)
    with pytest.raises(DamagedBundle, match=rf"{name} was changed while it was loaded"):
        Model.load(bundle)


def test_a_models_handles_are_closed_with_it(bundle):
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else pytest.skip("no /proc here")
    for _ in range(3):
        Model.load(bundle).forward([1])
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def pickled(path, content, way=zipfile.ZIP_STORED):
    """A .pth with this as its pickle."""
    with zipfile.ZipFile(path, "w", way) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    return path


def reduced(name, arguments):
    """A pickle that calls a global with what these opcodes make."""
    return b"\x80\x02c" + name.replace(".", "\n").encode() + b"\n" + arguments + b"R."


PICKLES = {
    "bytearray": (reduced("builtins.bytearray", b"\x8a\x05\0\0\0\x80\0\x85"), "asks to run builtins.bytearray"),
    "tensor": (reduced("torch.Tensor", b"\x8a\x05\0\0\0\x80\0\x85"), "asks to run torch.Tensor"),
    "copies": (reduced("collections.OrderedDict", b"]\x85"), "asks to run collections.OrderedDict"),
    "code": (reduced("os.system", b"X\1\0\0\0:\x85"), "asks to run os.system"),
    "deep": (b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"K\x00s.", "tuples nested more than 32 deep"),
    "buffer": (b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".", "cut short or damaged"),
    "large": (b"\x80\x02" + b"]" * (5 * 2**20) + b".", "has a pickle of 5242883 bytes"),
    "none": (b"\x80\x02", "cut short or damaged"),
}


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_is_refused_before_it_is_followed(tmp_path, name, monkeypatch):
    content, expected = PICKLES[name]
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch was asked to load it"))
    (tmp_path / "old.pth").write_bytes(pickle.dumps(1, 2) * 3 + content)
    for path in (pickled(tmp_path / "m.pth", content), tmp_path / "old.pth"):
        if path.name == "old.pth" and name in ("large", "none"):
            continue
        with pytest.raises(CheckpointError) as caught:
            open_checkpoint(path)
        assert expected in str(caught.value)


def test_a_pth_that_inflates_is_refused(tmp_path):
    path = pickled(tmp_path / "m.pth", bytes(2**24), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**15
    with pytest.raises(CheckpointError, match="compressed record"):
        open_checkpoint(path)


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_zip_with_more_around_it_is_refused(tmp_path, where):
    path = write_blinkdl(tmp_path / "m.pth", RWKV4, random_weights(RWKV4))
    content, more = path.read_bytes(), b"PK\3\4" + bytes(96)
    path.write_bytes(more + content if where == "before" else content + more)
    with pytest.raises(CheckpointError):
        open_checkpoint(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_parameters_and_metadata_are_read(tmp_path, legacy):
    module = torch.nn.Module()
    for name, tensor in random_weights(RWKV4).items():
        module.register_parameter(name.replace(".", "/"), torch.nn.Parameter(tensor))
    state = module.state_dict(keep_vars=True)
    for name in list(state):
        state[name.replace("/", ".")] = state.pop(name)
    assert hasattr(state, "_metadata")
    torch.save(state, tmp_path / "m.pth", _use_new_zipfile_serialization=not legacy)
    assert open_checkpoint(tmp_path / "m.pth").config == RWKV4


def test_a_small_file_does_not_hold_large_tensors(tmp_path):
    weights = random_weights(RWKV4)
    torch.save({f"{name} {i}": tensor for i in range(9) for name, tensor in weights.items()}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"\d+ bytes cannot hold tensors of \d+"):
        open_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 2000 + "]" * 2000, "not TOML"),
        ("a = " + "9" * 5000, "not TOML"),
        ('scheme = "x"\ntarget = []', "target must be one of"),
        ('scheme = "x"\n[default]\nblock = 32.0', "block must be one of"),
        (f'scheme = "x"\n[layers.{"9" * 5000}]', "a layer is a whole number from 0"),
        ("#" * 300_000, "larger than 262144 bytes"),
    ],
)
def test_a_recipe_of_strange_values_is_refused(tmp_path, text, said):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "r.toml")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize(("field", "value"), [("threads", float("inf")), ("median_ts", 10**400), ("machine", [])])
def test_an_earlier_bench_of_strange_values_is_refused(tmp_path, field, value):
    record = {
        "bundle": "b",
        "provider": "cpu",
        "threads": 1,
        "test": "pp1",
        "median_ts": 1.0,
        "machine": {},
        "time": "",
    }
    (tmp_path / "b.json").write_text(json.dumps([{**record, "time": "", field: value}]))
    with pytest.raises(BenchError, match="not the output of `rrwkv bench"):
        read_earlier(tmp_path / "b.json")


@pytest.mark.parametrize("name", ["chat.json", "config.json"])
@pytest.mark.parametrize("text", [f'{{"sampling": {{"temperature": {10**400}}}}}', "[" * 5000, json.dumps(nested(99))])
def test_json_beside_a_checkpoint_is_bounded(small_checkpoint, tmp_path, name, text):
    for path in small_checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=f"{name}: not valid JSON"):
        open_checkpoint(tmp_path)


def test_text_for_people_has_no_control_in_it():
    name = NASTY + "\udcff"  # which stands for a byte
    for shown in (visible(name), one_line(name), escaped(name), without_controls(name)):
        assert shown.isprintable()
    assert visible("a\nb\tc") == "a\nb\tc"
    assert visible("\x1b[31m") == r"\x1b[31m"
    assert json.loads(json_escaped(json.dumps(NASTY, ensure_ascii=False))) == NASTY


@pytest.mark.parametrize(
    "command",
    [
        "perplexity BUNDLE",
        "quantize BUNDLE -o OUT",
        "web BUNDLE -o OUT",
        "export CHECKPOINT -o OUT",
        "export OTHER -o CHECKPOINT/out",
    ],
)
def test_paths_that_libraries_cannot_take_are_named(small_bundle, small_checkpoint, tmp_path, no_utf8, command, capsys):
    places = {"BUNDLE": small_bundle, "CHECKPOINT": small_checkpoint}
    for name, place in places.items():
        places[name] = shutil.copytree(place, tmp_path / f"{name}{no_utf8}")
    places |= {"OUT": tmp_path / "out", "OTHER": small_checkpoint, "CHECKPOINT/out": places["CHECKPOINT"] / "out"}
    assert _run([str(places.get(word, word)) for word in command.split()]) == 1
    said = capsys.readouterr().err
    assert "not UTF-8" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def printable_lines(text):
    return all(line.isprintable() for line in text.splitlines())


def test_a_bundles_strings_do_not_reach_the_terminal_as_they_are(bundle, capsys):
    edited(bundle, lambda f: f["config"].update({NASTY: f"[red]{NASTY}"}) or f["chat"].update(user=NASTY))
    for arguments in (["info", str(bundle)], ["info", str(bundle), "--json"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        shown = capsys.readouterr().out
        assert ended.value.code == 0
        assert printable_lines(shown)
        assert "[red]" in shown
    assert json.loads(shown)["chat"]["user"] == NASTY
    assert run_alone(["info", str(bundle), "--json"]) == 0
    shown = capsys.readouterr().out
    assert printable_lines(shown)
    assert json.loads(shown)["chat"]["user"] == NASTY


def test_nor_do_a_tokenizers_tokens(bundle, capsys):
    fields = json.loads((bundle / "tokenizer.json").read_text())
    fields["added_tokens"][0]["content"] = NASTY
    renamed = {0: NASTY, 1: f"!{NASTY}"}
    fields["model"]["merges"] = []
    fields["model"]["vocab"] = {renamed.get(i, token): i for token, i in fields["model"]["vocab"].items()}
    (bundle / "tokenizer.json").write_text(json.dumps(fields))
    seal(bundle, json.loads((bundle / "manifest.json").read_text()))
    arguments = ["generate", str(bundle), "-p", NASTY, "-n", "1", "--json", "-l", "1+1000"]
    with pytest.raises(SystemExit):
        main(arguments)
    assert run_alone(arguments) == 0
    shown, said = capsys.readouterr()
    assert said.count("in the prompt is read as text") == 2
    assert printable_lines(said)
    assert printable_lines(shown)
    for line in shown.splitlines():
        assert json.loads(line)["text"] == f"!{NASTY}"


def test_names_in_errors_are_shown_with_their_controls_written_out(tmp_path, capsys):
    for arguments in (["info", str(tmp_path / NASTY)], ["quantize", str(tmp_path), "-o", "x", "--scheme", NASTY]):
        with pytest.raises(SystemExit):
            main(arguments)
        said = capsys.readouterr().err
        assert r"\x1b[31m" in said
        assert printable_lines(said)


@pytest.mark.parametrize("package", ["rrwkv_runtime", "rrwkv_export"])
def test_onnxruntime_collects_nothing(bundle, tmp_path, package):
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    code = (
        f"import sys, {package}, onnxruntime\nimport rrwkv_runtime\nrrwkv_runtime.Model.load(sys.argv[1]).forward([1])"
    )
    subprocess.run([sys.executable, "-c", code, bundle], env={**kept, "HOME": str(home)}, check=True)
    assert list(home.rglob("*")) == []


def test_whoever_wants_telemetry_can_have_it():
    code = "import os, rrwkv_runtime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, found in (({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")):
        kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
        done = subprocess.run([sys.executable, "-c", code], env={**kept, **given}, capture_output=True, text=True)
        assert done.stdout.strip() == found


def test_a_recipes_values_are_of_their_own_type():
    with pytest.raises(RecipeError, match=r"weights must be one of 4, 8, 16, 32, not 8\.0"):
        parse_recipe('scheme = "x"\n[default]\nweights = 8.0')
