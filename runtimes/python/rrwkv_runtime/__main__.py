"""`python -m rrwkv_runtime {chat,generate,info} BUNDLE`: a bundle at the command line, with nothing else installed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrwkv_runtime.common.printable import json_escaped, one_line
from rrwkv_runtime.errors import InputError, RRWKVError, UsageError
from rrwkv_runtime.manifest import Manifest, check_sizes
from rrwkv_runtime.providers import parse_options
from rrwkv_runtime.terminal import options
from rrwkv_runtime.terminal.options import Option
from rrwkv_runtime.terminal.prompt import read_prompt, typed

if TYPE_CHECKING:
    from rrwkv_runtime.model import Model


_SAMPLING = (*options.SAMPLING, options.LOGIT_BIAS, options.SEED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code: 0, 1 after an error, 2 after wrong usage, 130 after Ctrl-C."""
    given = parser().parse_args(options.joined(sys.argv[1:] if arguments is None else arguments, options.EVERY))
    try:
        status: int | None = given.run(given)
        sys.stdout.flush()
        return status or 0
    except BrokenPipeError:
        from rrwkv_runtime.terminal.console import silence_stdout

        silence_stdout()
    except KeyboardInterrupt:
        return 130
    except (RRWKVError, OSError) as error:
        print(f"rrwkv_runtime: error: {one_line(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def _chat(given: argparse.Namespace) -> int:
    from rrwkv_runtime.chat import Chat
    from rrwkv_runtime.terminal.console import Terminal
    from rrwkv_runtime.terminal.repl import Repl, go_on_from

    how = {"max_tokens": options.max_tokens(given.max_tokens), **options.sampling(vars(given))}
    think, hide = options.think(given.think)
    chat = Chat(_model(given), system=given.system, special=given.special, think=think, **how)
    allowed = given.allow_other_quantization
    if given.state:
        go_on_from(chat, given.state, allowed)
    repl = Repl(
        chat,
        Terminal(),
        show_stats=given.stats is not False,
        hide_thoughts=hide,
        allow_other_quantization=allowed,
    )
    return repl.run()


def _generate(given: argparse.Namespace) -> None:
    from rrwkv_runtime.generate import generate
    from rrwkv_runtime.terminal.console import ReadingLine, tolerate_encodings
    from rrwkv_runtime.terminal.writing import Writer, special_note

    tolerate_encodings()
    options.one_prompt(given.prompt, given.prompt_file, given.ids)
    escape = given.escape is not False
    writer = Writer(given.json, given.logprobs)
    how = {"max_tokens": options.max_tokens(given.max_tokens), **options.sampling(vars(given))}
    stop = [typed(one, escape) for one in given.stop]
    prompt = read_prompt(given.prompt, given.prompt_file, given.ids, escape)
    model, reading = _model(given), ReadingLine()
    if note := special_note(model.tokenizer, prompt, given.special):
        print(f"rrwkv_runtime: {one_line(note)}", file=sys.stderr)
    with options.named(options.STOP_ID, "stop_ids", InputError):
        tokens = generate(
            model,
            prompt,
            stop=stop,
            stop_ids=given.stop_id,
            ignore_eos=given.ignore_eos,
            special=given.special,
            top_logprobs=writer.top_logprobs,
            progress=reading,
            **how,
        )
    try:
        with options.named(options.LOGIT_BIAS, kind=InputError):
            timing = writer.write(tokens, model.tokenizer)
    finally:
        reading.erase()
    if given.stats:
        print(timing, file=sys.stderr)


def _info(given: argparse.Namespace) -> None:
    manifest = Manifest.load(given.bundle)
    check_sizes(given.bundle, manifest)
    if given.json:
        print(json_escaped(json.dumps(manifest.to_json(), indent=2, ensure_ascii=False)))
        return
    for name, value in _facts(manifest):
        print(f"{name:<14}{one_line(value)}")


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    config = manifest.config
    return [
        ("bundle", manifest.bundle_id),
        ("model", manifest.model_id),
        ("architecture", f"{config['architecture']}, {config['num_layers']} layers of {config['hidden_size']}"),
        ("parameters", f"{manifest.parameters:,}"),
        ("vocabulary", f"{manifest.vocab_size:,}"),
        ("weights", f"{manifest.main.dtype}, quantized: {'yes' if manifest.quantization else 'no'}"),
        ("graphs", ", ".join(f"{name} (opset {graph.opset})" for name, graph in manifest.graphs.items())),
        ("state", f"{sum(state.nbytes for state in manifest.states):,} bytes"),
        ("tokenizer", manifest.tokenizer.type if manifest.tokenizer else "none"),
        ("files", f"{len(manifest.files)}, {sum(entry.bytes for entry in manifest.files):,} bytes"),
    ]


def _model(given: argparse.Namespace) -> Model:
    from rrwkv_runtime.model import Model

    model = Model.load(
        given.bundle,
        given.provider,
        options.threads(given.threads),
        provider_options=parse_options(given.provider_option),
        strict=given.strict,
        spin=given.spin is not False,
        native=options.native(given.native),
    )
    if note := model.provider_note(given.provider):
        print(f"rrwkv_runtime: {one_line(note)}", file=sys.stderr)
    return model


def parser() -> argparse.ArgumentParser:
    """The command line; its options are those of `rrwkv`, in the same words."""
    whole = argparse.ArgumentParser(prog="python -m rrwkv_runtime", description="Run a bundle.")
    commands = whole.add_subparsers(required=True, metavar="{chat,generate,info}")

    chat = _command(commands, "chat", "Talk with the model.")
    _add(chat, *options.CHAT, *_SAMPLING, *options.RUN, max_tokens=512)
    chat.set_defaults(run=_chat)

    generate = _command(commands, "generate", "Continue a text.")
    _add(generate, *options.GENERATE, *_SAMPLING, *options.RUN, max_tokens=256)
    generate.set_defaults(run=_generate)

    info = _command(commands, "info", "Say what a bundle holds.")
    _add(info, options.WHOLE_MANIFEST)
    info.set_defaults(run=_info)
    return whole


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    return made


def _add(parser: argparse.ArgumentParser, *found: Option, max_tokens: int | None = None) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="The bundle's folder.")
    if max_tokens:
        options.MAX_TOKENS.add_to(parser, max_tokens)
    for option in found:
        option.add_to(parser)


if __name__ == "__main__":
    sys.exit(main())
