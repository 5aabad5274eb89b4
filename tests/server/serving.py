"""What tests of the server share: a tiny bundle, `rrwkv serve` as a process, and the numbers it gives."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx2

BUNDLE = Path(__file__).parents[1] / "conformance" / "bundle"
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def command(*arguments):
    return [sys.executable, "-c", "from rrwkv_export.commands import main; main()", "serve", *map(str, arguments)]


@contextmanager
def process(*arguments, bundle=BUNDLE):
    """(process, its address) once it serves; it is killed at the end if it is still there."""
    given = command(bundle, "--port", 0, "--threads", 1, *arguments)
    server = subprocess.Popen(given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        found = re.search(r"http://[^ ]+(?=/v1 )", line)
        assert found, line + server.stderr.read()
        yield server, found[0]
    finally:
        server.kill()
        server.communicate()


def numbers(url):
    """Of /metrics, by name, with labels as they are written."""
    lines = httpx2.get(f"{url}/metrics").raise_for_status().text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def wait_until(condition, seconds=10.0):
    """True as soon as the condition is; False if it is not in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


def asked(*texts, **more):
    """The body of a chat: turns of the user and the assistant, alternately."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"model": "bundle", "messages": messages, "temperature": 0, **more}
