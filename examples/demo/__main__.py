"""The demo checkpoint's recipe: train on everything, then on dialogues alone, then export, quantize and report.

rrwkv-chat is 8 layers of 320 channels, 4,096 tokens, a medium every 32 tokens and 16 slots, trained for 8,581 steps of
32,768 tokens and then 480 on a chat-heavy mix. With --steps and --sizes small it is tried on a CPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.commands import rrwkv
from examples.demo.sources import credits_of, texts

_SIZES = {
    "demo": ["--layers", "8", "--channels", "320", "--vocabulary", "4096", "--length", "512", "--batch", "64"],
    "small": ["--layers", "2", "--channels", "64", "--vocabulary", "512", "--length", "64", "--batch", "4"],
}
_MEDIUMS = ["--medium-interval", "32", "--medium-slots", "16", "--medium-squeeze", "attention"]


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    asked.add_argument("texts", type=Path, help="a folder with the dialogues and texts that README.md names")
    asked.add_argument("-o", "--output", type=Path, default=Path("demo"), help="a folder for all that is made")
    asked.add_argument("--sizes", choices=_SIZES, default="demo")
    asked.add_argument("--steps", type=int, nargs=2, default=(8581, 480), metavar=("ALL", "CHAT"))
    asked.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    given = asked.parse_args()
    out: Path = given.output
    dialogues, general = texts(given.texts)
    print("\n".join(credits_of(dialogues)))

    of_all, of_chat = given.steps
    sizes = _SIZES[given.sizes]
    rows = [*sizes[sizes.index("--length") :], "--precision", given.precision]
    steps = ["--steps", str(of_all), "--every", str(max(1, of_all // 20)), "--learning-rate", "1e-3"]
    model = ["--architecture", "rrwkv", *sizes[: sizes.index("--length")], *_MEDIUMS]
    rrwkv("train", *dialogues, *general, "-o", out / "first", *model, *rows, *steps)

    steps = ["--steps", str(of_chat), "--every", str(max(1, of_chat // 4)), "--learning-rate", "2e-4"]
    rrwkv("train", "--from", out / "first", *dialogues, "-o", out / "checkpoint", *rows, *steps)

    bundle, small = out / "bundle", out / "small"
    rrwkv("export", out / "checkpoint", "-o", bundle)
    rrwkv("quantize", bundle, "-o", small)
    rrwkv("report", small, "--reference", bundle, "-o", out / "report", "--no-speed")


if __name__ == "__main__":
    main()
