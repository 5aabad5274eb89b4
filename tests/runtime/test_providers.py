"""Execution providers: what was asked for is what runs. Plugins: with a fake one, and with those installed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from checkpoint_files import RRWKV, SMALL
from onnx import TensorProto, helper, numpy_helper

from rrwkv_export.export import verify_against_cpu
from rrwkv_export.kernels.fuse import DOMAIN
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.texts import Text
from rrwkv_runtime import model as session
from rrwkv_runtime import providers
from rrwkv_runtime.common.install import EXTRAS, hint
from rrwkv_runtime.errors import InputError, ProviderError
from rrwkv_runtime.execution import engine
from rrwkv_runtime.execution.engine import start
from rrwkv_runtime.execution.placement import Node, assigned, count, shares
from rrwkv_runtime.model import Model
from rrwkv_runtime.providers import AUTO, NAMES, PROVIDERS, parse_options

REPOSITORY = Path(__file__).parents[2]
IDS = list(range(24))
FAKE = dataclasses.replace(
    PROVIDERS["openvino"], name="fake", ort="FakeExecutionProvider", module="fake_plugin", platforms=("Linux", "Darwin")
)


def plugin(name):
    """A mark: skipped, with the reason, where the plugin or its device is absent."""
    try:
        start(name)
    except ProviderError as error:
        return pytest.mark.skip(reason=str(error))
    return pytest.mark.skipif(False, reason="")


def write_product(path, rows):
    """y = x W with x [rows, 8]; `rows` may be a name, and then the shape varies."""
    weights = numpy_helper.from_array(np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32), "W")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, 8]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"], "product")], "g", *map(list, [values[:1], values[1:]]), [weights]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return str(path)


class FakePlugin:
    """Stands for onnxruntime's plugin calls and the plugin's module."""

    def __init__(self, monkeypatch, kinds=("CPU",)):
        self.registered, self.kinds = [], kinds
        module = types.SimpleNamespace(get_library_path=lambda: "/fake/plugin.so")
        monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: module if name == "fake_plugin" else None)
        monkeypatch.setattr(engine.importlib, "import_module", lambda name: module)
        monkeypatch.setattr(engine, "_registered", set())
        monkeypatch.setitem(PROVIDERS, "fake", FAKE)
        monkeypatch.setattr(onnxruntime, "register_execution_provider_library", self.register)
        monkeypatch.setattr(onnxruntime, "get_ep_devices", self.devices)

    def register(self, name, path):
        self.registered.append((name, path))

    def devices(self):
        hardware = [types.SimpleNamespace(type=types.SimpleNamespace(name=kind)) for kind in self.kinds]
        return [types.SimpleNamespace(ep_name=FAKE.ort, device=one) for one in hardware] if self.registered else []


def test_the_table_is_complete_and_cpu_comes_last():
    wanted = {"cpu", "cuda", "tensorrt-rtx", "openvino", "webgpu", "qnn", "xnnpack", "nnapi", "coreml"}
    assert PROVIDERS.keys() == wanted
    assert set(NAMES) == {*wanted, AUTO}
    assert list(PROVIDERS)[-1] == "cpu"
    for name, provider in PROVIDERS.items():
        assert provider.name == name
        assert provider.ort.endswith("ExecutionProvider")
        assert provider.install
        assert provider.remedy or name == "cpu"
        assert provider.rtol == 1e-5 or provider.arithmetic != "float32"


def test_errors_name_every_extra_of_the_runtime():
    extras = EXTRAS["rrwkv-runtime"]
    named = [name for p in PROVIDERS.values() for name in extras if hint("rrwkv-runtime", name) in p.install]
    assert set(named) == set(EXTRAS["rrwkv-runtime"])
    build = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    for name in named:
        assert f'{name} = ["rrwkv-runtime[{name}]"]' in build, name


@pytest.mark.parametrize("name", [name for name in PROVIDERS if not engine.is_installed(PROVIDERS[name])])
def test_a_provider_that_is_not_here_says_so_in_one_line(name):
    with pytest.raises(ProviderError, match=rf"^provider '{name}' .*(pip install|build it|does not exist)") as caught:
        start(name)
    assert len(str(caught.value).splitlines()) == 1


def test_a_platform_that_has_no_package_is_told(monkeypatch):
    monkeypatch.setattr(providers.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(providers.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(engine, "_registered", set())
    monkeypatch.setattr(onnxruntime, "get_ep_devices", list)
    with pytest.raises(ProviderError, match="'openvino' does not exist for Darwin arm64, only for Linux-x86_64, Win"):
        start("openvino")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cpu", {"a": "1"}, "'cpu' takes no options, not 'a'"),
        ("cuda", {"a": 1}, "strings by name, not 'a': 1"),
        (AUTO, {"a": "1"}, "name it, not 'auto'"),
    ],
)
def test_options_that_cannot_be_meant_are_an_input_error(make_tiny, name, options, message):
    with pytest.raises(InputError, match=message):
        Model.load(make_tiny(RRWKV).path, name, provider_options=options)


def test_options_are_read_from_pairs():
    assert parse_options(["a=1", 'b={"c": "d=e"}']) == {"a": "1", "b": '{"c": "d=e"}'}
    with pytest.raises(InputError, match="KEY=VALUE, not 'a'"):
        parse_options(["a"])


def test_a_plugin_is_registered_once_for_the_process(monkeypatch):
    fake = FakePlugin(monkeypatch)
    first, second = start("fake"), start("fake", {"load_config": "{}", "more": "1"})
    assert fake.registered == [("FakeExecutionProvider", "/fake/plugin.so")]
    assert first.options == FAKE.options
    assert second.options == {"load_config": "{}", "more": "1"}
    assert first.device is not None


def test_a_plugin_that_another_part_of_the_program_registered_is_not_registered_again(monkeypatch):
    fake = FakePlugin(monkeypatch)
    fake.register("theirs", "/fake/plugin.so")
    start("fake")
    assert len(fake.registered) == 1


def test_a_plugin_runs_where_it_prefers_or_where_it_is_told(monkeypatch):
    FakePlugin(monkeypatch, kinds=("NPU", "GPU", "CPU"))
    assert start("fake").device.device.type.name == "CPU"
    chosen = start("fake", {"device": "gpu"})
    assert chosen.device.device.type.name == "GPU"
    assert "device" not in chosen.options
    with pytest.raises(ProviderError, match="has no device TPU here; it has CPU, GPU, NPU"):
        start("fake", {"device": "TPU"})


def test_a_plugin_without_a_device_or_with_a_broken_library_says_why(monkeypatch):
    fake = FakePlugin(monkeypatch, kinds=())
    with pytest.raises(ProviderError, match="'fake' finds no device on this machine; it needs an Intel"):
        start("fake")
    assert fake.registered
    monkeypatch.setattr(engine, "_registered", set())
    fake.registered.clear()

    def refuse(name, path):
        raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : libmissing.so: cannot open\nmore")

    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", refuse)
    with pytest.raises(ProviderError, match=r"'fake': its plugin cannot be loaded \(libmissing.so: cannot open\); it"):
        start("fake")


def test_a_provider_that_takes_too_little_is_an_error_and_strict_takes_no_exception(tmp_path, monkeypatch):
    """The CPU under another name, so that the assignment can be made up."""
    made = engine.Engine(dataclasses.replace(FAKE, ort="CPUExecutionProvider", fixed_shapes=True), {})
    monkeypatch.setattr(engine.Engine, "_list", lambda self, one_shape: ["CPUExecutionProvider"])
    graph = write_product(tmp_path / "g.onnx", "T")

    def given(*where):
        nodes = [Node(f"n{i}", operator, provider) for i, (operator, provider) in enumerate(where)]
        monkeypatch.setattr(engine, "assigned", lambda session: nodes)

    here, there = "CPUExecutionProvider", "OtherExecutionProvider"
    given(("Add", here), ("MatMulNBits", there))
    with pytest.raises(ProviderError, match=r"only 1 of 2 nodes, 0 of 1 matrix products: it needs fixed shapes.*'x'"):
        made.session(graph, onnxruntime.SessionOptions())
    given(("Add", there))
    with pytest.raises(ProviderError, match="only 0 of 1 nodes"):
        made.session(graph, onnxruntime.SessionOptions())
    given(("Add", there), ("Scan", there), ("Scan", there), ("MatMul", here))
    made.session(graph, onnxruntime.SessionOptions())
    with pytest.raises(ProviderError, match="1 of 4 nodes, and strict allows no others: Scan 2, Add 1"):
        made.session(graph, onnxruntime.SessionOptions(), strict=True)


def test_what_is_elsewhere_is_told_graph_by_graph():
    nodes = [Node("a", "MatMul", "A"), Node("b", "Scan", "B"), Node("c", "MatMul", "A")]
    assert count(nodes) == {"A": {"MatMul": 2}, "B": {"Scan": 1}}
    assert shares({"main": nodes, "decode": nodes[:1]}, "A") == "1 of 3 nodes of main on the CPU (Scan 1)"
    assert shares({"decode": nodes[:1]}, "A") is None


def test_auto_passes_over_what_does_not_work_and_says_what_it_took(make_tiny, monkeypatch):
    bundle, tried = make_tiny(RRWKV).path, []
    load = Model.load.__func__

    def observed(cls, path, provider="cpu", *rest, **options):
        tried.append(provider)
        if provider == "cuda":
            raise ProviderError("not today")
        return load(cls, path, provider, *rest, **options)

    monkeypatch.setattr(session, "candidates", lambda: iter(["cuda", "cpu"]))
    monkeypatch.setattr(Model, "load", classmethod(observed))
    model = Model.load(bundle, AUTO)
    assert tried == [AUTO, "cuda", "cpu"]
    assert model.provider == "cpu"
    assert model.provider_note(AUTO) == "provider cpu"
    assert model.provider_note("cpu") is None


def test_auto_takes_plugins_with_hardware_of_their_own_and_no_others(monkeypatch):
    fake = FakePlugin(monkeypatch, kinds=("CPU",))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert list(engine.candidates()) == ["cpu"]
    fake.kinds = ("GPU",)
    monkeypatch.setitem(PROVIDERS, "fake", dataclasses.replace(FAKE, devices=("GPU",)))
    assert set(engine.candidates()) == {"cpu", "fake"}


def test_info_says_where_every_node_goes(small_bundle):
    command = [sys.executable, str(REPOSITORY / "cli.py"), "info", str(small_bundle)]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    options = ["--provider", "cpu", "--json", "--nodes"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True, env=environment)
    placed = json.loads(done.stdout)["placement"]
    assert placed["provider"] == "cpu"
    (provider, operators), *others = placed["graphs"]["main"].items()
    assert (provider, others) == ("CPUExecutionProvider", [])
    assert sum(operators.values()) == len(placed["nodes"]["main"])
    assert {"name": "head.head", "operator": "MatMul", "provider": provider} in placed["nodes"]["main"]
    table = subprocess.run([*command, "--provider", "cpu"], capture_output=True, text=True, check=True, env=environment)
    assert f"MatMul {operators['MatMul']}" in " ".join(table.stdout.split())
    plain = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, env=environment)
    assert "placement" not in json.loads(plain.stdout)


def test_bindings_that_are_copied_when_bound_are_bound_for_each_step(make_tiny):
    tiny = make_tiny(RRWKV)
    expected, ours = tiny.model.decoder(), tiny.model.decoder()
    ours._device = type(ours._device)(tiny.model.manifest, binds_once=False)
    for token in IDS[:6]:
        np.testing.assert_array_equal(ours.step(token), expected.step(token))
    assert ours._work.steps == {}
    assert expected._work.steps


@pytest.mark.parametrize("name", [pytest.param(n, marks=plugin(n)) for n in ("openvino", "webgpu", "qnn")])
def test_a_plugin_computes_a_static_product(tmp_path, name):
    graph = write_product(tmp_path / "g.onnx", 4)
    x = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)
    made = start(name).session(graph, onnxruntime.SessionOptions(), strict=True)
    assert [node.provider for node in assigned(made)] == [PROVIDERS[name].ort]
    (expected,) = start("cpu").session(graph, onnxruntime.SessionOptions()).run(None, {"x": x})
    (found,) = made.run(None, {"x": x})
    assert np.abs(found - expected).max() <= PROVIDERS[name].rtol * np.abs(expected).max()


@plugin("openvino")
@pytest.mark.parametrize("wkv", ["plain", "stable"])
def test_openvino_gives_the_logits_of_the_cpu(make_tiny, wkv):
    parity = verify_against_cpu(make_tiny(RRWKV, 6, wkv).path, provider="openvino", strict=True, tokens=40)
    assert parity.against == "this bundle on the CPU"
    parity.require()


@pytest.fixture(scope="module")
def with_functions(small_bundle, tmp_path_factory):
    """A quantized bundle for the CPU: functions in its graphs, which rrwkv-native's kernels would take the place of."""
    out = tmp_path_factory.mktemp("functions") / "int8-static"
    ids = np.random.default_rng(0).integers(0, SMALL.vocab_size, 300)
    calibration = Calibration((Text("random", "0" * 64, (ids,)),), None, 0)
    quantize(small_bundle, out, shipped_recipe("int8-static"), calibration)
    for graph in ("model.onnx", "decode.onnx"):
        assert DOMAIN in {node.domain for node in onnx.load(out / graph, load_external_data=False).graph.node}
    return out


