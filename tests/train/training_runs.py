"""A small run: its text, its options, and the rows of what it logs."""

from __future__ import annotations

import csv

import torch
from safetensors.torch import load_file

SENTENCES = "".join(f"The {number} birds sing again, and the king of {number} lands listens. " for number in range(400))
SIZES = ["--layers", "2", "--channels", "32", "--head-size", "16", "--vocabulary", "300"]
RUN = ["--length", "32", "--batch", "2", "--steps", "12", "--every", "4", "--warm-up", "2", "--threads", "1"]


def rows(run, name="losses.csv", but=("seconds",)):
    with (run / "training" / name).open() as stream:
        return [{key: value for key, value in row.items() if key not in but} for row in csv.DictReader(stream)]


def same_run(one, other):
    """To the bit: the losses of every step, those on held-out text, and all weights and memories."""
    assert rows(one) == rows(other)
    assert rows(one, "held_out.csv") == rows(other, "held_out.csv")
    for name in ("model.safetensors", "last/model.safetensors", "training/state.safetensors"):
        left, right = load_file(one / name), load_file(other / name)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)
