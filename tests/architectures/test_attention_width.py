"""Attention whose channels are fewer or more than the model's: RWKV-4's own `dim_att`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from checkpoint_files import RRWKV, RWKV4, random_weights, write_blinkdl, write_huggingface

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.reference.rwkv4 import State, forward, step
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.export import export
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.texts import Text
from rrwkv_runtime.model import Model

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7]
NARROW, WIDE = (replace(RWKV4, attention_size=size) for size in (8, 24))
MEDIUMS = replace(RRWKV, attention_size=24)


def test_as_wide_as_the_model_is_no_other_config():
    assert replace(RWKV4, attention_size=16) == RWKV4
    assert "attention_size" not in RWKV4.to_json()
    assert ModelConfig.from_json(WIDE.to_json()) == WIDE


@pytest.mark.parametrize("config", [NARROW, WIDE, MEDIUMS])
def test_a_sequence_at_once_and_token_by_token(config):
    weights, state = random_weights(config), State.initial(config)
    logits, _ = forward(config, weights, IDS)
    stepped = torch.stack([step(config, weights, i, state) for i in IDS])
    torch.testing.assert_close(logits, stepped)


@pytest.mark.parametrize("config", [NARROW, WIDE])
def test_transformers_computes_the_same_and_its_directory_is_read(tmp_path, config):
    transformers = pytest.importorskip("transformers")
    weights = random_weights(config)
    folder = write_huggingface(tmp_path / "m", config, weights)
    theirs = transformers.RwkvForCausalLM.from_pretrained(folder, rescale_every=0, dtype=torch.float32).eval()
    with torch.no_grad():  # its own cache is as wide as the model, whatever the config says
        expected = theirs(torch.tensor([IDS]), use_cache=False).logits[0].double()
    opened = open_checkpoint(folder)
    assert opened.config == config
    logits, _ = forward(config, opened.weights, IDS)
    assert (logits - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("config", [NARROW, WIDE])
def test_the_sizes_of_a_pth_are_read_off_its_tensors(tmp_path, config):
    path = write_blinkdl(tmp_path / "m.pth", config, random_weights(config))
    assert open_checkpoint(path).config == config


@pytest.mark.parametrize("wkv", ["plain", "stable"])
@pytest.mark.parametrize("target", ["cpu", "cuda", "mobile"])
@pytest.mark.parametrize("config", [NARROW, MEDIUMS], ids=["narrow", "wide, with mediums"])
def test_every_graph_gives_the_reference(make_tiny, config, target, wkv):
    if target == "mobile" and wkv == "plain":
        pytest.skip("graphs for phones are in the stable form")
    tiny = make_tiny(config, wkv=wkv, target=target)
    expected = forward(config, tiny.weights, IDS)[0].numpy()
    variants = [None, "mobile"] if target == "mobile" else [None]
    for variant in variants:
        model = Model.load(tiny.path, threads=1, variant=variant)
        at_once, decoder = model.forward(IDS, num_logits=len(IDS))[0], model.decoder()
        for logits in (at_once, np.stack([decoder.step(i).copy() for i in IDS])):
            np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())


def test_from_a_pth_to_four_bits(tmp_path):
    path = write_blinkdl(tmp_path / "m.pth", WIDE, random_weights(WIDE), torch.float32)
    export(open_checkpoint(path), tmp_path / "float")
    expected = Model.load(tmp_path / "float", threads=1).forward(IDS)[0]
    text = Text("random", "0" * 64, (np.random.default_rng(0).integers(0, 40, 300),))
    for scheme, most in (("int8", 0.1), ("int8-static", 0.1), ("int8-dynamic", 0.1), ("int4", 0.5), ("float16", 0.01)):
        made = tmp_path / scheme
        quantize(tmp_path / "float", made, shipped_recipe(scheme), Calibration((text,), None, 0))
        logits = Model.load(made, threads=1).forward(IDS)[0]
        assert np.abs(logits - expected).max() < most * np.abs(expected).max(), scheme
