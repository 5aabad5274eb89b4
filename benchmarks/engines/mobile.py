"""What the engines of phones are tried with: `python -m benchmarks.engines.mobile FOLDER NAME`, NAME one of these.

float      the demo checkpoint, exported for phones; and text.npz beside it: ids [T] of real dialogues, and logits
           [T, V] that the float model gives on this machine's CPU
qnn        the same in uint16 and uint8
arm64      the same in int8, for Arm's instructions
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.export import export
from rrwkv_export.quantize.quantize import Calibration, quantize
from rrwkv_export.quantize.recipes import EVALUATION_TEXT, TEXT, shipped_recipe
from rrwkv_export.texts import read_text
from rrwkv_runtime.model import Model

CHECKPOINT = Path(__file__).parents[2] / "rrwkv_export" / "assets" / "rrwkv-chat"
TOKENS, STEPS, SAMPLES = 512, 8, 32  # TOKENS are whole segments
RECIPES = {"qnn": shipped_recipe("qnn"), "arm64": replace(shipped_recipe("int8-static"), target="arm64")}


def prepare(folder: Path, name: str) -> None:
    """Write what is named, and the float model if it is not there."""
    floats = folder / "float"
    if name == "float" or not (folder / "text.npz").exists():
        # The whole comparison is `rrwkv export`'s and the tests'; here a text that is enough to notice a broken export.
        export(open_checkpoint(CHECKPOINT), floats, target="mobile", ort=False, tokens=80, overwrite=True)
        save_logits(floats, read_text(EVALUATION_TEXT, floats).ids[: TOKENS + STEPS], folder / "text.npz")
    if name in RECIPES:
        quantize(floats, folder / name, RECIPES[name], Calibration.read([TEXT], floats, SAMPLES), overwrite=True)


def save_logits(bundle: Path, ids: np.ndarray, path: Path) -> None:
    logits, _ = Model.load(bundle).forward(ids, num_logits=len(ids))
    np.savez(path, ids=ids, logits=logits)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), sys.argv[2])
