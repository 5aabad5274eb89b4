"""Bundles in lm-evaluation-harness, through its own command and as its tasks call a model."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rrwkv_export.evaluate import __main__ as command
from rrwkv_export.evaluate.pairs import Encoder
from rrwkv_export.evaluate.run import evaluate
from rrwkv_runtime.errors import InputError
from rrwkv_runtime.model import Model

REPOSITORY = Path(__file__).resolve().parents[2]
installed = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-evaluation-harness is not installed: make lm-eval has it"
)


def harness(*arguments):
    command = [sys.executable, "-m", "rrwkv_export.evaluate", *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)


@pytest.fixture
def lm(small_bundle):
    from rrwkv_export.evaluate.harness import RRWKV

    lm = RRWKV(str(small_bundle), threads=1)
    chat = dataclasses.replace(lm.model.manifest.chat, bos_token_id=0)
    lm.model.manifest = dataclasses.replace(lm.model.manifest, chat=chat)
    lm._encoder = Encoder(lm.model)
    return lm


def asked(kind, *arguments):
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, given, i) for i, given in enumerate(arguments)]


def test_without_it_the_command_says_how_to_have_it(monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert command.main(["run"]) == 1
    assert "this needs lm-evaluation-harness, which is not installed; pip install" in capsys.readouterr().err


@installed
def test_its_figures_are_those_of_a_report(small_bundle, tmp_path):
    model = ["--model", "rrwkv", "--model_args", f"bundle={small_bundle},threads=1"]
    done = harness("run", *model, "--tasks", "rrwkv_next_reply,rrwkv_last_word", "--output_path", tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("results_*.json")
    fields = json.loads(file.read_text())
    for own in evaluate(Model.load(small_bundle, threads=1)):
        found = fields["results"][own.task.name]
        assert found["acc,none"] == own.accuracy.mean
        assert found["acc_stderr,none"] == pytest.approx(own.accuracy.error)
        if own.task.choose:
            assert found["acc_norm,none"] == own.accuracy_by_character.mean
            assert found["acc_norm_stderr,none"] == pytest.approx(own.accuracy_by_character.error)
        else:
            assert found["perplexity,none"] == pytest.approx(own.perplexity.mean, rel=1e-9)
    assert fields["config"]["bundle_id"] == Model.load(small_bundle).manifest.bundle_id


@installed
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("bundle=nowhere", "rrwkv: error: nowhere"),
        ("bundle={bundle},size=3", "rrwkv: error: --model_args size: the model type rrwkv takes bundle, provider"),
    ],
)
def test_misuse_is_one_line(small_bundle, arguments, said):
    given = arguments.format(bundle=small_bundle)
    done = harness("run", "--model", "rrwkv", "--model_args", given, "--tasks", "rrwkv_last_word", "--limit", 1)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(said)
    assert "Traceback" not in done.stderr


@installed
def test_texts_go_on_greedily_to_a_stop_string(lm):
    (whole,) = lm.generate_until(asked("generate_until", ("User: Hi!", {"until": [], "max_gen_toks": 12})))
    ids = [0, *lm.model.tokenizer.encode("User: Hi!")]
    expected = "".join(token.text for token in lm.model.generate(ids, max_tokens=12, temperature=0))
    assert whole == expected
    stop = whole[3:5]
    (cut,) = lm.generate_until(asked("generate_until", ("User: Hi!", {"until": stop, "max_gen_toks": 12})))
    assert cut == whole[: whole.index(stop)]


@installed
def test_a_request_asked_again_is_another_draw_and_the_same_in_every_run(small_bundle):
    from rrwkv_export.evaluate.harness import RRWKV

    drawn = {"until": [], "max_gen_toks": 12, "do_sample": True, "temperature": 1.0}
    requests = asked("generate_until", *((f"User: {said}!", drawn) for said in ("Hi", "Hello", "Hi", "Hi")))
    lm = RRWKV(str(small_bundle), threads=1)
    found, again = (lm.generate_until(requests) for _ in range(2))
    assert len({found[0], found[2], found[3]}) == 3
    assert again == found
    assert lm.generate_until(requests[1:2]) == found[1:2]


@installed
def test_a_whole_text_is_scored_as_its_tokens_after_each_other(lm):
    (found,) = lm.loglikelihood_rolling(asked("loglikelihood_rolling", ("Hello there, my friend.",)))
    ((scored, _),) = lm.loglikelihood(asked("loglikelihood", ("", "Hello there, my friend.")))
    assert found == pytest.approx(scored, rel=1e-6)


@installed
def test_turns_are_written_in_the_bundles_chat_format(lm):
    turns = [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello."}]
    assert lm.apply_chat_template(turns[:1]) == "User: Hi!\n\nAssistant:"
    assert lm.apply_chat_template(turns, add_generation_prompt=False) == "User: Hi!\n\nAssistant: Hello."
    assert "turn_end" in lm.chat_template(True)
    assert lm.chat_template(False) is None
    with pytest.raises(InputError, match="a bundle has one chat format; give no name"):
        lm.chat_template("default")
