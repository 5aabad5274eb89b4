"""The kernels as modules of WebAssembly, in Node: tables and whole models against `scalar`, and bad graphs.

With relaxed vectors the bits are those of `scalar`; without, products are rounded before they are added. `make
web-kernels` builds what this runs.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from checkpoint_files import SMALL
from test_native_matrices import FIVE, SEVEN, SEVEN_MEDIUMS, SIX

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.bundle import file_entries, save_manifest
from rrwkv_export.kernels.fuse import DOMAIN
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.texts import Text
from rrwkv_runtime.execution import native
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.model import Model

rrwkv_native = pytest.importorskip("rrwkv_native", reason="rrwkv-native is not installed")
ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "runtimes" / "web" / "dist"
CHECKS = ROOT / "build" / "web-kernels"
PLAIN, RELAXED = RUNTIME / "kernels" / "kernels.wasm", RUNTIME / "kernels" / "kernels-relaxed.wasm"
NODE = shutil.which("node")
BUILT = all(path.exists() for path in (RUNTIME / "index.js", PLAIN, RELAXED))
pytestmark = pytest.mark.skipif(not (NODE and BUILT), reason="no Node, or `make web-kernels web-test` was not run")

ATTENTION = replace(SMALL, vocab_size=300)
WIDE = RWKV4Config(5000, 192, 2, 700, medium=MediumConfig(interval=5, slots=40, key_size=48, squeeze="mean"))
RWKV_4 = RWKV4Config(130, 72, 3, 200)
CASES = [
    *((ATTENTION, scheme, "plain") for scheme in ("int8", "int8-static", "float16")),
    *((WIDE, scheme, "stable") for scheme in ("int8-dynamic", "int8-static", "float32")),
    *((RWKV_4, scheme, "plain") for scheme in ("int8-weight", "int4")),
    *((SEVEN, scheme, "plain") for scheme in ("int8", "float16")),
    (SEVEN_MEDIUMS, "int8-static", "plain"),
    (SIX, "int8", "plain"),
    (FIVE, "int8-dynamic", "plain"),
]
NAMES = [f"{config.architecture}-{config.hidden_size}-{scheme}" for config, scheme, _ in CASES]


def options() -> list[str]:
    """Node's, which knows relaxed vectors by itself from 22 on."""
    assert NODE
    said = subprocess.run([NODE, "-p", "process.versions.node"], capture_output=True, check=True).stdout
    return ["--no-warnings", *(["--experimental-wasm-relaxed-simd"] if int(said.split(b".")[0]) < 22 else [])]


def node(action: str, *arguments: Path | str) -> subprocess.CompletedProcess[bytes]:
    assert NODE
    script = Path(__file__).with_name("web_kernels.mjs")
    return subprocess.run([NODE, *options(), script, RUNTIME, action, *arguments], capture_output=True, check=False)


@pytest.fixture(scope="module")
def quantized(make_tiny, tmp_path_factory):
    """A function: a random model of a config, quantized by a scheme; each once."""
    made: dict[object, Path] = {}

    def make(config, scheme: str, wkv: str = "plain") -> Path:
        if (key := (config, scheme, wkv)) not in made:
            out = tmp_path_factory.mktemp("web") / scheme
            text = Text("random", "0" * 64, (np.random.default_rng(0).integers(0, config.vocab_size, 300),))
            recipe = shipped_recipe(scheme, config.architecture)
            quantize(make_tiny(config, wkv=wkv).path, out, recipe, Calibration((text,), None, 0))
            made[key] = out
        return made[key]

    return make


def of_module(module: Path, bundle: Path, V: int) -> np.ndarray:
    """As `of_scalar` has them. Fails with what Node says."""
    found = node("run", module, bundle)
    assert found.returncode == 0, found.stderr.decode()
    return np.frombuffer(found.stdout, np.float32).reshape(-1, V)


