"""The graphs in fixed shapes on engines that are plugins of onnxruntime: where every node went, and the logits.

    make openvino-mobile   or, the first where the build side is installed, the second where the plugin is:
    make qnn               python -m benchmarks.engines.mobile build/mobile float
                           python -m benchmarks.engines.plugins openvino build/mobile

openvino   onnxruntime-ep-openvino, its CPU device in float32
qnn        onnxruntime-qnn, Qualcomm's HTP by the simulator in the package: uint16 activations and uint8 weights, or
           float32 graphs, which it computes in float16 (`benchmarks.engines.plugins qnn FOLDER float`). Also writes a
           context binary, what a phone loads, and runs the graph from it.

Exit status 1 if a node is left to the CPU or the logits are further off than the limits below. Where the plugin finds
no device on this machine (OpenVINO's knows Intel's processors only), a line says that it is skipped.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort

from rrwkv_runtime.execution.fixed_shape_decoder import FixedShapeDecoder
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.providers import PROVIDERS
from rrwkv_runtime.state import State

# Both are needed: without one, many graphs fail with a MEM_ALLOC error that is none. Snapdragon 8 Gen 3.
HTP = {"soc_model": "57", "htp_arch": "75"}
STEPS = 8  # the last tokens of the text
MOST_KL = {"openvino": 1e-6, "qnn": 0.01}
SEGMENT, STEP = "mobile-segment", "mobile-decode"


def devices(provider):
    """The plugin's devices; registers its library. Says so where there is none, as on a processor of another maker."""
    package = {"openvino": "onnxruntime_ep_openvino", "qnn": "onnxruntime_qnn"}[provider]
    plugin = importlib.import_module(package)
    ort.register_execution_provider_library(provider, plugin.get_library_path())
    names = {provider, plugin.get_ep_name()}
    found = [device for device in ort.get_ep_devices() if device.ep_name in names]
    if not found:
        print(f"skipped: {provider} finds no device on this machine; {PROVIDERS[provider].remedy}")
    return found


def provider_options(provider, folder):
    if provider == "qnn":
        library = importlib.import_module("onnxruntime_qnn").get_qnn_htp_path()
        # Rounding the graph's inputs is the engine's work too, not the CPU's.
        return {"backend_path": library, "offload_graph_io_quantization": "0", **HTP}
    config = folder / "openvino.json"
    config.write_text('{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}')  # else bfloat16 where the CPU has it
    return {"load_config": str(config)}


def session(file, bundle, found, options, **entries):
    """A session on the plugin and nothing else, and how many nodes each provider took."""
    made = ort.SessionOptions()
    made.log_severity_level = 3
    made.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    made.add_session_config_entry("session.model_external_initializers_file_folder_path", str(bundle))
    for name, value in entries.items():
        made.add_session_config_entry(name.replace("__", "."), value)
    made.add_provider_for_devices(found[:1], options)
    begun = time.perf_counter()
    loaded = ort.InferenceSession(str(file), made)
    loaded.disable_fallback()
    nodes = Counter()
    for group in loaded.get_provider_graph_assignment_info():
        nodes[group.ep_name] += len(group.get_nodes())
    print(f"{file.name}: nodes {dict(nodes)}, loaded in {time.perf_counter() - begun:.1f} s")
    return loaded, nodes


def divergence(reference, logits):
    """Mean KL divergence in nats, and how often the likeliest token is the same."""
    p, q = (x.astype(np.float64) - x.max(axis=1, keepdims=True) for x in (reference, logits))
    p, q = (x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in (p, q))
    return float((np.exp(p) * (p - q)).sum(axis=1).mean()), float((p.argmax(axis=1) == q.argmax(axis=1)).mean())


def timed(decoder, ids):
    begun = time.perf_counter()
    logits = decoder.run(ids, len(ids))
    return logits, time.perf_counter() - begun


def context_binary(bundle, folder, found, options, ids, expected):
    """Compile the segment's graph for the device, load what came out, and compare a segment."""
    target = folder / "segment_ctx.onnx"
    for old in folder.glob("segment_ctx*"):
        old.unlink()
    manifest = Manifest.load(bundle)
    entries = {"ep__context_enable": "1", "ep__context_file_path": str(target), "ep__context_embed_mode": "0"}
    session(bundle / manifest.graphs[SEGMENT].file, bundle, found, options, **entries)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("segment_ctx*"))}
    print("context binary:", ", ".join(f"{name} {size:,} bytes" for name, size in sizes.items()))
    loaded, nodes = session(target, folder, found, options)
    step = loaded  # never run: the text is one segment
    decoder = FixedShapeDecoder({SEGMENT: loaded, STEP: step}, manifest, State.initial(manifest))
    logits = decoder.run(ids, len(ids))
    same = bool(np.array_equal(logits, expected))
    print(f"from the context binary: {'the same logits' if same else 'OTHER LOGITS'}, nodes {dict(nodes)}")
    return same


def main(provider, folder, name=None):
    """Whether all is well. name: of the bundle in the folder; by default the one that is best for the provider."""
    if not (found := devices(provider)):
        return True
    bundle = folder / (name or {"openvino": "float", "qnn": "qnn"}[provider])
    print(bundle)
    with np.load(folder / "text.npz") as arrays:
        ids, reference = arrays["ids"], arrays["logits"]
    manifest, options = Manifest.load(bundle), provider_options(provider, folder)
    loaded = {n: session(bundle / manifest.graphs[n].file, bundle, found, options) for n in (SEGMENT, STEP)}
    sessions = {name: made for name, (made, _) in loaded.items()}
    elsewhere = sum(n for _, nodes in loaded.values() for who, n in nodes.items() if who == "CPUExecutionProvider")

    decoder = FixedShapeDecoder(sessions, manifest, State.initial(manifest))
    tail = len(ids) - STEPS
    first, seconds = timed(decoder, ids[:tail])
    last, step_seconds = zip(*(timed(decoder, ids[i : i + 1]) for i in range(tail, len(ids))))
    well = not elsewhere
    for what, rows, start, each in (
        ("in segments", first, 0, seconds / tail),
        ("in steps", np.concatenate(last), tail, float(np.median(step_seconds))),
    ):
        expected = reference[start : start + len(rows)]
        kl, top1 = divergence(expected, rows)
        off = np.abs(rows - expected).max() / np.abs(reference).max()
        print(
            f"{len(rows)} tokens {what}, {1e3 * each:.1f} ms a token: mean KL {kl:.2e} (at most {MOST_KL[provider]}), ",
            end="",
        )
        print(f"likeliest token the same {top1:.1%}, largest error {off:.1e} of the largest logit")
        well &= kl <= MOST_KL[provider]
    if provider == "qnn":
        one = manifest.graphs[SEGMENT].fixed_shape.tokens
        well &= context_binary(bundle, folder, found, options, ids[:one], first[:one])
    print("all is well" if well else "NOT AS IT SHOULD BE")
    return well


if __name__ == "__main__":
    # Without a folder: whether there is a device at all.
    sys.exit(not (main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]) if sys.argv[2:] else devices(sys.argv[1])))
