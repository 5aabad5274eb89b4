"""`rrwkv serve`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from rrwkv_export.commands.shared.options import (
    PATH,
    NumberFrom,
    native_option,
    provider_options,
    shared,
    spin_option,
    stacked,
)
from rrwkv_export.commands.shared.say import note, say
from rrwkv_runtime.terminal import options

if TYPE_CHECKING:
    from rrwkv_server import Limits, Settings

WEB = Path(__file__).resolve().parents[1] / "assets" / "web"  # what `make web` builds
_MIB = 1 << 20


def _count(name: str, default: int, help: str, *, lowest: int = 1, highest: int = 1 << 30, metavar: str = "N") -> Any:
    kind = click.IntRange(lowest, highest)
    return click.option(name, type=kind, default=default, show_default=True, metavar=metavar, help=help)


def _seconds(name: str, default: float, help: str) -> Any:
    kind = NumberFrom(min_open=True)
    return click.option(name, type=kind, default=default, show_default=True, metavar="SECONDS", help=help)


_where_options = stacked(
    click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen."),
    _count("--port", 8000, "The port; 0 takes a free one.", lowest=0, highest=65535, metavar="PORT"),
    click.option("--name", metavar="NAME", help="What requests call the model.  [default: the bundle's folder]"),
    click.option(
        "--api-key",
        envvar="RRWKV_API_KEY",
        metavar="KEY",
        help="What requests have to bring as their bearer token. Better in RRWKV_API_KEY, where no other user sees it.",
    ),
    click.option(
        "--allow-origin",
        "origins",
        multiple=True,
        metavar="ORIGIN",
        help="Let pages of this origin ask (CORS), or of any: *; may be given several times.",
    ),
    click.option(
        "--allow-host",
        "hosts",
        multiple=True,
        metavar="NAME",
        help="Take requests that call the server so, as behind a proxy; may be given several times.",
    ),
)

_limit_options = stacked(
    _count("--parallel", 16, "Conversations that take turns.", highest=1024),
    _count("--waiting", 64, "Requests that wait for one of them; more are refused (429).", lowest=0, highest=65536),
    _count(
        *("--prefix-cache", 256, "Memory for states after prompts that were read; 0 keeps none."),
        lowest=0,
        highest=1 << 20,
        metavar="MIB",
    ),
    _count("--max-prompt", 32768, "Most tokens of a prompt."),
    _count("--max-tokens", 4096, "Most tokens to write for a request."),
    _count("--max-body", 4, "Largest body of a request.", highest=1024, metavar="MIB"),
    _seconds("--time-limit", 600, "From a request to its last token."),
    _seconds("--drain", 30, "After Ctrl-C or SIGTERM: to finish what was begun."),
)


@click.command()
@click.argument("bundle", type=PATH, required=False)
@_where_options
@_limit_options
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Steps that run at once.  [default: one for each usable core; 1 on other providers than the CPU]",
)
@shared(
    options.THREADS,
    type=click.IntRange(min=1),
    help="Threads of each step.  [default: the usable cores over the workers]",
)
@spin_option
@native_option
@provider_options
def serve(
    bundle: Path | None,
    host: str,
    port: int,
    drain: float,
    workers: int | None,
    threads: int | None,
    spin: bool,
    native: str | None,
    provider: str,
    provider_options: dict[str, str],
    strict: bool,
    **said: Any,
) -> int:
    """Answer OpenAI's API with BUNDLE.

    Without one it is the built-in demo model. Conversations take turns, a token each; the state after a prompt that was
    read is kept, so that the next turn of a dialogue reads what is new. Ctrl-C, or SIGTERM, finishes what was begun, a
    second one ends it at once. The chat page is at /, where it was built, numbers for Prometheus are at /metrics.

    \b
    rrwkv serve BUNDLE
    curl localhost:8000/v1/chat/completions -H 'Content-Type: application/json' \\
        -d '{"model": "BUNDLE", "messages": [{"role": "user", "content": "Hi!"}]}'
    """
    process = _require_server()
    from rrwkv_export.commands.shared.cached_demo import cached_demo
    from rrwkv_export.commands.shared.models import load_model
    from rrwkv_runtime.execution.cores import usable
    from rrwkv_runtime.manifest import Manifest
    from rrwkv_server import create_app
    from rrwkv_server.guard import is_loopback

    folder = bundle or cached_demo()
    Manifest.load(folder)  # what is no bundle is told before anything else
    workers = _workers(workers, provider)
    settings = _settings(folder, host, workers, **said)
    with process.listen(host, port) as bound:
        where: dict[str, Any] = {"provider_options": provider_options, "strict": strict, "spin": spin, "native": native}
        model = load_model(folder, provider, threads or max(1, usable() // workers), **where)
        app = create_app(model, settings)
        url = process.address(bound)
        say(f"{settings.name} is served at {url}/v1 (Ctrl-C ends it)")
        built = page_address(url, settings.api_key) if settings.page else "not built; `make web` builds it"
        say(f"the chat page is {built}")
        if not (settings.api_key or is_loopback(host)):
            note("rrwkv: everybody who reaches this address can use it; --api-key asks for a key")
        status: int = process.serve(app, bound, drain, lambda text: note(f"rrwkv: {text}"))
        return status


def page_address(url: str, key: str | None) -> str:
    """Where the chat page is; on a terminal with the key, which the page takes out of there. A log does not get it."""
    if key and sys.stdout.isatty():
        return f"at {url}/#key={quote(key, safe='')}"
    return f"at {url}/" + (", and asks for the key" if key else "")


def _require_server() -> Any:
    """The server's package, which is an extra."""
    from rrwkv_runtime.common.install import hint
    from rrwkv_runtime.errors import RRWKVError

    try:
        from rrwkv_server import process
    except ModuleNotFoundError as error:
        raise RRWKVError(f"`rrwkv serve` needs {error.name}: {hint('rrwkv-export', 'serve')}") from None
    return process


def _workers(given: int | None, provider: str) -> int:
    """Raises UsageError: other providers' sessions are not for several threads at once."""
    from rrwkv_runtime.errors import UsageError
    from rrwkv_runtime.execution.cores import usable

    if provider == "cpu":
        return given or usable()
    if given not in (None, 1):
        raise UsageError(f"--workers {given} is for the CPU; with --provider {provider} steps run one at a time")
    return 1


def _settings(folder: Path, host: str, workers: int, **said: Any) -> Settings:
    """Raises UsageError."""
    from rrwkv_runtime.errors import UsageError
    from rrwkv_server import Settings
    from rrwkv_server.guard import host_names

    if said["api_key"] == "":
        raise UsageError("--api-key (RRWKV_API_KEY) is empty; leave it out, or give one")
    return Settings(
        name=said["name"] or folder.resolve().name,
        workers=workers,
        api_key=said["api_key"],
        hosts=host_names(host, said["hosts"]),
        allow_origins=said["origins"],
        page=WEB if (WEB / "index.html").is_file() else None,
        limits=_limits(**said),
    )


def _limits(**said: Any) -> Limits:
    from rrwkv_server import Limits

    return Limits(
        parallel=said["parallel"],
        waiting=said["waiting"],
        prompt_tokens=said["max_prompt"],
        written_tokens=said["max_tokens"],
        body_bytes=said["max_body"] * _MIB,
        seconds=said["time_limit"],
        cache_bytes=said["prefix_cache"] * _MIB,
    )
