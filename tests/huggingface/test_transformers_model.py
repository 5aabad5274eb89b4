"""A checkpoint's folder in transformers, where this project is not installed: against reference, runtime, training."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import ADAPTIVE, ASSET, RRWKV, RWKV4, RWKV7, random_weights, write_rrwkv
from safetensors.torch import load_file

from rrwkv_export.architectures import reference
from rrwkv_export.architectures.mediums import MediumConfig
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.commands import _run as run_command
from rrwkv_export.huggingface import convert
from rrwkv_export.train.models import Model
from rrwkv_runtime.text.dialogue import Dialogue

pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")

_BESIDE = Path(__file__).parents[3] / "shared" / "checkpoints" / "rwkv7-chat"
CHAT = Path(os.environ.get("RWKV7_CHAT", _BESIDE)) / "rwkv7-chat-13m.pth"
ACCELERATE = importlib.util.find_spec("accelerate") is not None
MEAN = MediumConfig(interval=5, squeeze="mean", slots=3, key_size=8)
MODELS = {
    "rwkv4": dataclasses.replace(RWKV4, attention_size=24),
    "rrwkv": RRWKV,
    "rrwkv-adaptive": dataclasses.replace(RRWKV, medium=ADAPTIVE),
    "rwkv7": RWKV7,
    "rwkv7-mean": dataclasses.replace(RWKV7, medium=MEAN),
    "rwkv7-adaptive": dataclasses.replace(RWKV7, medium=ADAPTIVE),
}
IDS = torch.randint(0, 40, (3, 37), generator=torch.Generator().manual_seed(5))
ASKED = {"ids": IDS.tolist(), "pieces": [1, 13, 2, 21]}
TURNS = [
    ("system", "Be brief."),
    ("user", "  What is 2 + 2?\r\n\n \nSay it.\n"),
    ("assistant", "4"),
    ("user", "Thanks!"),
]
TEXT = {"text": "Hello, wörld!\n\n你好 <b>1234</b>", "dialogue": TURNS}


@pytest.fixture(scope="module")
def told(tmp_path_factory, golden, rwkv7_golden):
    """The folders, and what transformers told of each, in one process."""
    base = tmp_path_factory.mktemp("transformers")
    asked = {}
    for name, config in MODELS.items():
        convert(open_checkpoint(write_rrwkv(base / "from" / name, config, random_weights(config))), base / name)
        asked[str(base / name)] = {**ASKED, "trainer": name == "rrwkv-adaptive" and ACCELERATE}
    convert(open_checkpoint(ASSET), base / "demo")
    asked[str(base / "demo")] = {**TEXT, "golden": golden.ids.tolist()}
    world = dataclasses.replace(RWKV7, vocab_size=65536)
    folder = write_rrwkv(base / "from" / "world", world, random_weights(world))
    convert(open_checkpoint(folder, tokenizer="world", chat="g1"), base / "world")
    asked[str(base / "world")] = TEXT
    if CHAT.is_file():
        convert(open_checkpoint(CHAT), base / "rwkv7-chat")
        asked[str(base / "rwkv7-chat")] = {**TEXT, "golden": rwkv7_golden.ids.tolist()}
    if ACCELERATE:
        (base / "text.txt").write_text("The birds sing again, and the king listens. " * 60)
        few = ["--length", "32", "--batch", "2", "--steps", "2", "--vocabulary", "300", "--medium-interval", "8"]
        sizes = ["--layers", "2", "--channels", "32", "--head-size", "16"]
        assert run_command(["train", str(base / "text.txt"), "-o", str(base / "trained"), *sizes, *few]) == 0
        asked[str(base / "trained")] = {**ASKED, "text": TEXT["text"], "dialogue": TURNS[1:]}
    (base / "asked.json").write_text(json.dumps(asked))
    (base / "told").mkdir()
    environment = {**os.environ, "HF_HOME": str(base / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("alone.py")
    command = [sys.executable, str(script), str(base / "asked.json"), str(base / "told")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return base


def tensors(told, name):
    return load_file(told / "told" / f"{name}.safetensors")


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_the_references_however_a_text_is_run(name, told):
    config, found = MODELS[name], tensors(told, name)
    weights = {n: x.double() for n, x in random_weights(config).items()}
    expected = torch.stack([reference.of(config).forward(config, weights, row.tolist())[0] for row in IDS])
    for way in ("logits", "pieces", "padded"):
        torch.testing.assert_close(found[way], expected, rtol=1e-9, atol=1e-9)
    for way in ("last", "ended"):
        torch.testing.assert_close(found[way].reshape(3, -1), expected[:, -1], rtol=1e-9, atol=1e-9)
    error = (found["halves"].double() - expected).abs().max() / expected.abs().max()
    assert error < 0.05
    words = json.loads((told / "told" / f"{name}.json").read_text())
    assert words["states"] == ["torch.float32"]


@pytest.mark.parametrize("name", MODELS)
def test_the_cache_changes_nothing_that_is_generated(name, told):
    found = tensors(told, name)
    assert torch.equal(found["greedy"], found["no cache"])
    assert torch.equal(found["greedy"], found["left"])
    assert torch.equal(found["beams"], found["beams, no cache"])


@pytest.mark.parametrize("name", ["rrwkv", "rrwkv-adaptive", "rwkv7"])
def test_it_generates_what_the_runtime_does(name, told, make_tiny):
    tiny = make_tiny(MODELS[name], wkv="plain")
    tokens = tiny.model.generate(IDS[0].tolist(), max_tokens=12, temperature=0)
    assert [token.id for token in tokens] == tensors(told, name)["greedy"][0, 37:].tolist()


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_training(name, told):
    found, config = tensors(told, name), MODELS[name]
    model = Model(config, {n: x.double() for n, x in random_weights(config).items()})
    logits, *_ = model(IDS)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), IDS[:, 1:].flatten())
    loss.backward()
    torch.testing.assert_close(found["loss"].double(), loss.double(), rtol=1e-5, atol=1e-6)
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert {n.removeprefix("gradient.") for n in found if n.startswith("gradient.")} == set(gradients)
    for n, gradient in gradients.items():
        torch.testing.assert_close(found[f"gradient.{n}"].view_as(gradient), gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_padding_on_either_side_adds_nothing_to_the_loss(name, told):
    words = json.loads((told / "told" / f"{name}.json").read_text())
    for losses in (words["losses"], words["losses after a state"]):
        assert losses == pytest.approx([losses[0]] * 5, rel=1e-6)


def test_the_trainer_of_transformers_trains_it(told):
    if not ACCELERATE:
        pytest.skip("accelerate is not installed: pip install '.[train]'")
    losses = json.loads((told / "told" / "rrwkv-adaptive.json").read_text())["trainer"]
    assert losses[-1] < losses[0]
    trained, before = (open_checkpoint(told / f) for f in ("told/rrwkv-adaptive-trained", "rrwkv-adaptive"))
    assert trained.config == before.config
    assert not torch.equal(trained.weights["medium.information"], before.weights["medium.information"])


@pytest.mark.skipif(not ACCELERATE, reason="accelerate is not installed")
def test_what_train_writes_is_a_model_of_transformers(told):
    checkpoint, found = open_checkpoint(told / "trained"), tensors(told, "trained")
    weights = {n: checkpoint.weights[n].double() for n in checkpoint.weights}
    row = reference.of(checkpoint.config).forward(checkpoint.config, weights, IDS[0].tolist())[0]
    torch.testing.assert_close(found["logits"][0], row, rtol=1e-9, atol=1e-9)
    words = json.loads((told / "told" / "trained.json").read_text())
    assert words["said"]["ids"] == checkpoint.tokenizer.open().encode(TEXT["text"])
    assert words["same again"]


@pytest.mark.parametrize("name", [*MODELS, "demo", "world"])
def test_what_transformers_saves_again_is_the_same_checkpoint(name, told):
    before, again = open_checkpoint(told / name), open_checkpoint(told / "told" / f"{name}-again")
    assert again.config == before.config
    assert again.chat == before.chat
    assert all(torch.equal(again.weights[n].float(), before.weights[n].float()) for n in before.weights)
    assert json.loads((told / "told" / f"{name}.json").read_text())["same again"]
    if before.tokenizer:
        assert again.tokenizer.open().encode(TEXT["text"]) == before.tokenizer.open().encode(TEXT["text"])


@pytest.mark.parametrize(("name", "which"), [("demo", "golden"), ("rwkv7-chat", "rwkv7_golden")])
def test_trained_models_have_their_recorded_logits(name, which, told, request):
    if not (told / name).exists():
        pytest.skip("no trained RWKV-7 here: RWKV7_CHAT says in which folder it is")
    found, expected = tensors(told, name)["logits"][0].numpy(), request.getfixturevalue(which)
    assert expected.error(found) < 1e-4
    assert np.array_equal(found.argmax(-1), expected.argmax)


@pytest.mark.parametrize("name", ["demo", "world"])
def test_text_and_dialogues_are_the_tokens_of_the_runtime(name, told):
    checkpoint = open_checkpoint(told / name)
    tokenizer = checkpoint.tokenizer.open()
    said = json.loads((told / "told" / f"{name}.json").read_text())["said"]
    assert said["ids"] == tokenizer.encode(TEXT["text"])
    assert said["text"] == TEXT["text"]
    dialogue = Dialogue(tokenizer, checkpoint.chat)
    (_, system), (_, first), (_, answer), (_, second) = TURNS
    asked = [dialogue.opening(system), dialogue.asked(dialogue.normalised(first))]
    asked += [dialogue.begun(dialogue.led(answer)), dialogue.turn_end_ids, dialogue.asked(dialogue.normalised(second))]
    assert said["chat"] == list(itertools.chain(*asked))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"num_layers": 10**18}, "num_layers must be a whole number from 1 to 4096"),
        ({"hidden_size": -1}, "hidden_size must be a whole number"),
        ({"layer_norm_epsilon": "NaN"}, "layer_norm_epsilon must be a number between 0 and 1"),
        ({"medium": "x"}, "medium must be an object or null"),
        ({"medium": {"interval": -3}}, "medium's interval must be a whole number"),
        ({"medium": {"interval": {"shortest": 64, "longest": 8}}}, "its shortest, 64, is above its longest, 8"),
    ],
)
def test_sizes_that_no_model_has_are_refused(said, reason):
    from rrwkv_export.huggingface.model.configuration_rrwkv import RrwkvConfig

    with pytest.raises(ValueError, match=reason):
        RrwkvConfig(**said)
