"""Runs from the first step to the last: killed and gone on with, refused."""

from __future__ import annotations

import math
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from checkpoint_files import RWKV4, RWKV7, random_weights, write_rrwkv
from safetensors.torch import load_file
from training_runs import RUN, SIZES, rows, same_run

from rrwkv_export.architectures import reference
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.train.held_out import HeldOut
from rrwkv_export.train.settings import Settings

pytest.importorskip("accelerate", reason="accelerate is not installed: pip install '.[train]'")

PROGRAM = [sys.executable, "-m", "rrwkv_export"]


def process(*arguments, status=0, **how):
    """Another Python, and what it said on standard error."""
    done = subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=300, **how)
    assert done.returncode == status, done.stderr
    return done.stderr


def test_a_run_is_a_checkpoint_and_tells_of_itself(run, text):
    checkpoint = open_checkpoint(run)
    assert (checkpoint.config.architecture, checkpoint.config.medium.interval) == ("rwkv7", 8)
    assert checkpoint.notes == ()
    assert open_checkpoint(run / "last").config == checkpoint.config
    steps, held_out = rows(run), rows(run, "held_out.csv")
    assert [int(row["step"]) for row in steps] == list(range(1, 13))
    assert [int(row["step"]) for row in held_out] == [0, 4, 8, 12]
    assert list(held_out[0]) == ["step", "loss", "0-15", "16-31"]
    assert float(held_out[-1]["loss"]) < float(held_out[0]["loss"])
    rates = [float(row["learning_rate"]) for row in steps]
    assert rates[0] < rates[1] == max(rates)
    assert rates[-1] < 0.12e-3
    card = (run / "README.md").read_text()
    assert 'model_name: "run"' in card
    assert "12 steps of 2 rows of 32 tokens" in card
    assert str(text.parent) not in card


def test_a_run_may_be_as_long_as_a_time(rrwkv, text, tmp_path):
    out, steps = tmp_path / "run", RUN.index("--steps")
    timed = [*RUN[:steps], "--minutes", "0.01", *RUN[steps + 2 :], "--architecture", "rwkv4", "--precision", "bfloat16"]
    rrwkv("train", text, "-o", out, *SIZES, *timed)
    done = rows(out, but=())
    assert float(done[-1]["seconds"]) >= 0.6
    assert [float(row["seconds"]) < 0.6 for row in done[:-1]] == [True] * (len(done) - 1)
    assert f"of {len(done)}; before" in rrwkv("train", "-o", out, "--resume").out


def test_tensorboard_sees_every_step(run):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install '.[train]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "training" / "tensorboard"))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("training/loss")]
    assert losses == [(int(row["step"]), pytest.approx(float(row["loss"]))) for row in rows(run)]
    assert [event.step for event in events.Scalars("held_out/0-15")] == [0, 4, 8, 12]


def killed_at(arguments, moment, files):
    """Start a run, end it by SIGKILL some time after its folder came to stand; whether it was in time."""
    process = subprocess.Popen([*PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not files.exists() and process.poll() is None:
        time.sleep(0.005)
    time.sleep(moment)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("which", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 6))])
def test_a_killed_run_goes_on_to_the_same_bits(run, text, tmp_path, which):
    out, seed = tmp_path / "run", random.randrange(1 << 30)
    print("seed", seed)
    seconds = float(rows(run, but=())[-1]["seconds"])
    moment = random.Random(seed).uniform(0, seconds + 1)
    arguments = ["train", text, "-o", out, *SIZES, "--medium-interval", 8, *RUN]
    killed_at(arguments, moment, out / "training" / "settings.json")
    open_checkpoint(out)
    process("train", "-o", out, "--resume")
    same_run(out, run)
    assert sorted(path.name for path in out.rglob(".*")) == []


def test_a_run_that_is_at_its_end_stays_there(run, tmp_path, rrwkv):
    out = Path(shutil.copytree(run, tmp_path / "run"))
    (out / "training" / "losses.csv").open("a").write("13,3.0,half of a li")
    rrwkv("train", "-o", out, "--resume")
    same_run(out, run)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["run: 2", "no", "a \"b\" 'c'", "two\nlines", "ein Käse 😀"])
def test_a_card_is_yaml_whatever_folder_and_text_are_called(rrwkv, text, tmp_path, no_utf8, name):
    yaml = pytest.importorskip("yaml")
    shutil.copy(text, tmp_path / f"{no_utf8}.txt")
    rrwkv("train", tmp_path / f"{no_utf8}.txt", "-o", tmp_path / name, *SIZES, *RUN)
    card = (tmp_path / name / "README.md").read_text("utf-8")
    assert yaml.safe_load(card.split("---")[1])["model_name"] == name
    assert r"Texts: \udcff.txt." in card


def test_a_place_that_is_taken_stays_as_it_is(rrwkv, run, text, tmp_path):
    done = rrwkv("train", text, "-o", run, *SIZES, *RUN, status=1)
    assert "a run is there already; --resume goes on with it, --force begins it anew" in done.err
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").touch()
    done = rrwkv("train", text, "-o", tmp_path / "thesis", *SIZES, *RUN, "--force", status=1)
    assert "is not a run of `rrwkv train`, so it will not be replaced" in done.err
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]
    assert "no run to go on with" in rrwkv("train", "-o", tmp_path / "no", "--resume", status=1).err


