"""The two programs' options: the same names, the same words, and what they do."""

import argparse
import json
import re

import click
import numpy as np
import pytest

from rrwkv_export.commands import cli
from rrwkv_runtime import options
from rrwkv_runtime.__main__ import main, parser
from rrwkv_runtime.errors import BundleError, InputError
from rrwkv_runtime.session import Model
from rrwkv_runtime.writing import special_note


def of_the_runtime(command):
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    for action in commands.choices[command]._actions:
        if action.option_strings and action.dest != "help":
            default = f"  [default: {action.default}]"
            text = (action.help or "").replace("%%", "%").replace("  [default: %(default)s]", default)
            yield frozenset(action.option_strings), (re.sub(r" +", " ", text), action.metavar or "")


def of_rrwkv(command):
    context = click.Context(cli.commands[command])
    for option in cli.commands[command].params:
        if isinstance(option, click.Option):
            _, text = option.get_help_record(context)
            # click writes its own note on a range or a flag, after the words that are compared
            text = re.sub(r" +\[(x>=1|default: (spin|stats))\]", "", text)
            metavar = "" if option.is_flag else option.make_metavar(context)
            yield frozenset([*option.opts, *option.secondary_opts]), (re.sub(r" +", " ", text), metavar)


@pytest.mark.parametrize("command", ["chat", "generate"])
def test_both_programs_have_the_same_options_in_the_same_words(command):
    assert dict(of_the_runtime(command)) == dict(of_rrwkv(command))


def test_the_runtimes_info_has_no_option_of_its_own():
    assert dict(of_the_runtime("info")).items() <= dict(of_rrwkv("info")).items()


def test_a_bias_is_typed_as_in_llama_cpp():
    assert options.logit_bias(["15043+1", "2-inf", "3-1.5e1"]) == {15043: 1, 2: -np.inf, 3: -15}
    for wrong in ("15043", "x+1", "1+", "1=2", "1+nan", "-1+2", "1+1e"):
        with pytest.raises(InputError, match=f"not '{re.escape(wrong)}'"):
            options.logit_bias([wrong])


def test_json_lists_tokens_with_what_was_likely(demo_bundle, capsys):
    one = ["generate", str(demo_bundle), "-p", "Hello", "-n", "3", "--temp", "0", "-l", "66+1000", "--json"]
    assert main([*one, "--logprobs", "2"]) == 0
    tokens = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(token["index"], token["id"], token["text"]) for token in tokens] == [
        (0, 66, "b"),
        (1, 66, "b"),
        (2, 66, "b"),
    ]
    assert [token["finish"] for token in tokens] == [None, None, "length"]
    assert all(token["top_logprobs"][0]["logprob"] >= token["logprob"] for token in tokens)
    assert main([*one, "--stop-id", "66"]) == 0
    assert [json.loads(line)["finish"] for line in capsys.readouterr().out.splitlines()] == ["stop"]


def test_logprobs_need_a_place(capsys):
    assert main(["generate", "none", "-p", "x", "--logprobs", "2"]) == 1
    assert "give --json" in capsys.readouterr().err


def test_a_prompt_that_writes_out_special_tokens_is_noted(demo_model, capsys):
    tokenizer = demo_model.tokenizer
    note = special_note(tokenizer, "a<|endoftext|>b", special=False)
    assert note == "<|endoftext|> in the prompt is read as text; with --special as the token of that name"
    for prompt, special in (("a", False), ("<|endoftext|>", True), ([0], False)):
        assert special_note(tokenizer, prompt, special) is None
    assert main(["generate", str(demo_model.path), "-p", "<|endoftext|>", "-n", "1"]) == 0
    assert "with --special" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["chat", "generate", "info"])
def test_a_file_of_a_bundle_is_no_bundle_but_says_which_folder_is(demo_bundle, command, capsys):
    prompt = ["--ids", "1"] if command == "generate" else []
    assert main([command, str(demo_bundle / "model.onnx"), *prompt]) == 1
    assert f"give the bundle's folder, {demo_bundle}" in capsys.readouterr().err
    with pytest.raises(BundleError, match="give the bundle's folder"):
        Model.load(demo_bundle / "manifest.json")
