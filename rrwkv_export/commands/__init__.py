"""The command line, `rrwkv`: a skin over functions of the same names. Errors become one line here and nowhere else."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Sequence
from typing import Any

import click

from rrwkv_export import __version__
from rrwkv_export.commands.bench import bench
from rrwkv_export.commands.chat import chat
from rrwkv_export.commands.demo import demo
from rrwkv_export.commands.export import export
from rrwkv_export.commands.generate import generate
from rrwkv_export.commands.huggingface import huggingface
from rrwkv_export.commands.info import info
from rrwkv_export.commands.perplexity import perplexity
from rrwkv_export.commands.quantize import quantize
from rrwkv_export.commands.report import report
from rrwkv_export.commands.retrofit import retrofit
from rrwkv_export.commands.sensitivity import sensitivity
from rrwkv_export.commands.serve import serve
from rrwkv_export.commands.sweep import sweep
from rrwkv_export.commands.train import train
from rrwkv_export.commands.verify import verify
from rrwkv_export.commands.web import web
from rrwkv_export.errors import is_out_of_memory
from rrwkv_runtime.common.printable import one_line, visible
from rrwkv_runtime.errors import RRWKVError, UsageError
from rrwkv_runtime.terminal import options
from rrwkv_runtime.terminal.console import silence_stdout, tolerate_encodings


class _InOrder(click.Group):
    """Lists its commands in the order in which one meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # before click sees it, which would make it a failure
            silence_stdout()


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="rrwkv")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
def cli(debug: bool) -> None:
    """Take an RWKV checkpoint to a device: export it to a verified bundle, quantize that, and run it.

    \b
    rrwkv demo                              the whole way, with a built-in model
    rrwkv train TEXT -o CHECKPOINT          texts become a checkpoint, to begin with
    rrwkv export CHECKPOINT -o BUNDLE       a checkpoint becomes a bundle, verified
    rrwkv quantize BUNDLE -o SMALL          8 or 4 bits, calibrated on text
    rrwkv report SMALL --reference BUNDLE   what that cost
    rrwkv chat SMALL                        talk with it
    rrwkv web SMALL -o SITE                 a page that runs it in a browser
    rrwkv serve SMALL                       let others talk with it, by OpenAI's API
    """


_COMMANDS = [
    *(demo, train, retrofit, huggingface, export, verify, info, quantize, sensitivity),
    *(report, perplexity, sweep, bench, chat, generate, web, serve),
]
for _command in _COMMANDS:
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 after an error, 2 after wrong usage, 130 after Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    tolerate_encodings()
    # As after Ctrl-C, what was begun is cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    try:
        result = cli.main(args=options.spelled_out(arguments, options.EVERY), prog_name="rrwkv", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        click.echo(visible(said.getvalue()), err=True, nl=False)  # it quotes what was given, names of files among it
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("rrwkv: interrupted", err=True)
        return 130
    except BrokenPipeError:
        silence_stdout()
        return 0
    except Exception as error:
        if "--debug" in arguments:
            raise
        click.echo(f"rrwkv: error: {_one_line(error)}", err=True)
        return 2 if isinstance(error, UsageError) else 1


def _one_line(error: Exception) -> str:
    text = one_line(str(error))
    if isinstance(error, RRWKVError):
        return text
    if isinstance(error, OSError):
        return one_line(f"{error.filename}: {error.strerror}") if error.filename else text
    if is_out_of_memory(error):
        return "out of memory; close other programs, or use a machine with more"
    return f"{type(error).__name__}: {text[:200]} (this is a bug; run `rrwkv --debug …` and report what it prints)"
