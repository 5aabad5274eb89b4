"""Runs on two processes, by DDP and by FSDP, are what they are on one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoint_files import RWKV7, random_weights, write_rrwkv
from training_runs import RUN, SENTENCES, SIZES, rows

pytest.importorskip("accelerate", reason="accelerate is not installed: pip install '.[train]'")

DDP = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
DDP += ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1", "-m", "rrwkv_export"]
FSDP = ["-m", "torch.distributed.run", "--nproc-per-node", "2", str(Path(__file__).with_name("fsdp_on_cpus.py"))]
# What `accelerate launch --use_fsdp` says where nothing is asked for.
LAUNCHED = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
    "FSDP_OFFLOAD_PARAMS": "false",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
    "FSDP_SYNC_MODULE_STATES": "true",
}
FIRST = {"FSDP_VERSION": "1", "FSDP_CPU_RAM_EFFICIENT_LOADING": "false", "FSDP_SYNC_MODULE_STATES": "false"}
KINDS = pytest.mark.parametrize("kind", [DDP, FSDP], ids=["ddp", "fsdp"])


def on_two_processes(kind, *arguments, status=0, **more):
    command = [sys.executable, *kind, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(LAUNCHED if kind is FSDP else {})}
    environment |= {"FSDP_VERSION": "2", **more}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode == 0) == (status == 0), done.stderr
    return done


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(SENTENCES)
    return tmp_path / "text.txt"


@pytest.fixture
def base(tmp_path):
    return write_rrwkv(tmp_path / "base", RWKV7, random_weights(RWKV7))


@pytest.fixture
def ids(tmp_path):
    (tmp_path / "a.ids").write_text(" ".join(str(7 * i % 40) for i in range(600)))
    return tmp_path / "a.ids"


def nearly_same(one, other):
    for name in ("losses.csv", "held_out.csv"):
        for left, right in zip(rows(one, name), rows(other, name), strict=True):
            for what in {"loss", "gradient_norm"} & left.keys():
                assert float(left[what]) == pytest.approx(float(right[what]), rel=1e-3 if "norm" in what else 1e-4)


@KINDS
def test_two_processes_train_as_one_does(rrwkv, text, tmp_path, kind):
    given = ["train", text, *SIZES, "--medium-interval", "4-8", *RUN, "--clip", "0.3"]
    rrwkv(*given, "-o", tmp_path / "one")
    done = on_two_processes(kind, *given, "-o", tmp_path / "two")
    assert done.stdout.count("held-out loss") == 1
    nearly_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@KINDS
def test_two_processes_retrofit_as_one_does(rrwkv, base, ids, tmp_path, kind):
    """At first most weights get no gradient, in neither process."""
    given = ["retrofit", base, ids, "--medium-interval", 4, "--medium-key-size", 8, *RUN]
    rrwkv(*given, "-o", tmp_path / "one")
    on_two_processes(kind, *given, "-o", tmp_path / "two")
    nearly_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@KINDS
def test_two_processes_tune_as_one_does(rrwkv, base, ids, tmp_path, kind):
    given = ["train", "--from", base, "--qat", "int4", ids, *RUN]
    rrwkv(*given, "-o", tmp_path / "one")
    on_two_processes(kind, *given, "-o", tmp_path / "two")
    nearly_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_what_processes_of_fsdp_kept_is_gone_on_with_by_one_and_by_two(rrwkv, text, tmp_path):
    given = ["train", text, *SIZES, *RUN]
    for out, begun in (("one", rrwkv), ("two", on_two), ("then one", on_two), ("then two", rrwkv)):
        begun(*given, "-o", tmp_path / out)
    for out in ("one", "two", "then one", "then two"):
        longer(tmp_path / out)
    rrwkv("train", "-o", tmp_path / "one", "--resume")
    on_two("train", "-o", tmp_path / "two", "--resume")
    rrwkv("train", "-o", tmp_path / "then one", "--resume")
    on_two("train", "-o", tmp_path / "then two", "--resume")
    for out in ("two", "then one", "then two"):
        nearly_same(tmp_path / "one", tmp_path / out)


def on_two(*arguments):
    on_two_processes(FSDP, *arguments)


def longer(run):
    settings = run / "training" / "settings.json"
    settings.write_text(settings.read_text().replace('"steps": 12', '"steps": 16'))


@pytest.mark.slow
@KINDS
def test_what_fails_in_the_first_ends_both(text, tmp_path, kind):
    out = tmp_path / "out"
    done = on_two_processes(kind, "train", text, "-o", out, *SIZES, *RUN, "--length", "100000", status=1)
    assert "6,635 tokens to train" in done.stderr
    assert not out.exists()


@pytest.mark.slow
def test_the_first_fsdp_is_refused_in_a_line(text, tmp_path):
    done = on_two_processes(FSDP, "train", text, "-o", tmp_path / "out", *SIZES, *RUN, status=1, **FIRST)
    assert "FSDP: models are trained by DDP or FSDP 2; give accelerate --fsdp_version 2" in done.stderr
    assert not (tmp_path / "out").exists()
