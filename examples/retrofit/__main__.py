"""From an RWKV-7 to the same model with mediums, in 8 bits, on a device: the commands, one after the other."""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.commands import rrwkv


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m examples.retrofit", description=__doc__)
    asked.add_argument("checkpoint", type=Path, help="an RWKV-4 or RWKV-7 without mediums, such as rwkv7-chat-13m.pth")
    asked.add_argument("texts", type=Path, nargs="+", help="of the kind that it was trained on: .jsonl, .txt, .xz too")
    asked.add_argument("-o", "--output", type=Path, default=Path("with-mediums"), help="a folder for all that is made")
    asked.add_argument("--steps", default="80", help="of training; 80 take some ten minutes of two cores")
    asked.add_argument("--length", default="512", help="tokens of a row; a medium is made of every 32")
    asked.add_argument("--tokens", default="4096", help="that the report measures on")
    asked.add_argument("--say", default="Hi! How are you today?", help="what the model is asked in the end")
    given = asked.parse_args()
    out: Path = given.output
    checkpoint, bundle, small = out / "checkpoint", out / "bundle", out / "small"

    # The same function at first; then mediums alone are trained, then everything.
    mediums = ["--medium-interval", "32", "--medium-slots", "16"]
    rows = ["--length", given.length, "--batch", "2", "--warm-up", "5", "--learning-rate", "3e-3"]
    steps = ["--steps", given.steps, "--every", str(max(1, int(given.steps) // 2))]
    rrwkv("retrofit", given.checkpoint, *given.texts, "-o", checkpoint, *mediums, *rows, *steps)

    # Graphs for a device, compared with the float64 reference; then in 8 bits; and what that cost.
    rrwkv("export", checkpoint, "-o", bundle)
    rrwkv("quantize", bundle, "-o", small)
    rrwkv("report", small, "--reference", bundle, "-o", out / "report", "--tokens", given.tokens, "--no-speed")

    rrwkv("chat", small, said=f"{given.say}\n")


if __name__ == "__main__":
    main()
