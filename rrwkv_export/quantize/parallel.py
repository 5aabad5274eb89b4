"""Numpy work side by side, each piece on one core.

BLAS's own threads wait for their next product by spinning, also where none comes for a while: with them observing and
rounding took a third more processor time. So BLAS gets one thread here, and independent pieces share the cores; what
they give does not depend on how many cores there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import threadpool_limits

from rrwkv_runtime.execution.cores import usable

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def workers(threads: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """So many threads, None: one a core, each of whose products runs on one core."""
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads or usable()) as pool:
        yield pool


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item], at_once: int) -> Iterator[Result]:
    """function of each item, in their order; so many at once, as each takes memory. Items are taken as they are needed,
    by the thread that asks for the results.
    """
    with workers(min(at_once, usable())) as pool:
        ahead: deque[Future[Result]] = deque()
        for item in items:
            if len(ahead) == at_once:
                yield ahead.popleft().result()
            ahead.append(pool.submit(function, item))
        while ahead:
            yield ahead.popleft().result()
