"""Two models over one text, streaming side by side: no more than a chunk's logits are held at a time."""

from __future__ import annotations

from dataclasses import dataclass

from rrwkv_export.divergence import side_by_side
from rrwkv_export.progress import Progress
from rrwkv_export.report.measure.drift import Drift, drift, relative_errors
from rrwkv_export.report.measure.metrics import Array, Figures, Place, Scores, by_position, figures, histogram
from rrwkv_export.texts import Text
from rrwkv_runtime.model import Model


@dataclass(frozen=True)
class Comparison:
    """Everything measured of two models on one text.

    histogram: predictions by KL, between the edges `metrics.EDGES`. asked: how many predictions were asked for; the
    text may have fewer.
    """

    text: Text
    asked: int
    figures: Figures
    histogram: Array
    places: tuple[Place, ...]
    drift: Drift


def compare(
    reference: Model, other: Model, text: Text, *, tokens: int, chunk: int, progress: Progress | None = None
) -> Comparison:
    """The first `tokens` predictions of a text, and the states after every `chunk` of them."""
    ids = text.ids[: tokens + 1]
    parts, points = [], []
    for rows in side_by_side(reference, other, ids, chunk=chunk):
        parts.append(Scores.of(rows))
        seen = rows.start + len(rows.targets)
        points.append((seen, relative_errors(rows.other.state().values, rows.reference.state().values)))
        if progress:
            progress(f"reading {text.name}", seen, len(ids) - 1)
    scores = Scores.joined(parts)
    return Comparison(text, tokens, figures(scores), histogram(scores), by_position(scores), drift(points))
