"""`rrwkv serve` as a process, and requests to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
NAME = "served"


@dataclass(frozen=True)
class Served:
    """A server's address, and its process's number."""

    url: str
    pid: int


@contextmanager
def serving(bundle: Path, *options: object) -> Iterator[Served]:
    """`rrwkv serve` with these options, until the end of the block; then it is told to stop, and waited for."""
    command = [sys.executable, "-m", "rrwkv_export", "serve", bundle, "--port", 0, "--name", NAME, *options]
    server = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"http://[^ ]+(?=/v1 )", server.stdout.readline())
        if found is None:
            raise RuntimeError("the server did not start; it said why")
        yield Served(found[0], server.pid)
        server.terminate()
        server.wait(60)
    finally:
        server.kill()


def numbers(url: str) -> dict[str, float]:
    """Of /metrics, by name with labels."""
    lines = httpx2.get(f"{url}/metrics").raise_for_status().text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


async def stream(client: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """The chunks of an answer. Raises RuntimeError for an error, and for a stream without its end."""
    async with client.stream("POST", path, json={**body, "stream": True}) as answer:
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code}: {(await answer.aread()).decode()}")
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                return
            if line:
                chunk = json.loads(line.removeprefix("data: "))
                if "error" in chunk:
                    raise RuntimeError(str(chunk))
                yield chunk
    raise RuntimeError("the stream ended without [DONE]")
