"""What a server is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """What a request and all of them may take.

    parallel       conversations that take turns
    waiting        requests that wait for one of them to end; more are refused
    prompt_tokens  of one request; written tokens likewise
    body_bytes     of a request's body
    seconds        from a request's arrival to its last token
    cache_bytes    of states after prefixes that were seen
    """

    parallel: int = 16
    waiting: int = 64
    prompt_tokens: int = 32_768
    written_tokens: int = 4_096
    body_bytes: int = 4 << 20
    seconds: float = 600.0
    cache_bytes: int = 256 << 20


@dataclass(frozen=True)
class Settings:
    """name: of the model, in requests. workers: threads that run steps.

    api_key        what every request but for the page and /health has to bring; None: nothing
    hosts          names that a request's Host header may have; None: any
    allow_origins  other pages' origins that a browser may use it from
    page           a folder with a page to be shown at "/"
    """

    name: str
    workers: int = 1
    api_key: str | None = None
    hosts: frozenset[str] | None = None
    allow_origins: tuple[str, ...] = ()
    page: Path | None = None
    limits: Limits = Limits()
