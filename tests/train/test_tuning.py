"""Models that are tuned for a recipe: on the device they are, to the bit, what they were trained as."""

from __future__ import annotations

import csv
import dataclasses
import math

import numpy as np
import onnx
import pytest
import torch
from checkpoint_files import RRWKV, RWKV7, random_weights, write_rrwkv
from onnx import numpy_helper
from safetensors.torch import load_file

from rrwkv_export.architectures.linears import EMB, linears
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.commands import _run as run_command
from rrwkv_export.errors import TrainingError
from rrwkv_export.quantize.recipe import parse_recipe
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_export.train import kept
from rrwkv_export.train.beginnings.tuning import tuned as begin
from rrwkv_export.train.models.rounded import RoundedModel
from rrwkv_export.train.optimizer import adamw
from rrwkv_export.train.run import Trainer
from rrwkv_export.train.settings import Settings

pytest.importorskip("accelerate", reason="accelerate is not installed: pip install '.[train]'")

WITH_MEDIUMS = dataclasses.replace(RRWKV, medium=dataclasses.replace(RRWKV.medium, key_size=16))
RUN = ["--length", "32", "--batch", "2", "--steps", "12", "--every", "6", "--warm-up", "2", "--threads", "1"]
FAST = ["--learning-rate", "3e-2"]  # so that levels change in twelve steps


@pytest.fixture
def ids(tmp_path):
    (tmp_path / "a.ids").write_text(" ".join(str(7 * i % 40) for i in range(600)))
    return tmp_path / "a.ids"


def rrwkv(*arguments, status=0):
    assert run_command(list(map(str, arguments))) == status


def tuned(tmp_path, config, ids, scheme, *more):
    base = write_rrwkv(tmp_path / "base", config, random_weights(config))
    rrwkv("train", "--from", base, "--qat", scheme, ids, "-o", tmp_path / "out", *RUN, *FAST, *more)
    return base, tmp_path / "out"


def recipe_of(run):
    return parse_recipe(Settings.load(run).recipe)


def as_trained(run):
    """The model after the last step, as training has it in memory."""
    checkpoint = open_checkpoint(run)
    weights = {name: checkpoint.weights[name].float() for name in checkpoint.weights}
    model = RoundedModel(checkpoint.config, weights, recipe_of(run))
    kept.load(run, model, adamw(model, Settings.load(run)))
    return model


def on_device(bundle, config, recipe):
    """What each rounded matrix of a bundle stands for, laid as the checkpoint's."""
    arrays = {t.name: t for t in onnx.load(str(bundle / "model.onnx")).graph.initializer}
    found = {}
    for linear in linears(config):
        if f"{linear.weight}.half" in arrays:
            value = numpy_helper.to_array(arrays[f"{linear.weight}.half"]).astype(np.float32)
        elif linear.role == EMB:
            value = numpy_helper.to_array(arrays["emb.weight.q"]) * numpy_helper.to_array(arrays["emb.weight.scale"])
        else:
            q, scale = (numpy_helper.to_array(arrays[f"{linear.weight}.{part}"]) for part in ("q", "scale"))
            value = unpacked(linear, q, scale, recipe.choice(linear).weights)
        found[linear] = value.reshape(linear.inputs, linear.outputs)
    return found


def unpacked(linear, q, scale, bits):
    """MatMulNBits's operands as its documentation has them: 4-bit levels two a byte, 0 in the middle of all."""
    blocks = scale.size // linear.outputs
    levels = np.stack([q & 15, q >> 4], axis=-1) if bits == 4 else q
    levels = levels.reshape(linear.outputs, blocks, -1).astype(np.float32) - np.float32(1 << (bits - 1))
    return (levels * scale.reshape(linear.outputs, blocks, 1)).reshape(linear.outputs, -1)[:, : linear.inputs].T


def as_in_a_graph(model, config):
    """A model's values, laid as `on_device` lays them."""
    values = {name: value.detach() for name, value in model.values().items()} | {
        "emb.weight": model.get_buffer("emb.table")
    }
    found = {}
    for linear in linears(config):
        value = values[linear.weight]
        if linear.role == "medium.query":  # which a graph has over the root of the keys' width
            value = value / math.sqrt(config.medium.key_size)
        found[linear] = value if linear.role == EMB or linear.is_low_rank else value.T
    return found


