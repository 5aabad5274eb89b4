"""The shortest path from a token to one n tokens back, in steps.

A step is one time that what a token said is weighed, gated or transformed on its way to a later token:

    recurrence   1 for each token that it passes: LSTM's and GRU's cells, the decay of RWKV's wkv
    token shift  1, to the next token, twice in a layer of RWKV
    attention    1, to any later token
    squeeze      1, into the medium of its segment;   read   1, by any token that sees that medium

Computed over the layers: `reached[t]` is the least number of steps in which token 0 reaches token t's activations. It
depends on where in its segment token 0 lies; given is the mean over all places.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Steps = np.ndarray[Any, np.dtype[np.float64]]


def shortest_path(family: str, medium: dict[str, Any] | None, layers: int, distance: int) -> float:
    """Mean number of steps over token 0's places in its segment. medium: with a fixed interval."""
    places = medium["interval"] if medium else 1
    return float(np.mean([_steps(family, medium, layers, distance, place) for place in range(places)]))


def _steps(family: str, medium: dict[str, Any] | None, layers: int, distance: int, place: int) -> float:
    reached = np.full(distance + 1, np.inf)
    reached[0] = 0
    for _ in range(layers):
        recalled = _read(reached, medium, place) if medium else reached
        if family == "transformer":
            reached = _attended(reached)
        elif family.startswith("rwkv"):
            mixed = np.minimum(_shifted(reached), recalled)  # what the time-mix's wkv is fed with
            mixed = np.minimum(_recurrent(mixed), mixed)
            reached = np.minimum(_shifted(mixed), recalled)  # the channel-mix
        else:
            reached = _recurrent(reached)
    return float(reached[-1])


def _recurrent(reached: Steps) -> Steps:
    """A step for each token that is passed: min over i <= t of reached[i] + t - i."""
    places = np.arange(len(reached))
    found: Steps = np.minimum.accumulate(reached - places) + places
    return found


def _shifted(reached: Steps) -> Steps:
    found: Steps = np.minimum(reached, np.append(np.inf, reached[:-1] + 1))
    return found


def _attended(reached: Steps) -> Steps:
    earlier = np.append(np.inf, np.minimum.accumulate(reached)[:-1])
    found: Steps = np.minimum(reached, earlier + 1)
    return found


def _read(reached: Steps, medium: dict[str, Any], place: int) -> Steps:
    """By mediums of the last K finished segments; token 0 is the `place`-th of its segment."""
    s, K = medium["interval"], medium["slots"]
    segment = (np.arange(len(reached)) + place) // s
    squeezed = np.array([reached[segment == j].min() + 1 for j in range(segment[-1] + 1)])
    seen = [squeezed[max(0, j - K) : j].min() + 1 if j else np.inf for j in range(segment[-1] + 1)]
    found: Steps = np.minimum(reached, np.array(seen)[segment])
    return found
