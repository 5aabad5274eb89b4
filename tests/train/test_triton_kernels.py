"""Kernels for CUDA, interpreted on the CPU: results and gradients; and where they are chosen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_files import RRWKV, random_weights

from rrwkv_export.train import kernels
from rrwkv_export.train.models import Model


def test_results_and_gradients_are_those_without_kernels():
    pytest.importorskip("triton", reason="triton is not installed: pip install triton")
    script = Path(__file__).with_name("kernels_interpreted.py")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_on_a_cpu_there_are_none(monkeypatch):
    monkeypatch.setattr(kernels, "_has_triton", lambda: pytest.fail("asked for on a CPU"))
    Model(RRWKV, random_weights(RRWKV))(torch.zeros(1, 3, dtype=torch.long))
