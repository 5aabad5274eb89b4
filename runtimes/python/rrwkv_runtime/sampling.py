"""From logits to the next token: the options (`Sampling`), the distribution they leave, and a seeded `Sampler`.

Order: bias, penalties, temperature, top-k, top-p, min-p, each on what the one before left. Bias and penalties change
logits, so they come before anything that looks at probabilities; temperature comes before top-p, as in Hugging Face
transformers and vLLM (llama.cpp puts it last), so that top-p and min-p speak of the probabilities that are drawn from.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, TypedDict

import numpy as np

from rrwkv_runtime.common.reading import short
from rrwkv_runtime.errors import InputError

# name: (lowest, highest); temperature may be 0 as well. Where a number is divided by, far from what overflows float32.
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.001, 100),
    "top_k": (0, 2**31 - 1),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 100),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "penalty_decay": (0, 1),
    "penalty_window": (0, 65536),
}
_WHOLE = ("top_k", "penalty_window")
_LARGEST_ID = 2**31 - 1
_LARGEST_BIAS = 1_000_000


class SamplingOptions(TypedDict, total=False):
    """The options of `Sampling` as keywords."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    penalty_decay: float
    logit_bias: Mapping[int, float]
    penalty_window: int


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; the defaults draw from the model's own distribution. Raises InputError.

    temperature          logits are divided by it; 0 takes the most likely token
    top_k                keep the k most likely tokens; 0 keeps all (Fan et al., 2018)
    top_p                keep the fewest most likely tokens whose probabilities reach p (Holtzman et al., 2019);
                         0 keeps the likeliest alone
    min_p                keep tokens at least min_p times as likely as the likeliest (Nguyen et al., 2024; llama.cpp)
    repetition_penalty   r: positive logits of seen tokens are divided by r, others multiplied (Keskar et al., 2019;
                         `RepetitionPenaltyLogitsProcessor` of transformers)
    presence_penalty     subtracted once from the logit of a seen token, and
    frequency_penalty    subtracted as often as it was seen (OpenAI API reference)
    penalty_decay        a time that a token was seen counts this much less for every token since, in frequency_penalty
                         (`alpha_decay` of BlinkDL's RWKV pipelines, 0.996 there); 1 for not at all
    logit_bias           token id -> number added to its logit; -inf or -100 excludes it (OpenAI API reference)
    penalty_window       "seen" means among that many latest tokens given to `Sampler.accept`
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_decay: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    penalty_window: int = 1024

    def __post_init__(self) -> None:
        for name, limits in _RANGES.items():
            _check(name, getattr(self, name), *limits)
        if not isinstance(self.logit_bias, Mapping):
            raise InputError(f"logit_bias must map token ids to numbers, not {short(self.logit_bias)}")
        object.__setattr__(self, "logit_bias", dict(self.logit_bias))
        for token_id, bias in self.logit_bias.items():
            if not isinstance(token_id, Integral) or isinstance(token_id, bool) or not 0 <= token_id <= _LARGEST_ID:
                raise InputError(f"logit_bias: {short(token_id)} is not a token id")
            fits = isinstance(bias, Real) and (bias == -math.inf or -_LARGEST_BIAS <= bias <= _LARGEST_BIAS)
            if not fits:
                allowed = f"a number from -{_LARGEST_BIAS:,} to {_LARGEST_BIAS:,}, or -inf"
                raise InputError(f"logit_bias of token {token_id} must be {allowed}, not {short(bias)}")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    def changed(self, options: Mapping[str, Any]) -> Sampling:
        """A copy with these options; whole numbers may be floats, as JSON writes them. Raises InputError."""
        known = {option.name for option in dataclasses.fields(self)}
        for name in options:
            if name not in known:
                raise InputError(f"unknown sampling option {name!r}; known: {', '.join(sorted(known))}")
        whole = {n: int(v) for n, v in options.items() if n in _WHOLE and isinstance(v, float) and v.is_integer()}
        return dataclasses.replace(self, **{**options, **whole})


class Sampler:
    """Draws tokens; the same seed, options, logits and accepted tokens give the same draws.

    seed: a number >= 0, a numpy Generator to go on drawing from, or None for a new random one.
    Penalties count accepted tokens only, those generated: text that came in by a saved state cannot be counted, and a
    prompt shall act the same whether it came as tokens or as a state.
    """

    def __init__(self, sampling: Sampling, seed: int | np.random.Generator | None = None) -> None:
        self.sampling = sampling
        self._random = generator(seed)
        self._window: deque[int] = deque()
        self._counts: Counter[int] = Counter()
        self._decayed: dict[int, tuple[float, int]] = {}  # how much a token counts as seen, and as of which token
        self._accepted = 0
        self._bias_ids = np.array(list(sampling.logit_bias), np.int64)
        self._biases = np.array(list(sampling.logit_bias.values()), np.float32)

    def sample(self, logits: np.ndarray) -> int:
        """logits: [V] float32, left as they are. Raises InputError for NaN or +inf, or when no token is left."""
        logits = self._adjusted(logits)
        highest = logits.max()
        if not highest < np.inf:
            raise InputError("the logits hold NaN or infinity; the model or its state is damaged")
        if highest == -np.inf:
            raise InputError("every token is excluded; loosen logit_bias")
        if self.sampling.greedy:
            return int(logits.argmax())
        ids, probabilities = distribution(logits, self.sampling)
        cumulative = probabilities.cumsum()
        drawn = np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right")
        # Rounding may put the draw on the total itself: then the last token that has any probability.
        return int(ids[min(drawn, np.searchsorted(cumulative, cumulative[-1]))])

    def accept(self, token_id: int) -> None:
        """Count this token as seen from now on, and the one that leaves the window no longer."""
        decay, window = self.sampling.penalty_decay, self.sampling.penalty_window
        self._window.append(token_id)
        self._counts[token_id] += 1
        self._accepted += 1
        if decay != 1:
            self._decayed[token_id] = (self._times(token_id) + 1, self._accepted)
        if len(self._window) > window:
            gone = self._window.popleft()
            self._counts[gone] -= 1
            if decay != 1:
                self._decayed[gone] = (max(self._times(gone) - decay**window, 0), self._accepted)
            if not self._counts[gone]:
                del self._counts[gone]
                self._decayed.pop(gone, None)

    def _times(self, token_id: int) -> float:
        """How often a token was seen, each time counting less the longer ago it is."""
        if self.sampling.penalty_decay == 1:
            return self._counts[token_id]
        times, at = self._decayed.get(token_id, (0.0, 0))
        return times * self.sampling.penalty_decay ** (self._accepted - at)

    def _adjusted(self, logits: np.ndarray) -> np.ndarray:
        """Bias and penalties applied; a copy if anything changes."""
        s = self.sampling
        penalised = self._counts and (s.repetition_penalty != 1 or s.presence_penalty or s.frequency_penalty)
        if not penalised and not self._bias_ids.size:
            return logits
        logits = logits.copy()
        if self._bias_ids.size:
            if (last := self._bias_ids.max()) >= logits.size:
                raise InputError(f"logit_bias: token {last} is not below the vocabulary of {logits.size}")
            logits[self._bias_ids] += self._biases
        if penalised:
            ids = np.fromiter(self._counts.keys(), np.int64)
            times = np.fromiter(map(self._times, self._counts), np.float32)
            logits[ids] = penalise(logits[ids], times, s)
        return logits


def generator(seed: int | np.random.Generator | None) -> np.random.Generator:
    """numpy's generator for a seed >= 0; None gives a new random one. Raises InputError."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise InputError(f"seed must be a whole number of 0 or more, not {short(seed)}") from None


def penalise(logits: np.ndarray, times: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Logits of seen tokens after the penalties; logits, times (how often each was seen): [n] float32."""
    r = np.float32(sampling.repetition_penalty)
    logits = np.where(logits > 0, logits / r, logits * r)
    return logits - np.float32(sampling.presence_penalty) - np.float32(sampling.frequency_penalty) * times


def distribution(logits: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """(ids [n] int64, probabilities [n] float64) after temperature (not 0), top-k, top-p and min-p.

    logits: [V] float32, the highest finite. Of equally likely tokens the lower id is kept.
    """
    ids = largest(logits, sampling.top_k) if 0 < sampling.top_k < logits.size else np.arange(logits.size)
    scaled = logits[ids].astype(np.float64)
    scaled -= scaled.max()
    p = np.exp(scaled / sampling.temperature)
    p /= p.sum()
    if sampling.top_p < 1:
        keep = _nucleus(p, sampling.top_p)
        ids, p = ids[keep], p[keep]
    if sampling.min_p > 0:
        keep = np.flatnonzero(p >= sampling.min_p * p.max())
        ids, p = ids[keep], p[keep]
    return ids, p / p.sum()


def largest(values: np.ndarray, n: int) -> np.ndarray:
    """Indices of the n largest values, falling, the lower index first among equals; without sorting the others."""
    if n >= values.size:
        return np.argsort(-values, kind="stable")
    threshold = np.partition(values, values.size - n)[values.size - n]
    above = np.flatnonzero(values > threshold)
    equal = np.flatnonzero(values == threshold)[: n - above.size]
    chosen = np.concatenate([above, equal])
    return chosen[np.argsort(-values[chosen], kind="stable")]


def _nucleus(p: np.ndarray, top_p: float) -> np.ndarray:
    """Indices of the fewest largest probabilities whose sum is at least top_p."""
    n = 128
    while True:
        order = largest(p, n)
        mass = p[order].cumsum()
        if mass[-1] >= top_p or n >= p.size:
            return order[: int(np.searchsorted(mass, top_p)) + 1]
        n *= 8


def log_probability(logits: np.ndarray, token_id: int) -> float:
    """Natural logarithm of the token's softmax probability; logits: [V] float32."""
    shifted = logits - logits.max()
    return float(shifted[token_id]) - math.log(float(np.exp(shifted).sum(dtype=np.float64)))


def likeliest(logits: np.ndarray, n: int) -> list[tuple[int, float]]:
    """The n most likely tokens and their log probabilities, the likeliest first; logits: [V] float32."""
    return [(int(i), log_probability(logits, int(i))) for i in largest(logits, n)] if n else []


def _check(name: str, value: Any, lowest: float, highest: float) -> None:
    number = isinstance(value, Integral if name in _WHOLE else Real) and not isinstance(value, bool)
    zero = name == "temperature" and number and value == 0
    if not number or not (zero or lowest <= value <= highest):
        what = ("0 or " if name == "temperature" else "") + ("a whole number" if name in _WHOLE else "a number")
        # A share that was meant in percent.
        meant = f"; {value:g} % is {value / 100:g}" if number and highest == 1 < value <= 100 else ""
        raise InputError(f"{name} must be {what} from {lowest} to {highest}, not {short(value)}{meant}")
