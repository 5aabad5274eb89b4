"""Do intervals that follow the text follow it, and does it pay? Small models on text whose density varies."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from examples.commands import rrwkv, whole
from examples.intervals.measure import Followed, followed
from examples.intervals.plot import drawn
from examples.intervals.texts import KINDS, read_prose, write
from rrwkv_runtime.errors import RRWKVError

ADAPTIVE = ["--medium-interval", "8-64"]
SHAPE = ["--medium-slots", "8", "--layers", "2", "--channels", "128", "--vocabulary", "1024"]
ROWS = ["--length", "256", "--batch", "4", "--learning-rate", "3e-3", "--warm-up", "20"]
# By name: how mediums are made. τ is chosen so that a medium is made of some 24 tokens of average text.
MODELS = {
    "none": [],
    "every 8": ["--medium-interval", "8"],
    "every 24": ["--medium-interval", "24"],
    "every 64": ["--medium-interval", "64"],
    "adaptive": [*ADAPTIVE, "--medium-nats", "72"],
    "adaptive, by the loss alone": [*ADAPTIVE, "--information-weight", "0"],
}


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m examples.intervals", description=__doc__)
    asked.add_argument("prose", type=Path, help="plain text, such as tinyshakespeare.txt")
    asked.add_argument("-o", "--output", type=Path, default=Path("intervals"), help="a folder for all that is made")
    asked.add_argument("--steps", type=whole, default=300, help="of training each model")
    asked.add_argument("--passages", type=whole, default=1500, help="of the text to train on")
    asked.add_argument("--seeds", type=whole, default=3, help="how many models of each kind")
    asked.add_argument("--only", nargs="*", choices=MODELS, help="some of the models")
    given = asked.parse_args()
    try:
        trained, held_out = write(given.output / "texts", read_prose(given.prose), given.passages)
    except RRWKVError as error:
        raise SystemExit(f"error: {error}") from None
    for seed in range(given.seeds):
        for name in given.only or MODELS:
            _train(given.output / _folder(name, seed), trained, held_out, str(given.steps), name, seed)
    _tell(given.output, given.seeds)


def _folder(name: str, seed: int) -> str:
    return f"{name.replace(',', '').replace(' ', '-')}-{seed}"


def _train(run: Path, trained: Path, held_out: Path, steps: str, name: str, seed: int) -> None:
    """Begin a run, or go on with it; one that is at its end is left as it is."""
    if (run / "training").is_dir():
        rrwkv("train", "-o", run, "--resume")
        return
    how = [] if name == "none" else [*MODELS[name], *SHAPE[:2]]
    texts: list[str | Path] = [trained, "--held-out", held_out, "-o", run]
    rrwkv("train", *texts, *how, *SHAPE[2:], *ROWS, "--steps", steps, "--every", steps, "--seed", str(seed))


def _tell(output: Path, seeds: int) -> None:
    """The losses, the intervals by kind of passage, and the plot."""
    print(f"\n{'mediums':30} {'held-out loss, by seed':30} {'tokens a medium: ' + ', '.join(KINDS)}")
    shown: Followed | None = None
    for name in MODELS:
        runs = [output / _folder(name, seed) for seed in range(seeds)]
        runs = [run for run in runs if (run / "training" / "held_out.csv").is_file()]
        losses = " ".join(f"{_loss(run):.4f}" for run in runs)
        intervals = ""
        if name.startswith("adaptive") and runs:
            found = followed(runs[0], output / "texts" / "held_out.json")
            shown = shown or found
            intervals = ", ".join(f"{found.interval(kind):.1f}" for kind in KINDS)
        print(f"{name:30} {losses:30} {intervals}")
    if shown:
        drawn(shown, output / "intervals.png")
        print(f"wrote {output / 'intervals.png'}")


def _loss(run: Path) -> float:
    """Of the best step."""
    with (run / "training" / "held_out.csv").open(encoding="utf-8") as stream:
        return min(float(row["loss"]) for row in csv.DictReader(stream))


if __name__ == "__main__":
    main()
