"""The commands of `rrwkv`, one after the other, each shown as it would be typed."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path


def whole(word: str) -> int:
    """A number from 1, for argparse."""
    if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word)):
        raise argparse.ArgumentTypeError(f"{word!r} is not a whole number from 1")
    return int(word)


def rrwkv(*words: str | Path, said: str | None = None) -> None:
    """Run a command to its end, or end as it did. said: what it reads, in place of the terminal."""
    arguments = [str(word) for word in words]
    print(f"\n$ rrwkv {shlex.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "rrwkv_export", *arguments], input=said, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)
