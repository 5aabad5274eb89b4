"""The kernels' logits on another processor: `python tests/native/elsewhere.py make FOLDER` here, `check FOLDER TABLE…`
there, where these tables must be.

Every table has the same bits on every processor, so there is nothing to allow for. `check` needs rrwkv_runtime and
rrwkv_native alone; `make arm64-native` runs it on an emulated Arm64.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from rrwkv_runtime.execution import native
from rrwkv_runtime.model import Model

IDS = np.random.default_rng(3).integers(0, 130, 60)
SCHEMES = ("int8-static", "int8-dynamic", "int8", "int4", "float16")


def make(folder: Path) -> None:
    """Random models, one of each scheme, and what the scalar kernels say of them here."""
    from checkpoint_files import random_weights, write_blinkdl

    from rrwkv_export.architectures.rwkv4 import RWKV4Config
    from rrwkv_export.checkpoint import open_checkpoint
    from rrwkv_export.export import export
    from rrwkv_export.quantize.quantize import quantize
    from rrwkv_export.quantize.recipes import shipped_recipe
    from rrwkv_export.quantize.source import Calibration
    from rrwkv_export.texts import Text

    config = RWKV4Config(130, 72, 3, 200)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = open_checkpoint(write_blinkdl(folder / "model.pth", config, random_weights(config, 0)))
    export(checkpoint, folder / "float", overwrite=True)
    text = Text("random", "0" * 64, (np.random.default_rng(0).integers(0, 130, 300),))
    for scheme in SCHEMES:
        quantize(
            folder / "float", folder / scheme, shipped_recipe(scheme), Calibration((text,), None, 0), overwrite=True
        )
        np.save(folder / f"{scheme}.npy", logits(folder / scheme, native.SCALAR))


def check(folder: Path, wanted: Iterable[str]) -> int:
    """How many schemes and tables have logits that differ by a bit, or tables are not there; all are printed."""
    missing = set(wanted) - set(native.tables())
    print(*(f"{table}: not there\n" for table in missing), end="")
    different = len(missing)
    for table in native.tables():
        for scheme in SCHEMES:
            same = bool((logits(folder / scheme, table) == np.load(folder / f"{scheme}.npy")).all())
            print(f"{table}, {scheme}: {'the same bits' if same else 'other bits'}")
            different += not same
    return different


def logits(bundle: Path, table: str) -> np.ndarray:
    """Of a prompt and of tokens one by one: [tokens, V]."""
    decoder = Model.load(bundle, threads=1, native=table).decoder()
    return np.stack([*decoder.run(IDS[:40], 40), *(decoder.step(i).copy() for i in IDS[40:])])


if __name__ == "__main__":
    sys.exit(make(Path(sys.argv[2])) if sys.argv[1] == "make" else check(Path(sys.argv[2]), sys.argv[3:]))
