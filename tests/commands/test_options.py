"""The two programs' options: the same names, the same words, and what they do."""

import argparse
import json
import re
import sys

import click
import numpy as np
import pytest

from rrwkv_export.commands import _run as run_command
from rrwkv_export.commands import cli
from rrwkv_runtime.__main__ import main, parser
from rrwkv_runtime.errors import BundleError, InputError
from rrwkv_runtime.model import Model
from rrwkv_runtime.terminal import options
from rrwkv_runtime.terminal.writing import special_note


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


USAGE = {
    "--logprobs 2": "give --json",
    "--logprobs -1": "--logprobs must be from 0 to 1000, not -1",
    "--temp 200%": "'200%' is no number; 200 % is 2",
    "--min-p .5%": "'.5%' is no number; 0.5 % is 0.005",
    "--top-p 95": "--top-p must be a number from 0 to 1, not 95.0; 95 % is 0.95",
    "--seed -1": "--seed must be",
    "-n -5": "--max-tokens must be",
    "-t 5000": "--threads must be",
    "-t 0": "threads",
    "-l 5": "--logit-bias takes",
    "-l 5-1e9": "--logit-bias of token 5",
    "--ids 1": "give one of --prompt",
    "--provider-option x": "KEY=VALUE",
}


@pytest.mark.parametrize("given", USAGE)
def test_wrong_usage_is_2_in_both_programs_and_names_the_option(bundle, given, capsys):
    arguments = ["generate", str(bundle), "-p", "x", *given.split()]
    with pytest.raises(SystemExit, match="2"):
        sys.exit(main(arguments))  # argparse exits itself
    assert USAGE[given] in capsys.readouterr().err
    assert run_command(arguments) == 2
    assert USAGE[given] in capsys.readouterr().err


def test_what_only_the_bundle_tells_is_an_error_in_the_options_name(bundle, capsys):
    for given, said in (("--stop-id 9999", "--stop-id: 9999"), ("-l 9999+1", "--logit-bias: token 9999 is not")):
        arguments = ["generate", str(bundle), "-p", "x", *given.split()]
        for program in (main, run_command):
            assert program(arguments) == 1
            assert f"error: {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "said"),
    [("--min-top1=50%", "50 % is 0.5"), ("--max-ppl-ratio=1%", "for 1 % more give 1.01"), ("--max-kl=1%", "is 0.01")],
)
def test_a_gate_in_percent_is_answered(option, said, capsys):
    assert run_command(["report", "none", "--reference", "none", option]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "prompt"),
    [(["-p", "--"], "--"), (["--prompt=--"], "--"), (["-p--"], "--"), (["-p", "--ids"], "--ids"), (["-p", "-1"], "-1")],
)
def test_a_value_may_begin_with_dashes(typed, prompt):
    known = (*options.GENERATE, *options.RUN)
    given = parser().parse_args(options.joined(["generate", *typed, "-t", "1", "--", "bundle"], known))
    assert (given.prompt, given.threads, str(given.bundle)) == (prompt, 1, "bundle")


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