@pytest.mark.parametrize(("config", "scheme"), [(WITH_MEDIUMS, "int4"), (RWKV7, "int4"), (RWKV7, "float16")])
def test_a_device_has_the_values_that_were_trained(tmp_path, ids, config, scheme):
    base, out = tuned(tmp_path, config, ids, scheme)
    rrwkv("export", out / "last", "-o", tmp_path / "float")
    rrwkv("quantize", tmp_path / "float", "-o", tmp_path / "small", "--scheme", scheme)
    model, before = as_trained(out), open_checkpoint(base).weights
    values = as_in_a_graph(model, config)
    begun = as_in_a_graph(begin(open_checkpoint(base), recipe_of(out), say=print).model(), config)
    moved = 0
    for linear, found in on_device(tmp_path / "small", config, recipe_of(out)).items():
        assert torch.equal(torch.from_numpy(found), values[linear]), linear.name
        moved += linear.role != EMB and int((values[linear] / begun[linear] - 1).abs().gt(0.1).sum())
    assert moved  # to other levels
    saved = load_file(out / "last" / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in model.values().items() if name != "emb.weight")
    assert all(torch.equal(saved[name], before[name]) for name in model.kept)


@pytest.mark.parametrize("config", [WITH_MEDIUMS, RWKV7])
def test_it_begins_with_what_the_quantizer_makes(tmp_path, config):
    base = open_checkpoint(write_rrwkv(tmp_path / "base", config, random_weights(config)))
    recipe = shipped_recipe("int4", config.architecture)
    rrwkv("export", tmp_path / "base", "-o", tmp_path / "float", "--tokens", "8")
    rrwkv("quantize", tmp_path / "float", "-o", tmp_path / "small", "--scheme", "int4")
    values = as_in_a_graph(begin(base, recipe, say=print).model(), config)
    for linear, found in on_device(tmp_path / "small", config, recipe).items():
        np.testing.assert_allclose(found, values[linear], rtol=2e-5, err_msg=linear.name)  # scales are made short


def test_tuning_brings_the_rounded_model_nearer_to_the_float_one(tmp_path, ids):
    _, out = tuned(tmp_path, RRWKV, ids, "int4", "--learning-rate", "1e-3", "--steps", "30")
    with (out / "training" / "held_out.csv").open() as stream:
        found = [float(row["loss"]) for row in csv.DictReader(stream)]
    assert 0 < found[-1] < 0.7 * found[0]


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path, ids, monkeypatch):
    _, out = tuned(tmp_path, RWKV7, ids, "int4")
    whole = {path: load_file(out / path) for path in ("model.safetensors", "training/state.safetensors")}
    step = Trainer._step

    def stopped(trainer, rate):
        if trainer.reached.step == 8:
            raise TrainingError("stopped")
        return step(trainer, rate)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stopped)
        rrwkv("train", "--from", tmp_path / "base", "--qat", "int4", ids, "-o", out, "--force", *RUN, *FAST, status=1)
    rrwkv("train", "-o", out, "--resume")
    for path, tensors in whole.items():
        found = load_file(out / path)
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], value) for name, value in tensors.items())


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["--qat", "int3"], 1, "int3: no scheme and no file; the schemes are float16, float32, int4, int8"),
        (["--qat", "int8"], 1, "int8: blocks.0.att.key is multiplied with rounded inputs, static"),
        (
            ["--qat", "int8-dynamic"],
            1,
            "is multiplied with rounded inputs, dynamic, and a model is tuned for the rounding",
        ),
        (["--qat", "EQUALIZED"], 1, "mine: blocks.0.att.key is equalized, by what a text says"),
        (["--qat", "int4", "--layers", "3"], 2, "--layers is for a new model"),
        (["--text-share", "0.5"], 2, "--text-share is for --qat"),
        (["--qat", "int4", "--text-share", "2"], 1, "--text-share must be a share, from 0 to 1, not 2.0"),
    ],
)
def test_what_a_model_cannot_be_tuned_for_is_said_in_a_line(tmp_path, ids, capsys, arguments, status, reason):
    base = write_rrwkv(tmp_path / "base", RWKV7, random_weights(RWKV7))
    mine = tmp_path / "mine.toml"
    mine.write_text('scheme = "mine"\n[default]\ninputs = "float"\nequalize = 0.5\n')
    given = [mine if argument == "EQUALIZED" else argument for argument in arguments]
    rrwkv("train", "--from", base, ids, "-o", tmp_path / "out", *RUN, *given, status=status)
    said = capsys.readouterr().err.replace("\n", " ")
    assert reason in said
    assert not (tmp_path / "out").exists()
