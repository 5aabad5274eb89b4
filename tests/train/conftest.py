"""A text and a run of it; tiny models on one thread: threads that wait for each other are slower."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from training_runs import RUN, SENTENCES, SIZES

from rrwkv_export.commands import _run as run_command


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(SENTENCES)
    return path


@pytest.fixture(scope="session")
def run(text, tmp_path_factory):
    """A whole one, of RWKV-7 with mediums. Read only."""
    out = tmp_path_factory.mktemp("run") / "run"
    assert run_command(["train", str(text), "-o", str(out), *SIZES, "--medium-interval", "8", *RUN]) == 0
    return out


@pytest.fixture
def limited():
    """How a process is started whose files may have so many bytes; those of Python's cache would be cut too."""
    resource = pytest.importorskip("resource", reason="this system has no limit of files' sizes")

    def of(size):
        limit = (size, size)
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit), "env": environment}

    return of
