"""What is observed where no text was given, or one that says little of the model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from checkpoint_files import RWKV4, random_weights, write_rrwkv
from test_cli import rrwkv
from test_verification_ids import large, tokenizer_of

from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.commands import _run as run_command
from rrwkv_export.errors import TextError
from rrwkv_export.export import export
from rrwkv_export.quantize.calibration import SELF_WRITTEN, choose_calibration, self_written
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_export.texts import poverty
from rrwkv_runtime.__main__ import main


@pytest.fixture(scope="module")
def wordless(tmp_path_factory):
    """A bundle whose tokenizer knows no word of English."""
    folder = tmp_path_factory.mktemp("wordless")
    config = large(300)
    path = write_rrwkv(folder / "in", config, random_weights(config))
    tokenizer_of(path, [f"w{i}" for i in range(299)])
    export(open_checkpoint(path), folder / "bundle", tokens=40)
    return folder / "bundle"


def chosen(bundle, *paths):
    said = []
    return choose_calibration(paths, bundle, say=said.append), said


def test_the_text_that_comes_along_is_taken_where_the_tokenizer_knows_it(small_bundle):
    calibration, said = chosen(small_bundle)
    assert [text.name for text in calibration.observed] == ["chat_calibration.jsonl"]
    assert said == []


def test_else_the_model_writes_one_once_it_is_needed(wordless):
    calibration, said = chosen(wordless)
    assert said == []
    assert calibration.tokens == 32 * 128
    assert [text.name for text in calibration.observed] == [SELF_WRITTEN]
    assert len(said) == 1
    assert said[0].startswith("warning: of the text that comes along it knows little (")
    assert "are the unknown token (0)): calibrating on 4,096 tokens that the model writes itself" in said[0]
    assert poverty(calibration.passages[0], 300, 0) is None


def test_a_tokenizer_without_an_unknown_token_takes_its_own_words_alone(tmp_path, capsys):
    folder = write_rrwkv(tmp_path / "in", RWKV4, random_weights(RWKV4))
    fields = json.loads(tokenizer_of(folder, [f"w{i}" for i in range(38)]).path.read_text())
    fields["model"]["unk_token"] = "<none>"  # the vocabulary has no such
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    export(open_checkpoint(folder), tmp_path / "bundle", tokens=40)
    calibration, said = chosen(tmp_path / "bundle")
    assert calibration.tokens == 32 * 128
    assert "it knows little (the tokenizer has no token for some of this text" in said[0]
    for name, content in (("own.txt", "w1 w2 w3"), ("english.txt", "hello you")):
        (tmp_path / name).write_text(content)
    calibration, _ = chosen(tmp_path / "bundle", tmp_path / "own.txt")
    assert calibration.passages[0].tolist() == [2, 3, 4]
    with pytest.raises(TextError, match=r"english\.txt: the tokenizer has no token for .*, or token ids"):
        chosen(tmp_path / "bundle", tmp_path / "english.txt")
    for program in (main, run_command):
        assert program(["generate", str(tmp_path / "bundle"), "-p", "hello you"]) == 1
        assert "write it otherwise, or give the prompt as token ids (--ids)" in capsys.readouterr().err


def test_what_the_model_writes_is_the_same_with_the_same_seed(wordless):
    first, again, other = (self_written(wordless, 2, seed) for seed in (1, 1, 2))
    assert first.sha256 == again.sha256 != other.sha256
    assert all(np.array_equal(a, b) for a, b in zip(first.passages, again.passages))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("tune " * 400, "400 of its 400 tokens|100% of its 400 tokens are the unknown token"),
        ("w1 w2 w3", "only 3|3 are"),
    ],
)
def test_a_text_of_ones_own_that_says_little_is_warned_of(wordless, tmp_path, content, says):
    (tmp_path / "song.txt").write_text(content)
    calibration, said = chosen(wordless, tmp_path / "song.txt")
    assert len(said) == 1
    assert said[0].startswith("warning: song.txt says little of this model: ")
    assert any(part in said[0] for part in says.split("|"))
    assert calibration.observed[0].name == "song.txt"  # it is theirs to say


@pytest.mark.parametrize("scheme", ["int8-weight", "float16"])
def test_a_scheme_that_observes_nothing_needs_no_text_and_no_warning(tmp_path, scheme):
    export(open_checkpoint(write_rrwkv(tmp_path / "in", RWKV4, random_weights(RWKV4))), tmp_path / "b", tokens=20)
    done = rrwkv("quantize", "b", "-o", "q", "--scheme", scheme, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("scheme", ["int8", "int8-dynamic", "int4"])
def test_a_bundle_without_a_tokenizer_is_quantized_on_what_it_writes(tmp_path, scheme):
    export(open_checkpoint(write_rrwkv(tmp_path / "in", RWKV4, random_weights(RWKV4))), tmp_path / "b", tokens=20)
    calibration, said = chosen(tmp_path / "b")
    made = quantize(tmp_path / "b", tmp_path / "q", shipped_recipe(scheme), calibration)
    assert len(said) == 1
    assert "warning: there is no tokenizer: calibrating on 4,096 tokens that the model writes itself" in said[0]
    assert "--calibration FILE" in said[0]
    assert made.quantization["calibration"]["files"][0]["name"] == SELF_WRITTEN
