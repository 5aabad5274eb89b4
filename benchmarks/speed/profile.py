"""Where a token's time goes: a bundle's decode.onnx by onnxruntime's own profiler, without the native kernels and with.

python -m benchmarks.speed.profile BUNDLE [THREADS]

The profiler's clock costs some of what it shows: the shares are what to read; `rrwkv bench` has the times.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime as ort

from rrwkv_export.markdown import table
from rrwkv_runtime.execution import native as kernels

RUNS, WARM = 200, 40
_DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
Times = dict[str, list[float]]


def profile(graph: Path, threads: int, library: Path | None) -> tuple[Times, float]:
    """Operator -> microseconds of each of its nodes, medians over runs; and the median of a whole run."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    if library:
        kernels.register(options, library, threads)
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling, options.profile_file_prefix = True, f"{folder}/profile"
        session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        inputs = {value.name: np.zeros(value.shape, _DTYPES[value.type]) for value in session.get_inputs()}
        for _ in range(WARM + RUNS):
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            nodes[event["args"]["op_name"], event["name"]].append(event["dur"])
    times: Times = defaultdict(list)
    for (operator, _), durations in nodes.items():
        times[operator].append(median(durations[WARM:]))
    return times, median([event["dur"] for event in events if event["name"] == "model_run"][WARM:])


def render(title: str, times: Times, run: float) -> str:
    known = sum(map(sum, times.values()))
    rows = [
        [operator, str(len(each)), f"{sum(each):,.0f}", f"{sum(each) / run:.1%}"]
        for operator, each in sorted(times.items(), key=lambda item: -sum(item[1]))
        if sum(each) > 0.01 * run
    ]
    rows.append(["all nodes", str(sum(map(len, times.values()))), f"{known:,.0f}", f"{known / run:.1%}"])
    return f"{title}: {run:,.0f} µs a run\n\n{table(['operator', 'nodes', 'µs', 'of the run'], rows)}"


def main(bundle: Path, threads: int) -> None:
    library = kernels.find("cpu", None)
    for title, use in (("onnxruntime alone", None), ("with rrwkv-native", library)):
        if use or title == "onnxruntime alone":
            print(render(title, *profile(bundle / "decode.onnx", threads, use)), end="\n\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2)
