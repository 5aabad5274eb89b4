"""Eight clients, ten thousand requests: answers, streams, clients that leave, and nonsense.

python -m benchmarks.serving.soak BUNDLE [REQUESTS] [CLIENTS]     a float32 bundle with a tokenizer, or int8-static

Every conversation has a word of its own, and its answer is compared with the one that the runtime gives to it alone:
each token, and its log probability, in which another conversation's state would show. What was not asked for is an
error; the server's memory is looked at all the time.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx2
import psutil

from benchmarks.machine import describe
from benchmarks.serving.client import CHAT, NAME, TEXT, Served, numbers, serving, stream
from rrwkv_runtime import Model
from rrwkv_server.engine.prompts import ChatPrompts, Turn

CONVERSATIONS, TURNS, PARTS = 250, 4, 20
CLOSE = 1e-5  # of log probabilities; float32 and static int8 give the same bits
CACHE_MIB = 2  # so small that states have to leave
BAD: list[tuple[int, dict[str, Any]]] = [
    (400, {"temperature": "warm"}),
    (400, {"messages": []}),
    (400, {"unknown": 1}),
    (404, {"model": "another"}),
    (413, {"user": "x" * (5 << 20)}),
]


@dataclass(frozen=True)
class Conversation:
    """body: of its request to this path. logprobs: of the tokens that the runtime answers alone, greedily."""

    body: dict[str, Any]
    path: str
    logprobs: list[float]


@dataclass
class Found:
    """What happened, by kind; what was wrong, in words."""

    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def conversations(model: Model, count: int) -> list[Conversation]:
    """Of one to four turns, each with a word of its own in the first; some are texts."""
    draw, prompts = random.Random(1), ChatPrompts(model)
    made = []
    for number in range(count):
        word, length = f"{draw.getrandbits(40):x}", draw.randint(1, 24)
        greedy = {"model": NAME, "temperature": 0, "max_tokens": length}
        if number % 5 == 4:
            text = f"The word {word} " + "and so on " * draw.randint(0, 60)
            body, path = {**greedy, "prompt": text, "logprobs": 0}, TEXT
            ids = [int(i) for i in model.tokenizer.encode(text)] if model.tokenizer else []
        else:
            turns: list[Turn] = [("user", f"My word is {word}. " + "Remember it well. " * draw.randint(0, 40))]
            for turn in range(draw.randrange(TURNS)):
                turns += [("assistant", f"I see, {word}."), ("user", f"And what is question {turn}?")]
            messages = [{"role": role, "content": text} for role, text in turns]
            body, path = {**greedy, "messages": messages, "logprobs": True}, CHAT
            ids = list(prompts.read(turns).ids)
        stops: tuple[str, ...] = () if path == TEXT else prompts.dialogue.stops
        alone = model.generate(ids, max_tokens=length, temperature=0, stop=stops)
        made.append(Conversation(body, path, [token.logprob for token in alone]))
    return made


def logprobs(choice: dict[str, Any]) -> list[float]:
    """Of an answer's choice, or of a chunk's."""
    found = choice["logprobs"] or {}
    return found.get("token_logprobs") or [one["logprob"] for one in found.get("content", [])]


async def client(found: Found, served: Served, known: list[Conversation], todo: list[int], seed: int) -> None:
    """Requests one after another, until there are no more to do."""
    draw = random.Random(seed)
    async with httpx2.AsyncClient(base_url=served.url, timeout=120) as http:
        while todo:
            todo.pop()
            conversation, kind = draw.choice(known), draw.choices(("whole", "stream", "leave", "bad"), (4, 4, 1, 1))[0]
            try:
                await KINDS[kind](http, conversation, draw, found)
            except Exception as error:
                found.wrong.append(f"{kind}: {type(error).__name__} {error}"[:300])
            found.kinds[kind] += 1


async def whole(http: httpx2.AsyncClient, asked: Conversation, draw: random.Random, found: Found) -> None:
    answer = (await http.post(asked.path, json=asked.body)).raise_for_status().json()
    compare(logprobs(answer["choices"][0]), asked, found)


async def streamed(http: httpx2.AsyncClient, asked: Conversation, draw: random.Random, found: Found) -> None:
    chunks = [chunk async for chunk in stream(http, asked.path, asked.body)]
    compare([one for chunk in chunks for choice in chunk["choices"] for one in logprobs(choice)], asked, found)


async def leave(http: httpx2.AsyncClient, asked: Conversation, draw: random.Random, found: Found) -> None:
    """After some chunks, or before the first one."""
    left, body = draw.randrange(6), {**asked.body, "max_tokens": 400, "stream": True}
    async with http.stream("POST", asked.path, json=body) as answer:
        async for _ in answer.aiter_lines():
            left -= 1
            if left < 0:
                break


async def bad(http: httpx2.AsyncClient, asked: Conversation, draw: random.Random, found: Found) -> None:
    status, change = draw.choice(BAD)
    body = {"model": NAME, "messages": [{"role": "user", "content": "Hi!"}], **change}
    answer = await http.post(CHAT, json=body)
    if answer.status_code != status or answer.json()["error"]["message"] == "":
        found.wrong.append(f"{change.keys()}: {answer.status_code} in place of {status}")


KINDS = {"whole": whole, "stream": streamed, "leave": leave, "bad": bad}


def compare(given: list[float], asked: Conversation, found: Found) -> None:
    """With what the runtime gave to the conversation alone."""
    same = len(given) == len(asked.logprobs) and all(abs(a - b) <= CLOSE for a, b in zip(given, asked.logprobs))
    found.kinds["compared"] += 1
    found.kinds["of the same bits"] += given == asked.logprobs
    if not same:
        found.wrong.append(f"another answer to {asked.body}"[:300])


async def watch(served: Served, total: int, todo: list[int]) -> None:
    """The server's resident memory, PARTS times and at the beginning."""
    print("| requests | seconds | resident, MB |\n|--:|--:|--:|")
    process, began, part = psutil.Process(served.pid), perf_counter(), 0
    while part <= PARTS:
        done = total - len(todo)
        if done >= part * total // PARTS:
            seconds, size = perf_counter() - began, process.memory_info().rss
            print(f"| {done:,} | {seconds:.0f} | {size / 1e6:.1f} |", flush=True)
            part += 1
        await asyncio.sleep(0.05)


async def soak(served: Served, known: list[Conversation], requests: int, clients: int) -> Found:
    found, todo = Found(), list(range(requests))
    watching = asyncio.create_task(watch(served, requests, todo))
    await asyncio.gather(*(client(found, served, known, todo, seed) for seed in range(clients)))
    await watching
    return found


def main(bundle: Path, requests: int = 10_000, clients: int = 8) -> int:
    print(describe(), "\n")
    known = conversations(Model.load(bundle, threads=1), CONVERSATIONS)
    with serving(bundle, "--prefix-cache", CACHE_MIB) as served:
        found = asyncio.run(soak(served, known, requests, clients))
        after = numbers(served.url)
    print("\n" + ", ".join(f"{count:,} {kind}" for kind, count in found.kinds.items()))
    kept = {name: after[f"rrwkv_{name}"] for name in ("active", "waiting", "prefix_bytes")}
    totals = {
        name: after[f"rrwkv_{name}_total"]
        for name in ("clients_gone", "prefix_hits", "prefix_misses", "prefix_evicted")
    }
    print(", ".join(f"{name} {value:,.0f}" for name, value in {**kept, **totals}.items()))
    print(f"wrong: {len(found.wrong)}", *found.wrong[:10], sep="\n")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
