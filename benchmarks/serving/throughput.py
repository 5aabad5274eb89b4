"""Tokens a second and the wait for the first one, by how many talk at once, as clients see it.

python -m benchmarks.serving.throughput BUNDLE [BUNDLE …]

Each client holds dialogues of three turns, as streams of so many tokens a reply; the server's workers are as many as
there are cores, or one of as many threads. The clients take some of the same cores.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter

import httpx2

from benchmarks.machine import describe
from benchmarks.serving.client import CHAT, NAME, Served, numbers, serving, stream
from rrwkv_export.markdown import table
from rrwkv_runtime.execution.cores import usable

CLIENTS, SECONDS, REPLY, TURNS = (1, 2, 4, 8), 2.5, 48, 3
ASKED = "Hi! How are you today? Tell me something about your day, and do not leave anything out."


@dataclass
class Found:
    """Tokens that came, and seconds to the first of each reply."""

    tokens: int = 0
    first: list[float] = field(default_factory=list)


async def talk(http: httpx2.AsyncClient, found: Found, until: float, number: int) -> None:
    """Dialogues, each other than all before, until it is time; a reply that was begun is read to its end."""
    for dialogue in count():
        messages: list[dict[str, str]] = []
        for _ in range(TURNS):
            if perf_counter() > until:
                return
            messages.append({"role": "user", "content": f"{number}.{dialogue} {ASKED}"})
            # Nothing ends a reply before its last token.
            body = {"model": NAME, "messages": messages, "max_tokens": REPLY, "seed": number, "logit_bias": {"0": -100}}
            began, text = perf_counter(), ""
            async for chunk in stream(http, CHAT, {**body, "stream_options": {"include_usage": True}}):
                if chunk["usage"]:
                    found.tokens += chunk["usage"]["completion_tokens"]
                elif not text and chunk["choices"][0]["delta"].get("content"):
                    found.first.append(perf_counter() - began)
                text += chunk["choices"][0]["delta"].get("content", "") if chunk["choices"] else ""
            messages.append({"role": "assistant", "content": text or "."})


async def together(served: Served, clients: int) -> list[str]:
    """A row: tokens a second, of all and of each, and milliseconds to the first token."""
    found, began = Found(), perf_counter()
    async with httpx2.AsyncClient(base_url=served.url, timeout=120) as http:
        await asyncio.gather(*(talk(http, found, began + SECONDS, number) for number in range(clients)))
    rate, first = found.tokens / (perf_counter() - began), sorted(found.first)
    return [
        *(f"{clients}", f"{rate:,.0f}", f"{rate / clients:,.0f}"),
        *(f"{median(first) * 1e3:.0f}", f"{first[int(0.95 * len(first))] * 1e3:.0f}"),
    ]


def main(bundles: list[Path]) -> None:
    print(describe(), "\n")
    heads = ("bundle", "workers × threads", "clients", "tokens/s", "each", "first token, ms", "95 % under")
    rows = []
    for bundle in bundles:
        for workers in (usable(), 1):
            with serving(bundle, "--workers", workers) as served:
                asyncio.run(together(served, 1))  # to warm up
                for clients in CLIENTS:
                    way = f"{workers} × {usable() // workers}"
                    rows.append([bundle.name, way, *asyncio.run(together(served, clients))])
                after = numbers(served.url)
                cached, read = (after[f'rrwkv_tokens_total{{kind="{kind}"}}'] for kind in ("cached", "read"))
                print(
                    f"{bundle.name}, {way}: {cached / (cached + read):.0%} of the prompts' tokens were not read again"
                )
    print("\n" + table(heads, rows))


if __name__ == "__main__":
    main(list(map(Path, sys.argv[1:])))