def test_a_loss_that_is_not_finite_ends_a_run_that_stays_whole(rrwkv, text, tmp_path):
    out, more = tmp_path / "run", ["--learning-rate", "1e9", "--weight-decay", "0", "--precision", "bfloat16"]
    done = rrwkv("train", text, "-o", out, *SIZES, *RUN, *more, status=1)
    assert "begin again, with --force and a lower --learning-rate than 1e+09" in done.err
    assert all(torch.isfinite(value).all() for value in load_file(out / "last" / "model.safetensors").values())


def test_a_model_that_is_not_finite_is_not_kept(rrwkv, run, tmp_path, monkeypatch):
    out = Path(shutil.copytree(run, tmp_path / "run"))
    settings = out / "training" / "settings.json"
    settings.write_text(settings.read_text().replace('"steps": 12', '"steps": 16'))
    before = {path: (out / path).read_bytes() for path in ("training/state.safetensors", "last/model.safetensors")}
    monkeypatch.setattr("rrwkv_export.train.run.held_out_loss", lambda *_: HeldOut(math.nan, {}))
    done = rrwkv("train", "-o", out, "--resume", status=1)
    assert "step 16: the held-out loss is nan; begin again, with --force and a lower --learning-rate" in done.err
    assert {path: (out / path).read_bytes() for path in before} == before


def test_a_full_disk_leaves_what_was_kept_before(rrwkv, run, tmp_path, limited):
    out = Path(shutil.copytree(run, tmp_path / "run"))
    settings = out / "training" / "settings.json"
    settings.write_text(settings.read_text().replace('"steps": 12', '"steps": 16'))
    before = (out / "training" / "state.safetensors").read_bytes()
    least = min((out / name).stat().st_size for name in ("model.safetensors", "training/state.safetensors"))
    said = process("train", "-o", out, "--resume", status=1, **limited(least // 2))
    assert "larger than a file may be here (`ulimit -f`" in said
    assert "what was kept before is whole" in said
    assert said.count("\n") == 1
    assert (out / "training" / "state.safetensors").read_bytes() == before
    rrwkv("train", "-o", out, "--resume")
    assert [int(row["step"]) for row in rows(out)] == list(range(1, 17))


def test_intervals_are_drawn_to_what_tokens_tell(rrwkv, text, tmp_path):
    """More nats a medium, fewer mediums; and the model is exported and runs."""
    made = {}
    for nats in ("4", "400"):
        out = tmp_path / nats
        more = ["--medium-interval", "3-12", "--medium-nats", nats, "--medium-slots", "3", "--information-weight", "50"]
        rrwkv("train", text, "-o", out, *SIZES, *more, *RUN)
        checkpoint = open_checkpoint(out / "last")
        config, ids = checkpoint.config, list(range(40))
        state = reference.of(config).forward(config, checkpoint.weights, ids)[1]
        made[nats] = state.medium_information
        assert "a medium every 3 to 12 tokens" in (out / "README.md").read_text()
    assert made["4"] > made["400"]
    rrwkv("export", tmp_path / "4", "-o", tmp_path / "bundle")
    rrwkv("train", "--from", tmp_path / "4" / "last", text, "-o", tmp_path / "on", *RUN)
    assert Settings.load(tmp_path / "on").medium_nats == 4
    shutil.rmtree(tmp_path / "4" / "training")
    again = ["train", "--from", tmp_path / "4", text, "-o", tmp_path / "again", *RUN]
    assert "give --medium-nats" in rrwkv(*again, status=2).err
    rrwkv(*again, "--medium-nats", "9")
    assert Settings.load(tmp_path / "again").medium_nats == 9


@pytest.mark.parametrize("interval", ["4", "3-7"])
@pytest.mark.parametrize("config", [RWKV4, RWKV7], ids=["rwkv4", "rwkv7"])
def test_a_retrofit_is_the_same_function_and_then_better(rrwkv, config, interval, tmp_path):
    base = write_rrwkv(tmp_path / "base", config, random_weights(config))
    (tmp_path / "a.ids").write_text(" ".join(str(7 * i % 40) for i in range(600)))
    more = ["--medium-interval", interval, "--medium-slots", 3, "--medium-key-size", 8, "--freeze-base"]
    done = rrwkv("retrofit", base, tmp_path / "a.ids", "-o", tmp_path / "out", *more, *RUN)
    assert "without mediums" in done.out
    made, kept = open_checkpoint(tmp_path / "out" / "last"), open_checkpoint(base)
    assert made.config.architecture == {"rwkv4": "rrwkv", "rwkv7": "rwkv7"}[config.architecture]
    assert all(torch.equal(made.weights[name], kept.weights[name]) for name in config.shapes())
    assert made.weights["blocks.1.att.medium_mix_k"].any()
    losses = [float(row["loss"]) for row in rows(tmp_path / "out", "held_out.csv")]
    assert min(losses) < losses[0]
    again = rrwkv("retrofit", tmp_path / "out", tmp_path / "a.ids", "-o", tmp_path / "more", *more, *RUN, status=1)
    assert "has mediums already" in again.err
    assert not (tmp_path / "more").exists()
