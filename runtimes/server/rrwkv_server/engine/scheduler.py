"""Conversations take turns on a few threads: a token each, or a piece of a prompt, in the order in which they came.

Today's graphs have no batch axis, so steps of several conversations are no single run of the model. Each thread runs
one conversation's step on sessions that it shares with the others; two threads of one core each were faster than one
of two cores on every bundle that was measured (docs/serve.md).
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Protocol


class Job(Protocol):
    """What takes turns."""

    def advance(self) -> bool:
        """Do a little; whether there is more to do. Raises nothing."""


class Busy(Exception):
    """All places are taken, the waiting ones too."""


class Closed(Exception):
    """No steps are taken any more."""


class Scheduler:
    """workers: threads. parallel: jobs that take turns. waiting: jobs that wait for one of them to leave.

    For use from several threads; `open` and `close` from one. It is open at first.
    """

    def __init__(self, workers: int, parallel: int, waiting: int) -> None:
        self._workers, self._parallel, self._most = workers, parallel, parallel + waiting
        self._turns: deque[Job] = deque()  # those of `_active` whose turn comes, the next one first
        self._active: set[Job] = set()
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._reserved, self._closed = 0, False
        self._threads: list[threading.Thread] = []
        self.open()

    @property
    def active(self) -> int:
        return len(self._active)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def reserve(self) -> None:
        """Take a place, before the work of making a job; `release` gives it back. Raises Busy, Closed."""
        with self._changed:
            if self._closed:
                raise Closed
            if self._reserved >= self._most:
                raise Busy
            self._reserved += 1

    def release(self) -> None:
        with self._changed:
            self._reserved -= 1

    def add(self, job: Job) -> None:
        """Let a job take turns, now or when others have left."""
        with self._changed:
            self._waiting.append(job)
            self._admit()

    def remove(self, job: Job) -> None:
        """A job that is no longer wanted leaves at once; a step that runs is its last one."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
            self._leave(job)

    def open(self) -> None:
        """Steps, at first and after `close`."""
        self._closed = False
        while len(self._threads) < self._workers:
            thread = threading.Thread(target=self._work, name=f"steps-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """No further steps; those that run are waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        while self._threads:
            self._threads.pop().join()

    def _admit(self) -> None:
        while self._waiting and len(self._active) < self._parallel:
            job = self._waiting.popleft()
            self._active.add(job)
            self._turns.append(job)
            self._changed.notify()

    def _leave(self, job: Job) -> None:
        if job in self._turns:
            self._turns.remove(job)
        self._active.discard(job)
        self._admit()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            more = job.advance()
            with self._changed:
                if more and job in self._active:
                    self._turns.append(job)
                    self._changed.notify()
                else:
                    self._leave(job)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._turns and not self._closed:
                self._changed.wait()
            return None if self._closed else self._turns.popleft()
