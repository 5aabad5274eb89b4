"""The examples in docs/serve.md run as they stand, at another address."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from serving import numbers

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")


def examples(language, url):
    text = "".join(re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S))
    assert text
    return text.replace("http://127.0.0.1:8000", url).replace("my-bundle", "bundle")


def test_in_python(server_url):
    """The model is random, and may end its reply at once: what tells is that it wrote."""
    written = 'rrwkv_tokens_total{kind="written"}'
    before = numbers(server_url).get(written, 0)
    exec(compile(examples("python", server_url), "docs/serve.md", "exec"), {})
    assert numbers(server_url)[written] > before


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_in_a_shell(server_url):
    done = subprocess.run(["sh", "-ec", examples("sh", server_url)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    first, _, stream = done.stdout.partition("data: ")
    assert json.loads(first)["choices"][0]["finish_reason"] in ("length", "stop")
    assert stream.endswith("data: [DONE]\n\n")


def test_every_limit_is_the_one_that_is_there():
    from rrwkv_server import Limits

    for number in (f"{Limits.prompt_tokens:,}", f"{Limits.written_tokens:,}", f"| {Limits.parallel} |"):
        assert number in PAGE
    for number in (f"| {Limits.waiting} |", f"{Limits.cache_bytes >> 20} MiB", f"{Limits.body_bytes >> 20} MiB"):
        assert number in PAGE
