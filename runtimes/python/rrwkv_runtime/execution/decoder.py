"""The seam between text and engine: what a conversation in motion can be asked, whatever graphs it runs on.

`any_length_decoder` does it over graphs that take any number of tokens, `fixed_shape_decoder` over those of phones'
engines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from rrwkv_runtime.state import State

Progress = Callable[[int, int], bool | None]
"""Called with (tokens done, tokens in all) after each chunk; False asks to stop."""


class Decoder(Protocol):
    """A conversation in motion. Made by `Model.decoder`; not for use from several threads at once."""

    @property
    def position(self) -> int:
        """Tokens seen so far."""

    def state(self) -> State:
        """An independent copy of the state now."""

    def take_state(self) -> State:
        """The state now, on the host without a copy; the decoder must not be run after this."""

    def step(self, token_id: int) -> np.ndarray:
        """Logits [V] float32 after one more token; a view that the next call overwrites. Raises InputError."""

    def prefill(self, ids: Sequence[int] | np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """Logits [V] float32 after the last of T >= 1 ids. Raises InputError, Cancelled."""

    def run(
        self,
        ids: Sequence[int] | np.ndarray,
        num_logits: int = 1,
        *,
        chunk: int | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Logits [N, V] float32 of the last N = num_logits of T ids, run in chunks of at most `chunk` tokens."""
