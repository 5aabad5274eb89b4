"""How much memory quantizing takes, in a process of its own, beyond what it takes for next to nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import RWKV4

from rrwkv_export.architectures.rwkv4 import RWKV4Config

LARGE = RWKV4Config(vocab_size=4096, hidden_size=512, num_layers=4, ffn_size=2048)
_PROGRAM = """
import sys
from pathlib import Path
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.quantize.recipes import shipped_recipe

bundle, out, ids, scheme = sys.argv[1:]
quantize(Path(bundle), Path(out), shipped_recipe(scheme), Calibration.read([Path(ids)], Path(bundle)))
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def peak(bundle: Path, folder: Path, vocab_size: int, scheme: str) -> int:
    """The largest resident set, mapped files included, in bytes."""
    ids = folder / f"{bundle.name}.ids"
    ids.write_text(" ".join(map(str, np.random.default_rng(0).integers(0, vocab_size, 256))))
    arguments = [sys.executable, "-c", _PROGRAM, bundle, folder / bundle.name, ids, scheme]
    done = subprocess.run(list(map(str, arguments)), check=True, capture_output=True, text=True)
    return 1024 * int(done.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says it")
@pytest.mark.parametrize(("scheme", "times"), [("int8", 1.5), pytest.param("int4", 2.3, marks=pytest.mark.slow)])
def test_quantizing_takes_little_more_memory_than_the_float_weights(scheme, times, make_tiny, tmp_path):
    """70 MB of them. Of a model so small the second moments for GPTQ are all kept at once: 0.7 times as much."""
    small = peak(make_tiny(RWKV4).path, tmp_path, RWKV4.vocab_size, scheme)
    large = peak(make_tiny(LARGE).path, tmp_path, LARGE.vocab_size, scheme)
    assert large - small < times * 4 * LARGE.parameters()
