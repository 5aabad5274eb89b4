"""A generation on the scheduler's threads, whose tokens come out in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

from rrwkv_runtime import Token
from rrwkv_server.engine.scheduler import Scheduler


class TimeIsUp(Exception):
    """A request took as long as it may."""


class TokenStream:
    """A `Job`. `stop` is to be called at the end: what is left of it is not computed."""

    def __init__(self, scheduler: Scheduler, steps: Iterator[Token | None], seconds: float) -> None:
        """steps: of a `Generation`. seconds: the most that it may take from now on, waiting too."""
        self._scheduler, self._steps = scheduler, steps
        self._loop, self._tokens = asyncio.get_running_loop(), asyncio.Queue[Token | Exception]()
        self._until = self._loop.time() + seconds

    def stop(self) -> None:
        self._scheduler.remove(self)

    async def tokens(self) -> AsyncIterator[Token]:
        """Tokens up to one that says why it is the last. Raises TimeIsUp, and what the generation raises."""
        self._scheduler.add(self)
        while True:
            try:
                async with asyncio.timeout_at(self._until):
                    found = await self._tokens.get()
            except TimeoutError:
                raise TimeIsUp from None
            if isinstance(found, Exception):
                raise found
            yield found
            if found.finish:
                return

    def advance(self) -> bool:
        """As a `Job` does."""
        try:
            token = next(self._steps)
        except BaseException as error:  # a panic of a package in Rust is no Exception; a thread must not end by it
            self._put(error if isinstance(error, Exception) else RuntimeError(str(error)))
            return False
        if token is None:
            return True
        self._put(token)
        return token.finish is None

    def _put(self, found: Token | Exception) -> None:
        with suppress(RuntimeError):  # the event loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._tokens.put_nowait, found)
