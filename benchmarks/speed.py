"""`rrwkv bench` of bundles with random weights: decode and prefill speed beside the memory's bandwidth, load, memory.

python -m benchmarks.speed [SIZE[:SCHEME] ...]     sizes of benchmarks.models.SIZES, schemes of `rrwkv quantize`
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.models import SIZES, write_bundle, write_directory, write_quantized
from rrwkv_export.bench import RENDERERS, bench
from rrwkv_export.checkpoint import open_checkpoint

DEFAULT = ["demo", "demo:int8-static", "demo-plain:int8-static", "169m", "169m:int8-static", "169m-medium:int8-static"]


def make(name: str, folder: Path) -> Path:
    """The bundle of a SIZE[:SCHEME], named after it."""
    size, _, scheme = name.partition(":")
    weights, bundle = folder / "weights" / size, folder / size
    if not bundle.exists():
        write_directory(weights, SIZES[size])
        write_bundle(bundle, open_checkpoint(weights))
    return write_quantized(bundle, folder / f"{size}-{scheme}", scheme, SIZES[size].vocab_size) if scheme else bundle


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        bundles = [make(name, Path(temporary)) for name in names]
        print(RENDERERS["md"](bench(bundles, prompts=(32, 256), generated=(32,), threads=(2,)), None), end="")


if __name__ == "__main__":
    main(sys.argv[1:] or DEFAULT)
