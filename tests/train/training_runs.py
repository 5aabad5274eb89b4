"""A small run: its text, its options, and the rows of what it logs."""

from __future__ import annotations

import csv

SENTENCES = "".join(f"The {number} birds sing again, and the king of {number} lands listens. " for number in range(400))
SIZES = ["--layers", "2", "--channels", "32", "--head-size", "16", "--vocabulary", "300"]
RUN = ["--length", "32", "--batch", "2", "--steps", "12", "--every", "4", "--warm-up", "2", "--threads", "1"]


def rows(run, name="losses.csv", but=("seconds",)):
    with (run / "training" / name).open() as stream:
        return [{key: value for key, value in row.items() if key not in but} for row in csv.DictReader(stream)]
