"""Which tokens are compared: text, where the tokenizer makes something of it, special tokens and others at random.

Always the same ones for the same model. Each special token follows an ordinary one and another special one, and comes
before both, as far as there are ordinary ones between: ordinary … a b, ordinary … b c, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.checkpoint import TokenizerFile
from rrwkv_export.texts import poverty
from rrwkv_runtime.errors import TokenizerError
from rrwkv_runtime.tokenizer import Tokenizer

_TOKEN_PARAMETERS = 2e10  # how much arithmetic a verification may cost: tokens times parameters
_FEWEST, _MOST = 48, 1024
_FEWEST_SPECIAL, _MOST_SPECIAL = 32, 256  # how many there is always room for, and are compared at the most
_ENDS = 4  # the vocabulary's first and last ids: markers and rows that no text uses


@dataclass(frozen=True)
class Sample:
    """The ids to compare, of which some are text and some at random.

    special: which are special tokens, each there at least once. left_out: how many more of those the tokenizer has.
    """

    ids: tuple[int, ...]
    text: int = 0
    random: int = 0
    special: tuple[int, ...] = ()
    left_out: int = 0

    def __str__(self) -> str:
        parts = [f"{self.text} of text"] if self.text else []
        parts += [f"{self.random} at random"] if self.random else []
        if self.special:
            all_of_them = f" of {len(self.special) + self.left_out}" if self.left_out else ""
            twice = ", each twice" if len(self.ids) == self.text + self.random + 2 * len(self.special) else ""
            parts.append(f"{len(self.special)}{all_of_them} special ones{twice}")
        return f"{len(self.ids)} tokens" + (f" ({', '.join(parts)})" if parts else "")


def verification_length(config: ModelConfig) -> int:
    """How many tokens are worth comparing, beside special ones: past the point where the bank is full, as far as the
    model's size allows.
    """
    medium, affordable = config.medium, min(_affordable(config), _MOST)
    if medium is None:
        return max(_FEWEST, min(200, affordable))
    # However dear: a medium is made and read, and another one is made.
    fewest = max(_FEWEST, 2 * medium.longest + 5)
    return max(fewest, min(medium.longest * (medium.slots + 2) + 5, affordable))


def draw_sample(
    config: ModelConfig, tokenizer: TokenizerFile | None, ends: Sequence[int] = (), tokens: int | None = None
) -> Sample:
    """The ids for a model. ends: tokens that begin or end a text. tokens: how many ids in all, if not the usual number.

    Of special tokens at most 256, a large model's at most so many as it can afford (but 32): those of `ends` and those
    that mark something first, of the others every n-th. Each is there twice; where `tokens` is too few for that, once.
    """
    opened = tokenizer.open() if tokenizer else None
    special = _special(config, opened, ends)
    room = min(_MOST_SPECIAL, max(_FEWEST_SPECIAL, _affordable(config)))
    kept = _some(special, room if tokens is None else min(room, tokens // 2))
    pairs = list(zip(kept, [*kept[1:], *kept[:1]]))
    if tokens is not None and 2 * len(pairs) > tokens // 2:
        pairs = pairs[::2]
    count = verification_length(config) if tokens is None else tokens - 2 * len(pairs)
    text, random = _ordinary(config, opened, count, special)
    return Sample(tuple(_interleaved(text, random, pairs)), len(text), len(random), kept, len(special) - len(kept))


def _affordable(config: ModelConfig) -> int:
    return int(_TOKEN_PARAMETERS / config.parameters())


def _special(config: ModelConfig, tokenizer: Tokenizer | None, ends: Sequence[int]) -> list[int]:
    """Every special token's id, the most important first."""
    V, found = config.vocab_size, list(ends)
    if tokenizer:
        found += [] if tokenizer.unknown is None else [tokenizer.unknown]
        found += [*sorted(tokenizer.special), *range(min(V, _ENDS)), *sorted(tokenizer.added)]
    found += [*range(min(V, _ENDS)), *range(max(0, V - _ENDS), V)]
    return [i for i in dict.fromkeys(found) if 0 <= i < V]


def _some(special: Sequence[int], count: int) -> tuple[int, ...]:
    """So many of them: half from the front, the others from all over the rest."""
    if len(special) <= count:
        return tuple(special)
    head = (count + 1) // 2
    spread = np.linspace(head, len(special) - 1, count - head).astype(int)
    return (*special[:head], *(special[i] for i in spread))


def _ordinary(
    config: ModelConfig, tokenizer: Tokenizer | None, count: int, special: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Text, half of them or none, and ids at random, of those that are not special unless all are."""
    text = _text(config, tokenizer)[: (count + 1) // 2] if tokenizer else []
    others = np.setdiff1d(np.arange(config.vocab_size), special)
    random = np.random.default_rng(0).choice(others if len(others) else np.asarray(special), count - len(text))
    return text, [int(i) for i in random]


def _text(config: ModelConfig, tokenizer: Tokenizer) -> list[int]:
    """The text that comes along, if the tokenizer makes something of it."""
    text = resources.files("rrwkv_export").joinpath("assets/sample.txt").read_text(encoding="utf-8")
    try:
        ids = [i for i in tokenizer.encode(text) if i < config.vocab_size]
    except TokenizerError:
        return []
    return [] if poverty(ids, config.vocab_size, tokenizer.unknown) else ids


def _interleaved(text: Sequence[int], random: Sequence[int], pairs: Sequence[tuple[int, int]]) -> list[int]:
    """A piece of text, a pair, a piece at random, a pair, and so on; text alone at the beginning."""
    kinds = (text, random) if text else (random,)
    pieces = -(-(len(pairs) + 1) // len(kinds))
    parts = [[list(part) for part in np.array_split(np.asarray(kind, int), pieces)] for kind in kinds]
    ordinary = [part for several in zip(*parts) for part in several]
    ids: list[int] = []
    for i, part in enumerate(ordinary):
        ids += [int(token) for token in part]
        ids += pairs[i] if i < len(pairs) else ()
    return ids
