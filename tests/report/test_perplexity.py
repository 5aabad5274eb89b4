"""Perplexity without a reference, and the text that is read where none is given."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rwkv
import tokenizers
from checkpoint_files import ASSET, RWKV4, random_weights

from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.bundle import GraphOptions, write_manifest
from rrwkv_export.commands.shared.hints import command, report_on
from rrwkv_export.errors import TextError
from rrwkv_export.quantize.recipes import EVALUATION_TEXT
from rrwkv_export.report import measure
from rrwkv_export.report.measure.perplexity import perplexity, standard_error
from rrwkv_export.report.render.json import to_json
from rrwkv_export.report.shipped_text import fits, shipped_text
from rrwkv_export.texts import read_text
from rrwkv_runtime.manifest import ChatFormat, TokenizerEntry
from rrwkv_runtime.model import Model

REPOSITORY = Path(__file__).resolve().parents[2]
WORLD = Path(rwkv.__path__[0]) / "rwkv_vocab_v20230424.txt"


def rrwkv(*arguments, cwd):
    command = [sys.executable, str(REPOSITORY / "cli.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def bundle_of(folder, kind="", tokenizer=None, vocab_size=65536):
    """A folder whose manifest and tokenizer say which ids a text becomes; it has no graph."""
    folder.mkdir()
    entry = None
    if tokenizer:
        tokenizer.save(str(folder / "tokenizer")) if kind == "tokenizer.json" else shutil.copy(tokenizer, folder)
        entry = TokenizerEntry(kind, next(folder.iterdir()).name)
    config = RWKV4Config(vocab_size, 8, 1, 16)
    options = {"model_id": "0" * 64, "tokenizer": entry, "chat": ChatFormat(), "provenance": {}}
    write_manifest(folder, config, GraphOptions("plain"), **options)
    return folder


def words(names):
    """A tokenizer of so few words that of English it knows nothing."""
    vocabulary = {"<unk>": 0, **{name: i + 1 for i, name in enumerate(names)}}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return made


def byte_pairs():
    """As the tokenizer of the Pile: byte pairs of every byte."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(["The cat sat on the mat, and the dog on the log."] * 3, trainer)
    return made


def test_it_is_the_reports_to_the_digit(small_bundle, tmp_path):
    shutil.copy(ASSET / "README.md", tmp_path / "a text.txt")
    how = ["--text", "a text.txt", "--tokens", 200, "--chunk", 33]
    done = rrwkv("perplexity", small_bundle, *how, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = measure(small_bundle, small_bundle, [tmp_path / "a text.txt"], tokens=200, chunk=33, speed=False)
    reported, (mine,) = to_json(made), json.loads(done.stdout)["texts"]
    assert mine["perplexity"] == reported["perplexity"] == reported["reference_perplexity"]
    assert mine["tokens"] == reported["tokens"] == 200
    assert mine["text"] == reported["text"]
    assert mine["perplexity"] == pytest.approx(math.exp(mine["nll"]))
    assert mine["perplexity_standard_error"] == pytest.approx(mine["perplexity"] * mine["nll_standard_error"])


def test_bits_per_byte_are_of_the_text_that_was_predicted(small_bundle, tmp_path):
    (tmp_path / "text.txt").write_text("The café was closed, so we went home and read.", encoding="utf-8")
    text, model = read_text(tmp_path / "text.txt", small_bundle), Model.load(small_bundle)
    found = perplexity(model, text, tokens=10**6, chunk=256)
    first = model.tokenizer.decode(text.ids[:1].tolist())
    assert found.bytes == len((tmp_path / "text.txt").read_bytes()) - len(first.encode())
    assert found.bits_per_byte == pytest.approx(found.nll * found.tokens / found.bytes / math.log(2))
    assert found.available == found.tokens == len(text.ids) - 1


def test_ids_of_a_model_without_a_tokenizer_have_no_bytes(make_tiny, tmp_path):
    (tmp_path / "some.ids").write_text("1 2 3")
    tiny = make_tiny(RWKV4)
    found = perplexity(tiny.model, read_text(tmp_path / "some.ids", tiny.path), tokens=9, chunk=9)
    assert (found.tokens, found.bytes, found.bits_per_byte) == (2, None, None)
    assert found.nll_standard_error is None  # of two predictions


def test_a_model_that_is_not_finite_gives_json_all_the_same(make_tiny, tmp_path):
    weights = random_weights(RWKV4, 0)
    weights["head.weight"][0] = float("nan")
    tiny = make_tiny(RWKV4, weights=weights)
    (tmp_path / "some.ids").write_text("1 2 3 4 5 6 7")
    found = perplexity(tiny.model, read_text(tmp_path / "some.ids", tiny.path), tokens=9, chunk=9)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["perplexity"] is None


def test_the_standard_error_is_right_for_what_depends_on_what_came_before():
    random = np.random.default_rng(0)
    drawn = random.normal(size=(300, 4096))
    kept = drawn.copy()
    for i in range(1, kept.shape[1]):
        kept[:, i] = 0.8 * kept[:, i - 1] + 0.6 * drawn[:, i]
    for values, least in ((drawn, 0.9), (kept, 0.85)):
        said = np.mean([standard_error(each) for each in values])
        assert least < said / values.mean(axis=1).std() < 1.1


def test_the_text_that_comes_along_is_for_tokenizers_of_language(tmp_path):
    for name, *tokenizer in (("world", "rwkv-world", WORLD), ("pile", "tokenizer.json", byte_pairs())):
        assert shipped_text(bundle_of(tmp_path / name, *tokenizer)).name == EVALUATION_TEXT.name


def test_a_tokenizer_of_something_else_asks_for_a_text_and_says_how(tmp_path):
    midi = bundle_of(tmp_path / "midi", "tokenizer.json", words(["you", "the", *(f"n{i}" for i in range(60))]))
    with pytest.raises(TextError, match=r"give --text FILE, .*\.ids: .*no English text \(9\d% of .* the unknown token"):
        shipped_text(midi)
    none = bundle_of(tmp_path / "none")
    with pytest.raises(TextError, match=r"give --text FILE, .*\.ids: .*none has no tokenizer$"):
        shipped_text(none)
    for bundle in (midi, none):
        assert not fits(bundle)
        assert "--text FILE, where FILE is" in report_on(tmp_path / "small", bundle)
    done = rrwkv("perplexity", "none", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


def test_what_quantize_says_to_run_next_runs_as_it_is_printed(small_bundle, tmp_path):
    shutil.copytree(small_bundle, tmp_path / "my model's bundle")
    recipe = ["--scheme", "float16", "-o", "-its $HOME [b]"]
    done = rrwkv("quantize", "my model's bundle", *recipe, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert line.strip().startswith("rrwkv report ")
    shell = f'rrwkv() {{ "{sys.executable}" "{REPOSITORY / "cli.py"}" "$@"; }}; {line}'
    ran = subprocess.run(shell, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "-its $HOME [b]-report/report.html").is_file()
    assert f"read {EVALUATION_TEXT.name}, which comes along" in ran.stdout


def test_the_hint_replaces_an_earlier_report_and_nothing_else(small_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small-report").mkdir()
    (tmp_path / "small-report/report.json").touch()
    assert report_on(Path("small"), small_bundle).endswith(" --force")
    (tmp_path / "small-report/mine").touch()
    assert "--force" not in report_on(Path("small"), small_bundle)


def test_commands_are_quoted_as_a_shell_reads_them():
    line = command("report", Path("a b/$(c)'"), "--reference", Path("-f"))
    assert shlex.split(line) == ["rrwkv", "report", "a b/$(c)'", "--reference", "./-f"]
