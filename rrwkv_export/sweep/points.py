"""What the runs gave: a point for each bundle, recipe and text, and which of them nothing else beats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FLOAT = "float32"


@dataclass(frozen=True)
class Speed:
    """decode_ms: milliseconds a token. prefill: tokens a second."""

    decode_ms: float
    prefill: float


@dataclass(frozen=True)
class Point:
    """A bundle made by a recipe, or the float32 bundle itself, on one text.

    bytes: of graphs and weights. perplexity, kl (mean, in nats), kl_p99, drift: None where they are not finite. top1: a
    share. speed: None where none was measured.
    """

    bundle: str
    recipe: str
    text: str
    bytes: int
    perplexity: float | None
    kl: float | None
    kl_p99: float | None
    top1: float
    drift: float | None
    speed: Speed | None

    @property
    def costs(self) -> tuple[float, ...]:
        """What is better when it is less: KL, bytes, and milliseconds a token where they were measured."""
        kl = math.inf if self.kl is None else self.kl
        return (kl, self.bytes, *([self.speed.decode_ms] if self.speed else []))


def point(bundle: str, recipe: str, text: str, size: int, figures: dict[str, Any], speed: Speed | None) -> Point:
    """Of what `work.measured` gave."""
    names = ("perplexity", "kl", "kl_p99", "top1", "drift")
    return Point(bundle, recipe, text, size, speed=speed, **{name: figures[name] for name in names})


def float_point(bundle: str, text: str, size: int, figures: dict[str, Any], speed: Speed | None) -> Point:
    """The reference beside itself."""
    return Point(bundle, FLOAT, text, size, figures["reference_perplexity"], 0.0, 0.0, 1.0, 0.0, speed)


def frontier(points: Sequence[Point]) -> list[Point]:
    """Those that no other is as good as in everything and better in something; of one bundle on one text."""
    return [each for each in points if not any(_beats(other, each) for other in points)]


def _beats(one: Point, other: Point) -> bool:
    pairs = list(zip(one.costs, other.costs))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def staircase(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (x, y), both better when less, those that none is left of and below, by x."""
    kept: list[tuple[float, float]] = []
    for x, y in sorted(places):
        if not kept or y < kept[-1][1]:
            kept.append((x, y))
    return kept
