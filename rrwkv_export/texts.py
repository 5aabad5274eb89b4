"""Texts as token ids: what calibration observes and what a report is measured on.

    .jsonl   dialogues in the bundle's chat format, one a line: {"turns": [{"role": "user"|"assistant", "text"}, …]}
    .ids     token ids, separated by spaces or commas, one passage a line
    others   plain text, one passage

The bundle's beginning-of-text token, where it has one, stands before each dialogue and each plain text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rrwkv_export.errors import TextError
from rrwkv_runtime.dialogue import Dialogue
from rrwkv_runtime.errors import InputError
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.text import load_tokenizer

Ids = np.ndarray[Any, np.dtype[np.int64]]
ROLES = ("user", "assistant")


@dataclass(frozen=True)
class Text:
    """One file: its name and sha256, and the ids of its passages (dialogues), in order."""

    name: str
    sha256: str
    passages: tuple[Ids, ...]

    @property
    def ids(self) -> Ids:
        """All passages, one after the other: the state is carried across them."""
        return np.concatenate(self.passages)

    def sample(self, count: int, seed: int) -> Text:
        """`count` passages drawn without replacement, in the order of the file; all of them if there are no more."""
        if count >= len(self.passages):
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self.passages))[:count])
        return Text(self.name, self.sha256, tuple(self.passages[i] for i in chosen))


def read_text(path: Path, bundle: Path) -> Text:
    """A file as ids of the model in `bundle`. Raises TextError, TokenizerError, BundleError."""
    manifest = Manifest.load(bundle)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise TextError(f"{path}: no such file; give a .txt, .jsonl or .ids file") from None
    except OSError as error:
        raise TextError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        content = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextError(f"{path}: not UTF-8 text (byte {error.start}); convert it first") from None
    passages = tuple(np.array(ids, np.int64) for ids in _passages(path, content, bundle, manifest) if ids)
    tokens = sum(len(ids) for ids in passages)
    if tokens < 2:
        what = "is empty" if not content.strip() else f"has only {tokens} token"
        raise TextError(f"{path}: the text {what}; at least 2 tokens are needed")
    _check_ids(path, passages, manifest.vocab_size)
    return Text(path.name, hashlib.sha256(data).hexdigest(), passages)


def _passages(path: Path, content: str, bundle: Path, manifest: Manifest) -> Iterator[list[int]]:
    if path.suffix == ".ids":
        yield from _listed_ids(path, content)
        return
    tokenizer = load_tokenizer(bundle, manifest)
    if tokenizer is None:
        raise TextError(f"{path}: {bundle} has no tokenizer, so it takes token ids only; give a .ids file")
    bos = [] if manifest.chat.bos_token_id is None else [manifest.chat.bos_token_id]
    if path.suffix == ".jsonl":
        dialogue = Dialogue(tokenizer, manifest.chat)
        for turns in _dialogues(path, content):
            yield bos + _encoded(path, partial(dialogue.whole, turns))
    elif content.strip():
        # A corpus is its owner's, who may well have written <|endoftext|> between its texts.
        yield bos + _encoded(path, partial(tokenizer.encode, content, special=True))


def _encoded(path: Path, encode: Callable[[], list[int]]) -> list[int]:
    try:
        return encode()
    except InputError as error:
        raise TextError(f"{path}: {error}") from None


def _listed_ids(path: Path, content: str) -> Iterator[list[int]]:
    for number, line in enumerate(content.splitlines(), 1):
        try:
            yield [int(part) for part in line.replace(",", " ").split()]
        except ValueError:
            raise TextError(f"{path}: line {number} holds something that is not a token id") from None


def _dialogues(path: Path, content: str) -> Iterator[list[tuple[str, str]]]:
    """Each dialogue as (role, text) of its turns."""
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            try:
                yield [_turn(turn["role"], turn["text"]) for turn in json.loads(line)["turns"]]
            except (ValueError, KeyError, TypeError, RecursionError):
                example = '{"turns": [{"role": "user", "text": "Hi!"}, {"role": "assistant", "text": "Hello."}]}'
                raise TextError(f"{path}: line {number} is not a dialogue such as {example}") from None


def _turn(role: str, text: str) -> tuple[str, str]:
    if role not in ROLES or not isinstance(text, str):
        raise ValueError(role)
    return role, text


def _check_ids(path: Path, passages: Sequence[Ids], vocab_size: int) -> None:
    for ids in passages:
        wrong = ids[(ids < 0) | (ids >= vocab_size)]
        if len(wrong):
            raise TextError(
                f"{path}: token id {wrong[0]} is outside 0..{vocab_size - 1}; the text belongs to another tokenizer"
            )
