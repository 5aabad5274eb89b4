"""How many threads a process takes where it may not use the whole machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rrwkv_runtime import cores


@pytest.mark.parametrize(
    ("machine", "affinity", "quota", "threads"),
    [
        (16, 16, "max 100000\n", None),
        (16, 16, None, None),
        (16, 2, None, 2),
        (16, 16, "150000 100000", 2),
        (16, 16, "10000 100000", 1),
        (16, 4, "800000 100000", 4),
        (1, 1, "max 100000", None),
        (2, 2, "not what it should be", None),
        (2, 2, "100000 0", None),
    ],
)
def test_affinity_and_quota_limit(machine, affinity, quota, threads, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "cpu_count", lambda: machine)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    monkeypatch.setattr(cores, "CGROUP", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    assert cores.limited() == threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity of processes")
def test_a_model_on_one_core_takes_one_thread(small_bundle):
    program = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from rrwkv_runtime.session import Model
model = Model.load(sys.argv[1])
print({session.get_session_options().intra_op_num_threads for session in model.sessions.values()})
"""
    command = [sys.executable, "-c", program, str(small_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ("{1}" if (os.cpu_count() or 1) > 1 else "{0, 1}")
