"""A turn of a conversation: done, and while it is generated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rrwkv_runtime.text.thinking import ThoughtAndAnswer

if TYPE_CHECKING:
    from rrwkv_runtime.execution.decoder import Decoder
    from rrwkv_runtime.generate import Reply, Timing
    from rrwkv_runtime.state import State
    from rrwkv_runtime.text.stopping import StopStrings


@dataclass(frozen=True)
class Turn:
    user: str
    reply: str
    before: State | None  # None once it is too long ago to go back to


@dataclass
class Draft:
    """A turn that is being generated.

    base: the turns before it. prefix: the state before the reply, or before its first token where a thought that it
    was made to begin with is kept. certain: the decoder has seen exactly the reply's tokens but the pending one; not so
    after an interrupt, which may strike inside a step. kept: whether a thought stays in the conversation.
    """

    user: str
    before: State
    base: list[Turn]
    decoder: Decoder
    prefix: State
    reply: Reply
    stops: StopStrings
    kept: bool
    timing: Timing
    ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    blank: bool = True
    certain: bool = True
    open: bool = True

    @property
    def answer(self) -> str:
        """What was shown, but for a thought."""
        return "".join(self.pieces)

    @property
    def drops(self) -> bool:
        """Whether the decoder has seen what is not to stay: a thought, or that there is none."""
        stops = self.stops
        return isinstance(stops, ThoughtAndAnswer) and not self.kept and (stops.thinks or stops.begun != "")

    @property
    def text(self) -> str:
        """What stays of the reply, from `prefix` on."""
        if isinstance(self.stops, ThoughtAndAnswer) and self.kept:
            return self.stops.written
        return self.answer
