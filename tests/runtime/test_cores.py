"""How many threads a process takes where it may not use the whole machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rrwkv_runtime.execution import cores


@pytest.fixture
def computer(monkeypatch, tmp_path):
    """A function: from then on there are so many logical processors, of which the process may use some."""

    def make(processors, allowed, quota=None, in_a_core=1, told=True):
        monkeypatch.setattr(os, "cpu_count", lambda: processors)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(allowed), raising=False)
        monkeypatch.setattr(cores, "CGROUP", tmp_path / "cpu.max")
        monkeypatch.setattr(cores, "PROCESSORS", tmp_path)
        if quota is not None:
            (tmp_path / "cpu.max").write_text(quota)
        for number in range(processors if told else 0):
            (tmp_path / f"cpu{number}/topology").mkdir(parents=True)
            siblings = range(number % (processors // in_a_core), processors, processors // in_a_core)
            (tmp_path / f"cpu{number}/topology/thread_siblings_list").write_text(",".join(map(str, siblings)))

    return make


@pytest.mark.parametrize(
    ("processors", "affinity", "quota", "threads"),
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
@pytest.mark.parametrize("told", [True, False])
def test_affinity_and_quota_limit(processors, affinity, quota, threads, told, computer):
    computer(processors, range(affinity), quota, told=told)
    assert cores.limited() == threads
    assert cores.usable() == (threads or processors)


@pytest.mark.parametrize(
    ("allowed", "quota", "usable", "limited"),
    [
        (range(16), None, 8, None),  # onnxruntime takes 8 by itself
        (range(8), None, 8, 8),
        ((0, 1, 8, 9), None, 2, 2),
        (range(16), "1200000 100000", 8, None),
        (range(16), "300000 100000", 3, 3),
    ],
)
def test_hyperthreads_count_with_their_core(allowed, quota, usable, limited, computer):
    computer(16, allowed, quota, in_a_core=2)
    assert (cores.usable(), cores.limited()) == (usable, limited)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity of processes")
def test_a_model_on_one_core_takes_one_thread(small_bundle):
    program = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from rrwkv_runtime.model import Model
model = Model.load(sys.argv[1])
print({session.get_session_options().intra_op_num_threads for session in model.sessions.values()})
"""
    command = [sys.executable, "-c", program, str(small_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ("{1}" if (os.cpu_count() or 1) > 1 else "{0, 1}")
