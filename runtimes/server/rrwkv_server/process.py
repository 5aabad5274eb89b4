"""The server as a process: a port, signals, and an end at which what was begun is finished."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from rrwkv_runtime.errors import InputError

_CONNECTIONS = 1024
_KEEP_ALIVE = 5  # seconds that a connection may be idle


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to this address, before anything costs time; port 0 takes a free one. Raises InputError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError, OverflowError) as error:
        raise InputError(
            f"--host {host}: no address of this machine ({_reason(error)}); 127.0.0.1 is its own"
        ) from None
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(0)  # else another process could have the same
    except OSError as error:
        bound.close()
        raise InputError(f"{host} port {port}: {_reason(error)}; give another with --port, or 0 for any") from None
    return bound


def address(bound: socket.socket) -> str:
    """As a URL."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: FastAPI, bound: socket.socket, drain: float, say: Callable[[str], None]) -> int:
    """Serve until SIGINT or SIGTERM; then finish what was begun, in so many seconds; a second signal ends it at once.

    Gives the exit status: 0, or 130 and 143 after a second signal.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # the guard has logged what failed
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of clients that have left
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(drain)),
        ws="none",
    )
    server = _Server(config, say)
    try:
        asyncio.run(server.serve(sockets=[bound]))
    finally:
        app.state.close()
    return server.status


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, say: Callable[[str], None]) -> None:
        super().__init__(config)
        self._say, self.status = say, 0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Without raising them again at the end: that they came is what was wanted."""
        before = {name: signal.signal(name, self.handle_exit) for name in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        began = asyncio.get_running_loop().time()
        await super().shutdown(sockets)
        seconds = self.config.timeout_graceful_shutdown or 0
        if not self.force_exit and asyncio.get_running_loop().time() - began > seconds:
            self._say(f"what was not finished after {seconds} seconds was given up")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit, self.status = True, 128 + sig
            return
        self.should_exit = True
        self._say("finishing what was begun; once more ends it now")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
