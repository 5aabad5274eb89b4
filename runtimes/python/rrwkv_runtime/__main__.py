"""`python -m rrwkv_runtime {chat,generate,info} BUNDLE`: a bundle at the command line, with nothing else installed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrwkv_runtime.errors import RRWKVError
from rrwkv_runtime.manifest import Manifest, check_sizes
from rrwkv_runtime.printable import json_escaped, one_line, shown
from rrwkv_runtime.prompt import read_prompt, token_limit, typed
from rrwkv_runtime.providers import NAMES, parse_options

if TYPE_CHECKING:
    from rrwkv_runtime.session import Model

_TEXTS = ("--prompt", "--stop", "--system")
_SAMPLING: dict[str, tuple[type, str]] = {
    "temperature": (float, "0 takes the most likely token"),
    "top_k": (int, "keep the K most likely tokens; 0 keeps all"),
    "top_p": (float, "keep the most likely tokens that reach P together; 0 keeps one"),
    "min_p": (float, "keep tokens at least P times as likely as the likeliest"),
    "repetition_penalty": (float, "divide positive logits of seen tokens by R"),
    "presence_penalty": (float, "subtract from the logits of seen tokens"),
    "frequency_penalty": (float, "subtract as often as a token was seen"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code: 0, 1 after an error, 130 after Ctrl-C."""
    options = _parser().parse_args(_texts_joined(sys.argv[1:] if arguments is None else arguments))
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        from rrwkv_runtime.console import silence_stdout

        silence_stdout()
    except KeyboardInterrupt:
        return 130
    except (RRWKVError, OSError) as error:
        print(f"rrwkv_runtime: error: {one_line(str(error))}", file=sys.stderr)
        return 1
    return 0


def _texts_joined(arguments: Sequence[str]) -> list[str]:
    """`--prompt=TEXT` for `--prompt TEXT`: argparse takes a TEXT that begins with a dash for an option."""
    made: list[str] = []
    for argument in arguments:
        if made and made[-1] in _TEXTS and "--" not in made:
            made[-1] += f"={argument}"
        else:
            made.append(argument)
    return made


def _chat(options: argparse.Namespace) -> None:
    from rrwkv_runtime.chat import Chat
    from rrwkv_runtime.console import Terminal
    from rrwkv_runtime.repl import Repl

    chat = Chat(
        _model(options),
        system=options.system,
        max_tokens=token_limit(options.max_tokens),
        seed=options.seed,
        **_given_sampling(options),
    )
    if options.state:
        chat.load(options.state, options.allow_other_quantization)
    Repl(chat, Terminal(), show_stats=options.stats).run()


def _generate(options: argparse.Namespace) -> None:
    from rrwkv_runtime.console import ReadingLine, tolerate_encodings
    from rrwkv_runtime.generate import generate

    tolerate_encodings()
    prompt = read_prompt(options.prompt, options.prompt_file, options.ids, options.escape)
    model, reading = _model(options), ReadingLine()
    tokens = generate(
        model,
        prompt,
        max_tokens=token_limit(options.max_tokens),
        seed=options.seed,
        stop=[typed(stop, options.escape) for stop in options.stop],
        ignore_eos=options.ignore_eos,
        progress=reading,
        **_given_sampling(options),
    )
    try:
        for token in tokens:
            print(shown(token.text, sys.stdout) if model.tokenizer else f"{token.id} ", end="", flush=True)
    finally:
        reading.erase()
    print()


