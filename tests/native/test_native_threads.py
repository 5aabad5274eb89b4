"""The kernels among other threads and processes: they keep no threads, and what one computes is not seen by another."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.texts import Text
from rrwkv_runtime.model import Model

pytest.importorskip("rrwkv_native", reason="rrwkv-native is not installed")

CONFIG = RWKV4Config(300, 96, 2, 384, medium=MediumConfig(interval=5, slots=3, key_size=16))
IDS = np.random.default_rng(3).integers(0, 300, 40)
SCHEMES = ("int8-static", "int4", "float16")


@pytest.fixture(scope="module")
def bundles(make_tiny, tmp_path_factory):
    """By the scheme, of one random model. Read only."""
    text = Text("random", "0" * 64, (np.random.default_rng(0).integers(0, 300, 300),))
    folder = tmp_path_factory.mktemp("threads")
    for scheme in SCHEMES:
        quantize(make_tiny(CONFIG).path, folder / scheme, shipped_recipe(scheme), Calibration((text,), None, 0))
    return {scheme: folder / scheme for scheme in SCHEMES}


def load(path, threads=1):
    return Model.load(path, threads=threads, native=True)


def talk(model):
    """Logits of a prompt, and of tokens one by one."""
    decoder = model.decoder()
    return np.stack([decoder.prefill(IDS[:13]).copy(), *(decoder.step(i).copy() for i in IDS[13:])])


def test_models_that_decode_at_once_do_not_meet(bundles):
    """Several of each scheme, in more threads than there are cores, each with threads of its own."""
    models = [load(bundles[scheme], threads) for scheme in SCHEMES for threads in (1, 2)]
    alone = [talk(model) for model in models]
    with ThreadPoolExecutor(len(models)) as pool:
        for _ in range(5):
            for together, before in zip(pool.map(talk, models), alone, strict=True):
                np.testing.assert_array_equal(together, before)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_conversation_may_go_on_in_any_thread(scheme, bundles):
    """A token each in a thread that comes for it and ends with it: what one keeps of a run means nothing to others."""
    model, rows = load(bundles[scheme]), []
    wanted, decoder = talk(model), model.decoder()
    rows.append(decoder.prefill(IDS[:13]).copy())
    for token in IDS[13:]:
        thread = Thread(target=lambda token=token: rows.append(decoder.step(token).copy()))
        thread.start()
        thread.join()
    np.testing.assert_array_equal(np.stack(rows), wanted)


FORKS = """
import os, signal, sys
from pathlib import Path
from test_native_threads import load, talk

tasks = lambda: len(os.listdir("/proc/self/task"))
before = tasks()
import rrwkv_native
rrwkv_native.tables()
assert tasks() == before, "the library has threads"
model = load(Path(sys.argv[1]), THREADS)
wanted = talk(model)
assert tasks() == before or THREADS > 1, "a session of one thread has more"
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if (talk(model) == wanted).all() and (talk(load(Path(sys.argv[1]), 2)) == wanted).all() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child"
assert (talk(model) == wanted).all(), "the parent"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_process_that_forks_has_two_that_decode(scheme, bundles):
    """With one thread a session: of more onnxruntime promises nothing. A child may load a session with any number."""
    folders = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", FORKS.replace("THREADS", "1"), str(bundles[scheme])]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": folders}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