def of_scalar(bundle: Path, V: int) -> np.ndarray:
    """Logits of a prompt, of tokens one by one over the ends of segments, and of runs of other lengths: [rows, V].

    Where a segment ends after one token, the mediums are onnxruntime's, whose bits are the kernels' in columns alone.
    """
    ids = [(i * 37 + 11) % V for i in range(60)]
    decoder = Model.load(bundle, threads=1, native=native.SCALAR).decoder()
    rows = [decoder.prefill(ids[:13]).copy(), *(decoder.step(i).copy() for i in ids[13:])]
    return np.stack([*rows, *decoder.run(ids, 40).copy(), *decoder.run(ids, 1, chunk=17)])


@pytest.mark.parametrize("name", ["check", "check-relaxed"])
def test_tables_have_the_bits_of_scalar(name):
    module = CHECKS / f"{name}.wasm"
    if not module.exists():
        pytest.skip("`make web-kernels` did not build the checks")
    found = node("check", module)
    assert found.returncode == 0, found.stdout.decode()


@pytest.mark.parametrize(("config", "scheme", "wkv"), CASES, ids=NAMES)
def test_whole_models_have_the_logits_of_scalar(config, scheme, wkv, quantized):
    if rrwkv_native.library() is None:
        pytest.skip("there is no native library to compare with")
    bundle = quantized(config, scheme, wkv)
    expected = of_scalar(bundle, config.vocab_size)
    np.testing.assert_array_equal(of_module(RELAXED, bundle, config.vocab_size), expected)
    errors = np.abs(of_module(PLAIN, bundle, config.vocab_size) - expected).max(1) / np.abs(expected).max()
    assert np.median(errors) < 2e-2  # each rounding of an activation may fall to the other side
    assert errors[0] < (2e-2 if scheme.startswith("int") else 1e-5)


def test_models_take_the_kernels_by_themselves(quantized):
    assert node("table", quantized(RWKV_4, "int8")).stdout in (b"wasm", b"wasm-relaxed")


def rewritten(bundle: Path, to: Path, change) -> Path:
    """A copy whose model.onnx was changed, and says so in its manifest."""
    shutil.copytree(bundle, to)
    model = onnx.load(str(to / "model.onnx"), load_external_data=False)
    change(model.graph)
    onnx.save(model, str(to / "model.onnx"))
    manifest = Manifest.load(to).to_json()
    files = file_entries([to / entry["name"] for entry in manifest["files"]], "")
    save_manifest(to, manifest | {"files": [vars(entry) for entry in files]})
    return to


def tensor(graph: onnx.GraphProto, end: str) -> onnx.TensorProto:
    return next(each for each in graph.initializer if each.name.endswith(end))


def out_of_range(graph: onnx.GraphProto) -> None:
    entry = next(e for e in tensor(graph, "att.key.weight_quantized").external_data if e.key == "offset")
    entry.value = str(1 << 40)


def lying_shape(graph: onnx.GraphProto) -> None:
    tensor(graph, "att.key.weight_quantized").dims[:] = [9, 576]


def too_small(graph: onnx.GraphProto) -> None:
    tensor(graph, "ln_out.weight").dims[:] = [8]


def many_layers(graph: onnx.GraphProto) -> None:
    call = next(each for each in graph.node if each.domain == DOMAIN)
    next(each for each in call.attribute if each.name == "layers").i = 9999


def twice(graph: onnx.GraphProto) -> None:
    call = next(each for each in graph.node if each.domain == DOMAIN)
    inputs = next(each for each in call.attribute if each.name == "inputs")
    inputs.s = inputs.s.replace(b"blocks.1.ln1.bias", b"blocks.0.ln1.bias")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (out_of_range, "does not lie in"),
        (lying_shape, "must be int8 [72, 72], not int8 [9, 576]"),
        (too_small, "ln_out.weight has 288 bytes, and its shape 32"),
        (many_layers, "blocks.3."),
        (twice, "blocks.0.ln1.bias twice"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_graphs_are_refused_in_one_line(change, said, quantized, tmp_path):
    found = node("run", PLAIN, rewritten(quantized(RWKV_4, "int8-static"), tmp_path / "bad", change))
    assert found.returncode == 1
    assert said in found.stderr.decode()
    assert found.stderr.count(b"\n") == 1