def _info(options: argparse.Namespace) -> None:
    manifest = Manifest.load(options.bundle)
    check_sizes(options.bundle, manifest)
    if options.json:
        print(json_escaped(json.dumps(manifest.to_json(), indent=2, ensure_ascii=False)))
        return
    for name, value in _facts(manifest):
        print(f"{name:<14}{one_line(value)}")


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    config, main_graph = manifest.config, manifest.graphs["main"]
    return [
        ("bundle", manifest.bundle_id),
        ("model", manifest.model_id),
        ("architecture", f"{config['architecture']}, {config['num_layers']} layers of {config['hidden_size']}"),
        ("parameters", f"{manifest.parameters:,}"),
        ("vocabulary", f"{manifest.vocab_size:,}"),
        ("weights", f"{main_graph.dtype}, quantized: {'yes' if manifest.quantization else 'no'}"),
        ("graphs", ", ".join(f"{name} (opset {graph.opset})" for name, graph in manifest.graphs.items())),
        ("state", f"{sum(state.nbytes for state in manifest.states):,} bytes"),
        ("tokenizer", manifest.tokenizer.type if manifest.tokenizer else "none"),
        ("files", f"{len(manifest.files)}, {sum(entry.bytes for entry in manifest.files):,} bytes"),
    ]


def _model(options: argparse.Namespace) -> Model:
    from rrwkv_runtime.session import Model

    model = Model.load(
        options.bundle,
        options.provider,
        options.threads,
        provider_options=parse_options(options.provider_option),
        strict=options.strict,
        spin=not options.no_spin,
        native=False if options.no_native else None,
    )
    if note := model.provider_note(options.provider):
        print(f"rrwkv_runtime: {one_line(note)}", file=sys.stderr)
    return model


def _given_sampling(options: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name in _SAMPLING if (value := getattr(options, name)) is not None}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rrwkv_runtime", description="Run an exported bundle.")
    commands = parser.add_subparsers(required=True, metavar="{chat,generate,info}")

    chat = commands.add_parser("chat", help="talk with the model")
    _add_model_options(chat, max_tokens=512)
    chat.add_argument("--system", metavar="TEXT", help="text put before the conversation")
    chat.add_argument("--state", type=Path, metavar="FILE", help="continue from a saved conversation")
    chat.add_argument(
        "--allow-other-quantization",
        action="store_true",
        help="let --state be of another quantization of the same model",
    )
    chat.add_argument("--stats", action="store_true", help="show tokens and speed after each reply")
    chat.set_defaults(run=_chat)

    generate = commands.add_parser("generate", help="continue a text; reads standard input if no prompt is given")
    _add_model_options(generate, max_tokens=256)
    prompt = generate.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", metavar="TEXT", help="what to continue; standard input if none is given")
    prompt.add_argument("--prompt-file", type=Path, metavar="FILE", help="the prompt in a file, less its last line end")
    prompt.add_argument("--ids", metavar="1,2,3", help="token ids, for bundles without a tokenizer")
    generate.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before TEXT; repeatable")
    generate.add_argument(
        "-e",
        "--escape",
        action=argparse.BooleanOptionalAction,
        default=True,
        help=r"whether \n, \t, \xHH and the like in --prompt and --stop stand for what they do in C (they do)",
    )
    generate.add_argument("--ignore-eos", action="store_true", help="go on after the model's end token")
    generate.set_defaults(run=_generate)

    info = commands.add_parser("info", help="say what a bundle holds")
    info.add_argument("bundle", type=Path, metavar="BUNDLE")
    info.add_argument("--json", action="store_true", help="the whole manifest")
    info.set_defaults(run=_info)
    return parser


def _add_model_options(parser: argparse.ArgumentParser, max_tokens: int) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    for name, (kind, text) in _SAMPLING.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=name[-1].upper(), help=text)
    parser.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same text")
    parser.add_argument(
        "--max-tokens", type=int, default=max_tokens, metavar="N", help="default %(default)s; 0 or -1 for no limit"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="default: one for each core that may be used")
    parser.add_argument(
        "--no-spin", action="store_true", help="let threads sleep between runs: slower, saves a battery"
    )
    parser.add_argument("--no-native", action="store_true", help="leave the kernels of rrwkv-native out")
    parser.add_argument("--provider", default="cpu", metavar="NAME", help=f"{', '.join(NAMES)}; default %(default)s")
    parser.add_argument(
        "--provider-option", action="append", default=[], metavar="KEY=VALUE", help="the provider's own; repeatable"
    )
    parser.add_argument("--strict", action="store_true", help="fail if any node is not on the provider")


if __name__ == "__main__":
    sys.exit(main())
