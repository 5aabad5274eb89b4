"""The official JavaScript client, where node and it are there (`make build/openai/.installed`)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "build" / "openai"


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
@pytest.mark.skipif(not (CLIENT / "node_modules").is_dir(), reason="npm has not installed openai in build/openai")
def test_the_official_client(server_url):
    script = Path(__file__).with_name("openai.mjs")
    done = subprocess.run(["node", script, CLIENT, server_url], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
