"""Where the demo's texts come from, and what their own repositories say of their licences."""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".jsonl", ".jsonl.xz", ".txt", ".txt.xz")


@dataclass(frozen=True)
class Source:
    """One published collection. names: what the `source` of its lines is."""

    names: tuple[str, ...]
    origin: str
    licence: str


SOURCES = (
    Source(("chitchat-dataset",), "PyPI: chitchat-dataset 0.9.0", "MIT"),
    Source(("self-dialogue",), "github.com/jfainberg/self_dialogue_corpus", "BSD-3-Clause"),
    Source(("synthetic-persona-chat",), "github.com/google-research-datasets/Synthetic-Persona-Chat", "CC BY 4.0"),
    Source(("topical-chat",), "github.com/alexa/Topical-Chat", "CDLA-Sharing-1.0"),
    Source(("sgd",), "github.com/google-research-datasets/dstc8-schema-guided-dialogue", "CC BY-SA 4.0"),
    Source(("taskmaster-4",), "github.com/google-research-datasets/Taskmaster, TM-4-2024", "CC BY 4.0"),
    Source(("star",), "github.com/RasaHQ/STAR", "MIT"),
    Source(
        ("personality-chat-friend", "personality-chat-professional", "personality-chat-comic"),
        "github.com/microsoft/BotBuilder-PersonalityChat",
        "MIT",
    ),
    Source(("chatterbot-corpus",), "PyPI: chatterbot-corpus 1.3.3", "BSD-3-Clause"),
    Source(("open-assistant-seed",), "github.com/LAION-AI/Open-Assistant, its seed data", "Apache-2.0"),
    Source(("rasbt-instruction",), "github.com/rasbt/LLMs-from-scratch, ch07", "Apache-2.0"),
    Source(("self-instruct-human",), "github.com/yizhongw/self-instruct", "Apache-2.0"),
    Source(("open-datasets-convai",), "github.com/paredezadrian/open-datasets", "MIT"),
    Source(("fun-dialogues",), "github.com/eduand-alvarez/fun-dialogues", "Apache-2.0"),
    Source(("persuasion-for-good",), "github.com/ohyj1002/persuasionforgood", "Apache-2.0"),
    Source(("casino",), "github.com/kushalchawla/CaSiNo", "CC BY 4.0"),
    Source(("opentriviaqa",), "github.com/uberspot/OpenTriviaQA", "CC BY-SA 4.0"),
)
BY_NAME = {name: source for source in SOURCES for name in source.names}


def texts(folder: Path) -> tuple[list[Path], list[Path]]:
    """The dialogues and the plain texts of a folder. Raises SystemExit where there are no dialogues."""
    files = sorted(path for path in folder.glob("*") if path.name.endswith(SUFFIXES))
    dialogues = [path for path in files if ".jsonl" in path.suffixes]
    if not dialogues:
        raise SystemExit(f"{folder}: no .jsonl of dialogues; see examples/demo/README.md for what to put there")
    return dialogues, [path for path in files if path not in dialogues]


def credits_of(dialogues: list[Path]) -> list[str]:
    """A line of each source that the dialogues are of: how many, from where, under what licence.

    Raises SystemExit for a source that is not known: what is made of it could not be published.
    """
    counts = Counter(name for path in dialogues for name in _names(path))
    if unknown := sorted(counts.keys() - BY_NAME.keys()):
        raise SystemExit(f"{unknown[0]}: a source that examples/demo/sources.py does not name; add it, or leave it out")
    return [f"{counts[name]:7,} {name}: {BY_NAME[name].origin} ({BY_NAME[name].licence})" for name in sorted(counts)]


def _names(path: Path) -> Iterator[str]:
    with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield str(json.loads(line).get("source", "unnamed"))