def test_the_nodes_within_functions_are_what_counts(small_bundle, with_functions):
    """Else the rule would find no matrix product in a step, and strict would be kept by a single node."""
    floats, quantized = (Model.load(path, native=False).nodes for path in (small_bundle, with_functions))
    for graph in ("main", "decode"):
        products = [sum(node.is_product for node in nodes[graph]) for nodes in (floats, quantized)]
        assert products[0] == products[1] > 0
        whole = onnx.load(with_functions / f"{'model' if graph == 'main' else graph}.onnx", load_external_data=False)
        assert not {node.operator for node in quantized[graph]} & {function.name for function in whole.functions}


@plugin("openvino")
def test_what_is_for_cuda_is_said_to_be_where_it_does_not_run(make_tiny):
    with pytest.raises(ProviderError, match=r"^decode.onnx: .*; it is for CUDA; export another with --target cpu or"):
        Model.load(make_tiny(RRWKV, 6, target="cuda").path, "openvino")


@plugin("openvino")
def test_openvino_takes_every_node_within_functions(with_functions):
    verify_against_cpu(with_functions, provider="openvino", strict=True, tokens=40).require()


@plugin("qnn")
def test_qnn_refuses_shapes_that_vary_and_takes_every_node_of_a_step(make_tiny):
    tiny = make_tiny(RRWKV, 6, "stable", target="cuda")
    with pytest.raises(ProviderError, match=r"model.onnx: provider 'qnn' takes only .* it needs fixed shapes"):
        Model.load(tiny.path, "qnn")
    step = start("qnn").session(
        str(tiny.path / "decode.onnx"), onnxruntime.SessionOptions(), one_shape=True, strict=True
    )
    feeds = {"input_ids": np.array([3]), **{spec.input: spec.initial() for spec in tiny.model.manifest.states}}
    expected = tiny.model.decoder().step(3)
    found = step.run(["logits"], feeds)[0].reshape(-1)
    assert np.abs(found - expected).max() <= PROVIDERS["qnn"].rtol * np.abs(expected).max()


@plugin("webgpu")
def test_webgpu_gives_the_logits_of_the_cpu_and_says_what_stays_there(make_tiny):
    tiny = make_tiny(RRWKV, 6)
    model = Model.load(tiny.path, "webgpu")
    assert "Scan 2" in model.provider_note("webgpu")
    with pytest.raises(ProviderError, match=r"strict allows no others: .*Scan 2"):
        Model.load(tiny.path, "webgpu", strict=True)
    expected, found = tiny.model.forward(IDS, num_logits=24)[0], model.forward(IDS, num_logits=24)[0]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
