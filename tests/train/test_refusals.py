"""What cannot be trained, tuned or gone on with: a line that says why and what helps, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_files import RWKV7, random_weights, write_rrwkv
from training_runs import RUN, SENTENCES, SIZES, same_run

from rrwkv_export.errors import ParityError, TrainingError, is_out_of_memory
from rrwkv_export.train import begin
from rrwkv_export.train.folder import only_one
from rrwkv_export.train.run import Trainer
from rrwkv_export.train.settings import MARKER

pytest.importorskip("accelerate", reason="accelerate is not installed: pip install '.[train]'")


@pytest.fixture
def base(tmp_path):
    return write_rrwkv(tmp_path / "base", RWKV7, random_weights(RWKV7))


@pytest.fixture
def ids(tmp_path):
    path = tmp_path / "a.ids"
    path.write_text(" ".join(str(7 * i % 40) for i in range(600)))
    return path


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        ([], 2, "Missing argument 'TEXT…'"),
        (["TEXT", "--minutes", "1"], 2, "give --steps or --minutes, one of the two"),
        (
            ["TEXT", "--architecture", "rwkv4", "--medium-slots", "2"],
            2,
            "rwkv4 has no mediums; say --architecture rrwkv",
        ),
        (["TEXT", "--architecture", "rrwkv"], 2, "mediums need --medium-interval, such as 32"),
        (["TEXT", "--chat", "world"], 2, "--chat is for --tokenizer"),
        (["TEXT", "--channels", "40"], 1, "--channels 40: no multiple of the heads' 16"),
        (
            ["TEXT", "--medium-interval", "8-"],
            2,
            "'8-' is neither a number of tokens, such as 32, nor two",
        ),
        (["TEXT", "--medium-interval", "9-8"], 1, "shortest (9) must not be above longest (8)"),
        (["TEXT", "--medium-interval", "8-64"], 1, "--length 32: no token of such a row could read a medium"),
        (["TEXT", "--medium-interval", "32"], 1, "--length 32: no token of such a row could read a medium"),
        (["TEXT", "--length", "100000"], 1, "tokens to train on and a row has 100000; give more text"),
        (["TEXT", "--learning-rate", "0"], 2, "0.0 is not in the range x>0"),
        (["TEXT", "--learning-rate", "1e300"], 1, "--learning-rate must be above 0, 1e+09 at most"),
        (["TEXT", "--learning-rate", "nan"], 2, "'nan' is not a finite number"),
        (["TEXT", "--clip", "inf"], 2, "'inf' is not a finite number"),
        (["TEXT", "--weight-decay", "1e4"], 1, "with --learning-rate 0.001 a step would take all of a weight"),
        (["TEXT", "--seed", "99999999999999999999999"], 2, "is not in the range 0<=x<=4294967295"),
        (["TEXT", "--medium-interval", "0"], 2, "'0' is neither a number of tokens"),
        (["TEXT", "--medium-interval", "٣"], 2, "'٣' is neither a number of tokens"),
        (["TEXT", "--channels", "524288"], 1, "--channels 524288: four times as many in the channel-mix are too many"),
        (["EMPTY"], 1, "the text is empty; at least 2 tokens are needed"),
        (["GONE"], 1, "no such file; give a text's path"),
        (["TEXT", "--resume"], 2, "--resume goes on with the options that the run was begun with; leave"),
        (["TEXT", "--tokenizer", "TEXT"], 1, "text.txt"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_line_and_leaves_nothing(rrwkv, tmp_path, text, arguments, status, reason):
    (tmp_path / "empty.txt").touch()
    places = {"TEXT": text, "EMPTY": tmp_path / "empty.txt", "GONE": tmp_path / "gone.txt"}
    given = [places.get(argument, argument) for argument in arguments]
    done = rrwkv("train", "-o", tmp_path / "out", *SIZES[:-2], *RUN, *given, status=status)
    assert reason in done.err.replace("\n", " ")
    assert done.err.count("\n") <= (1 if status == 1 else 6)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["empty.txt"]


def test_accelerates_accumulation_of_gradients_is_refused(rrwkv, text, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    done = rrwkv("train", text, "-o", tmp_path / "out", *SIZES, *RUN, status=1)
    assert "gradient accumulation of 4" in done.err
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_be_exported_is_not_trained(rrwkv, text, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise ParityError("the graph computes something else")

    monkeypatch.setattr(begin, "export", refused)
    done = rrwkv("train", text, "-o", tmp_path / "out", *SIZES, *RUN, status=1)
    assert "could not be exported, so it is not trained: the graph computes something else" in done.err
    assert list(tmp_path.iterdir()) == []


def test_texts_that_changed_are_not_gone_on_with(rrwkv, run, tmp_path, text):
    out = Path(shutil.copytree(run, tmp_path / "run"))
    other = tmp_path / "text.txt"
    other.write_text(SENTENCES + "!")
    settings = out / "training" / "settings.json"
    settings.write_text(settings.read_text().replace(str(text), str(other)))
    assert f"{other}: not what it was when {out} was begun" in rrwkv("train", "-o", out, "--resume", status=1).err
    other.unlink()
    assert f"{other}: a text of {out} is gone; put it back" in rrwkv("train", "-o", out, "--resume", status=1).err


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("state.safetensors", lambda data: data[:-100], "state.safetensors: cannot be gone on with"),
        ("state.safetensors", lambda data: data.replace(b"exp_avg.", b"exp_arg."), "state.safetensors: cannot be"),
        ("settings.json", lambda data: data.replace(b'"batch"', b'"patch"'), "unknown field 'patch'"),
        ("settings.json", lambda data: data[:20], "settings.json"),
        ("settings.json", lambda data: data.replace(b'"batch": 2', b'"batch": "2"'), "--batch must be a whole number"),
        ("settings.json", lambda data: data.replace(b'"float32"', b'"float99"'), "--precision must be float32 or"),
        ("settings.json", lambda data: data.replace(b'"seed": 0', b'"seed": null'), "--seed must be a whole number"),
        ("settings.json", lambda data: data.replace(b'"clip": 1.0', b'"clip": NaN'), "--clip must be above 0"),
        ("settings.json", lambda data: data.replace(b'"recipe": ""', b'"recipe": "[["'), "not TOML"),
    ],
)
def test_a_damaged_run_is_said_to_be_one(rrwkv, run, tmp_path, name, change, reason):
    out = Path(shutil.copytree(run, tmp_path / "run"))
    path = out / "training" / name
    path.write_bytes(change(path.read_bytes()))
    done = rrwkv("train", "-o", out, "--resume", status=1)
    assert reason in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("gone", ["model.safetensors", "config.json", "tokenizer.json", "last/tokenizer.json"])
def test_a_run_that_is_not_whole_says_where_to_copy_from(rrwkv, run, tmp_path, gone):
    out = Path(shutil.copytree(run, tmp_path / "run"))
    (out / gone).unlink()
    beside = out if gone.startswith("last") else out / "last"
    done = rrwkv("train", "-o", out, "--resume", status=1)
    assert f"{out / gone}: gone from the run; copy it from {beside}" in done.err
    shutil.copyfile(beside / Path(gone).name, out / gone)
    rrwkv("train", "-o", out, "--resume")


def test_training_without_its_extra_says_how_to_get_it(text, tmp_path):
    code = "import sys; sys.modules['accelerate'] = None; from rrwkv_export.commands import main; main()"
    command = [sys.executable, "-c", code, "train", str(text), "-o", str(tmp_path / "out"), "--steps", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("rrwkv: error: training needs accelerate: pip install")


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["--base-learning-rate", "20"], 1, "with --base-learning-rate 20 a step would take all of a weight"),
        (
            ["--base-learning-rate", "1e9", "--learning-rate", "1e-9"],
            1,
            "--base-learning-rate over --learning-rate must",
        ),
        (
            ["--medium-nats", "5"],
            2,
            "--medium-nats is for intervals that follow the text, such as",
        ),
        (["--medium-slots", "1000000"], 1, "could not be exported, so it is not trained: states of 640 MB"),
        (["--medium-interval", "40"], 1, "--length 32: no token of such a row could read a medium"),
    ],
)
def test_what_cannot_be_retrofitted_is_said_in_a_line(rrwkv, base, ids, tmp_path, arguments, status, reason):
    given = ["--medium-interval", "8", *RUN, *arguments]
    done = rrwkv("retrofit", base, ids, "-o", tmp_path / "out", *given, status=status)
    assert reason in done.err.replace("\n", " ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--qat", ""], ": no scheme and no file; the schemes are"),
        (["--text-share", "0"], "--text-share is for --qat"),
        (["--qat", "int4", "--information-weight", "0.5"], "with --qat they stay, leave it out"),
        (["--medium-nats", "5"], "--medium-nats is for adaptive intervals"),
        (["--information-weight", "0.5"], "--information-weight is for adaptive intervals"),
    ],
)
def test_what_a_model_cannot_be_trained_further_with(rrwkv, base, ids, tmp_path, arguments, reason):
    status = 1 if "" in arguments else 2
    done = rrwkv("train", "--from", base, ids, "-o", tmp_path / "out", *RUN, *arguments, status=status)
    assert reason in done.err
    assert not (tmp_path / "out").exists()


def test_a_base_rate_that_was_too_high_is_what_is_to_be_lowered(rrwkv, base, ids, tmp_path, monkeypatch):
    monkeypatch.setattr("rrwkv_export.train.run.whole", lambda norm: torch.tensor(float("nan")))
    given = ["--medium-interval", "8", *RUN, "--base-learning-rate", "5", "--weight-decay", "0", "--mediums-first", "0"]
    done = rrwkv("retrofit", base, ids, "-o", tmp_path / "out", *given, status=1)
    assert "with --force and a lower --base-learning-rate than 5 or a longer --warm-up" in done.err


def test_a_loss_beyond_any_perplexity_is_told(rrwkv, ids, tmp_path):
    weights = random_weights(RWKV7)
    weights["head.weight"] *= 1e5
    base = write_rrwkv(tmp_path / "base", RWKV7, weights)
    done = rrwkv("train", "--from", base, ids, "-o", tmp_path / "out", *RUN)
    assert "perplexity" not in done.out


@pytest.mark.parametrize(
    "said",
    [
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9",
        "CUDA out of memory. Tried to allocate 20.00 GiB",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_too_little_memory_is_known_by_what_torch_says(said):
    assert is_out_of_memory(RuntimeError(said))
    assert not is_out_of_memory(ValueError(said))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"))


def test_a_step_without_room_says_what_to_make_smaller(rrwkv, text, run, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "_step", lambda *_: torch.empty(1 << 55))
    done = rrwkv("train", text, "-o", tmp_path / "out", *SIZES, *RUN, status=1)
    said = "no memory for --batch 2 rows of --length 32 tokens; "
    assert f"{said}begin again, with --force and less of one of them" in done.err
    out = Path(shutil.copytree(run, tmp_path / "run"))
    settings = out / "training" / "settings.json"
    settings.write_text(settings.read_text().replace('"steps": 12', '"steps": 16'))
    done = rrwkv("train", "-o", out, "--resume", status=1)
    assert f"{said}go on with --resume where there is more, or begin again" in done.err
    monkeypatch.setattr("rrwkv_export.train.kept.shared_as", lambda *_: torch.empty(1 << 55))
    assert "rrwkv: error: out of memory; close other" in rrwkv("train", "-o", out, "--resume", status=1).err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_one_process_alone_trains_in_a_run(rrwkv, run, text, tmp_path):
    out = Path(shutil.copytree(run, tmp_path / "run"))
    with only_one(out):
        for given in (["--resume"], [text, *SIZES, *RUN, "--force"]):
            done = rrwkv("train", "-o", out, *given, status=1)
            assert "another process trains it; wait until it is done, or stop it" in done.err
    same_run(out, run)
    rrwkv("train", "-o", out, "--resume")


def test_a_run_that_another_has_taken_the_place_of_is_not_gone_on_with(run, tmp_path, monkeypatch):
    out = Path(shutil.copytree(run, tmp_path / "run"))

    def replaced(descriptor, wait):
        os.replace(shutil.copy(out / MARKER, tmp_path), out / MARKER)
        return True

    monkeypatch.setattr("rrwkv_runtime.common.atomic._lock", replaced)
    with pytest.raises(TrainingError, match="another process trains it"), only_one(out):
        pass


@pytest.mark.parametrize("name", ["a.ids", "a.IDS"])
def test_a_run_without_a_tokenizer_goes_on(rrwkv, ids, tmp_path, name):
    base = write_rrwkv(tmp_path / "base", RWKV7, random_weights(RWKV7), tokenizer=None)
    text = ids.rename(tmp_path / name)
    rrwkv("train", "--from", base, text, "-o", tmp_path / "out", *RUN)
    rrwkv("train", "-o", tmp_path / "out", "--resume")


@pytest.mark.parametrize("option", ["--warm-up", "--weight-decay", "--information-weight", "--seed"])
def test_a_run_is_gone_on_with_as_it_began_be_it_nothing_that_is_asked_for(rrwkv, run, option):
    assert f"leave {option} out" in rrwkv("train", "-o", run, "--resume", option, "0", status=2).err


@pytest.mark.parametrize(
    ("gone", "asked", "reason"),
    [
        (
            ["training/settings.json"],
            "",
            "training/settings.json is gone, so it cannot be gone on with; begin another from",
        ),
        (["training"], "", "no run (it has no training/settings.json); give the folder of one"),
        ([], "last", "within a run; --resume takes the run's own folder"),
        ([], "README.md", "within a run; --resume takes the run's own folder"),
        ([], "foo", "no run to go on with; leave --resume out to begin one"),
        (["training/settings.json", "model.safetensors"], "", "no run (it has no training/settings.json); give the"),
        (
            ["model.safetensors", "last/model.safetensors"],
            "",
            "gone from the run, from last too; begin again, with --force",
        ),
        (["tokenizer.json", "last/tokenizer.json"], "", "its tokenizer is gone, from last too; put it back"),
    ],
)
def test_what_cannot_be_gone_on_with_says_what_helps(rrwkv, run, tmp_path, gone, asked, reason):
    out = Path(shutil.copytree(run, tmp_path / "run"))
    for name in gone:
        shutil.rmtree(out / name) if name == "training" else (out / name).unlink()
    done = rrwkv("train", "-o", out / asked, "--resume", status=1)
    assert reason in done.err
    assert done.err.count("\n") == 1


def test_a_limit_of_files_is_said_before_there_is_a_run(text, tmp_path, limited):
    command = [sys.executable, "-m", "rrwkv_export", "train", str(text), "-o", str(tmp_path / "out"), *SIZES, *RUN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **limited(50_000))
    assert done.returncode == 1
    assert "larger than a file may be here" in done.stderr
    assert "begin again" in done.stderr
    assert "--resume" not in done.stderr
    assert list(tmp_path.iterdir()) == []
