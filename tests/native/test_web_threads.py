"""The kernels as modules of WebAssembly with threads, in Node: how many there are changes no bit, and none is left."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_native_matrices import FIVE, SEVEN, SEVEN_MEDIUMS, SIX
from test_web_kernels import ATTENTION, BUILT, NODE, RUNTIME, RWKV_4, WIDE, node, options, quantized  # noqa: F401

PLAIN, RELAXED = RUNTIME / "kernels" / "kernels-threads.wasm", RUNTIME / "kernels" / "kernels-relaxed-threads.wasm"
READY = NODE and BUILT and PLAIN.exists() and RELAXED.exists()
pytestmark = pytest.mark.skipif(not READY, reason="no Node, or `make web-kernels web-test` was not run")

CASES = [(ATTENTION, "int8"), (WIDE, "int8-static"), (RWKV_4, "float16"), (SIX, "int8"), (FIVE, "int8-dynamic")]
SEVENS = [(SEVEN, "int8"), (SEVEN_MEDIUMS, "int8-static"), (SEVEN, "float16")]


def act(action: str, module: Path, *bundles: Path) -> None:
    """Fails with what the script says, or if it does not end."""
    assert NODE
    script = Path(__file__).with_name("web_threads.mjs")
    command = [NODE, *options(), script, RUNTIME, module, action, *bundles]
    found = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert found.returncode == 0, found.stderr.decode()


@pytest.mark.parametrize("module", [PLAIN, RELAXED], ids=["plain", "relaxed"])
@pytest.mark.parametrize("cases", [CASES, SEVENS], ids=["rwkv4-to-6", "rwkv7"])
def test_any_number_of_threads_gives_the_same_bits(module, cases, quantized):  # noqa: F811
    act("same", module, *(quantized(config, scheme) for config, scheme in cases))


def test_threads_have_the_logits_of_no_threads(quantized):  # noqa: F811
    bundle = quantized(ATTENTION, "int8")
    alone, shared = node("run", RUNTIME / "kernels" / "kernels.wasm", bundle), node("run", PLAIN, bundle, "3")
    assert shared.returncode == 0, shared.stderr.decode()
    np.testing.assert_array_equal(np.frombuffer(shared.stdout, np.float32), np.frombuffer(alone.stdout, np.float32))


@pytest.mark.parametrize("action", ["released", "failing", "refused", "missing"])
def test_threads_end_as_they_should(action, quantized):  # noqa: F811
    act(action, PLAIN, quantized(RWKV_4, "int8"))
