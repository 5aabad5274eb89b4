"""The tokens that a medium would be made of, along a text whose density varies."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from examples.intervals.measure import Followed

_COLOURS = {"refrain": "#cfe8cf", "prose": "#f4ecc8", "numbers": "#f3cfc8"}
_SHOWN, _SMOOTHED = 2400, 16  # tokens


def drawn(found: Followed, path: Path) -> None:
    """A PNG of the first tokens: 1 over the mean of ι over some tokens, on the passages' kinds."""
    kinds = found.kinds[:_SHOWN]
    mean = np.convolve(found.information[:_SHOWN], np.ones(_SMOOTHED) / _SMOOTHED, mode="valid")
    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(len(mean)) + _SMOOTHED / 2, 1 / mean, color="#222222", linewidth=0.9)
    start, named = 0, set[str]()
    for kind, tokens in groupby(kinds):
        end = start + len(list(tokens))
        axes.axvspan(start, end, color=_COLOURS[kind], linewidth=0, label=None if kind in named else kind)
        named.add(kind)
        start = end
    axes.set(xlim=(0, len(kinds)), ylim=(0, None), xlabel="token", ylabel="tokens a medium")
    axes.legend(loc="upper right", ncols=len(named))
    figure.savefig(path, dpi=110)
