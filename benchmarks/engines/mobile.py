"""What the engines of phones are tried with: `python -m benchmarks.engines.mobile FOLDER NAME [MODEL]`, by NAME:

float      the model, exported for phones; and text.npz beside it: ids [T], and logits [T, V] that the float model gives
           on this machine's CPU
qnn        the same in uint16 and uint8
arm64      the same in int8, for Arm's instructions

MODEL      demo (the default), the checkpoint that comes along, with ids of real dialogues
           rwkv7, a small random RWKV-7 with mediums, with random ids
           rwkv7-chat, a trained RWKV-7 in the folder that $RWKV7_CHAT says, with the demo's dialogues
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.models import SIZES, write_directory
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.export import export
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import EVALUATION_TEXT, TEXT, shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.texts import read_text
from rrwkv_runtime.model import Model

CHECKPOINT = Path(__file__).parents[2] / "rrwkv_export" / "assets" / "rrwkv-chat"
TOKENS, STEPS, SAMPLES = 512, 8, 32  # TOKENS are whole segments
RECIPES = {"qnn": shipped_recipe("qnn"), "arm64": replace(shipped_recipe("int8-static"), target="arm64")}


def checkpoint_of(model: str, folder: Path) -> Path:
    if model == "demo":
        return CHECKPOINT
    if model == "rwkv7-chat":
        return next(Path(os.environ["RWKV7_CHAT"]).glob("*.pth"))
    write_directory(folder / "checkpoint", SIZES["rwkv7-small"])
    return folder / "checkpoint"


def prepare(folder: Path, name: str, model: str = "demo") -> None:
    """Write what is named, and the float model if it is not there."""
    floats = folder / "float"
    if name == "float" or not (folder / "text.npz").exists():
        # The whole comparison is `rrwkv export`'s and the tests'; here a text that is enough to notice a broken export.
        checkpoint = open_checkpoint(checkpoint_of(model, folder))
        export(checkpoint, floats, target="mobile", ort=False, tokens=80, overwrite=True)
        save_logits(floats, text_for(floats, model), folder / "text.npz")
    if name in RECIPES:
        quantize(floats, folder / name, RECIPES[name], Calibration.read([TEXT], floats, SAMPLES), overwrite=True)


def text_for(bundle: Path, model: str) -> np.ndarray:
    if model == "rwkv7":
        return np.random.default_rng(0).integers(0, SIZES["rwkv7-small"].vocab_size, TOKENS + STEPS)
    return read_text(EVALUATION_TEXT, bundle).ids[: TOKENS + STEPS]


def save_logits(bundle: Path, ids: np.ndarray, path: Path) -> None:
    logits, _ = Model.load(bundle).forward(ids, num_logits=len(ids))
    np.savez(path, ids=ids, logits=logits)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), *sys.argv[2:])
