"""One line for people, of whatever files hold."""

from __future__ import annotations

import click

from rrwkv_runtime.common.printable import one_line


def say(text: str) -> None:
    """On standard output."""
    click.echo(one_line(text))


def note(text: str) -> None:
    """On standard error."""
    click.echo(one_line(text), err=True)
