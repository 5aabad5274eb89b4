"""Which tokenizer goes with a checkpoint: found, told by what it holds, opened once as the runtime will, and held
against the model's vocabulary in both directions."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rrwkv_export.checkpoint.beside.world import SETTINGS, SIZES, WORLD, is_worlds, named_tokenizer, shipped_vocabulary
from rrwkv_export.errors import CheckpointError
from rrwkv_runtime.common.reading import brief, decode_utf8, read_bounded
from rrwkv_runtime.errors import InputError, TokenizerError
from rrwkv_runtime.text.plain_text import panics_unsaid
from rrwkv_runtime.text.world_vocabulary import (
    ORIGINAL,
    looks_like_world_vocabulary,
    parse_world_vocabulary,
    write_world_vocabulary,
)
from rrwkv_runtime.tokenizer import Tokenizer, WorldTokenizer, open_tokenizer

Kind = Literal["tokenizer.json", "rwkv-world"]
_OWN = "tokenizer.json"
_LARGEST_FILE = 64 << 20  # bytes
_VOCABULARY_NAME = re.compile(r".*vocab.*\.(txt|json)", re.IGNORECASE)
_SHOWN = 3  # tokens that a line names
_TRIED = 64  # tokens of a tokenizer that knows no English
# How many tokens the models have that RWKV-4 was trained as, and their tokenizers.
_KNOWN = (
    (range(20_095, 20_097), "a MIDI model, with tokenizer-midi.json"),
    (range(50_254, 50_433), "one trained on the Pile, with 20B_tokenizer.json"),
    (SIZES, f"a World model: --tokenizer {WORLD}"),
)


@dataclass(frozen=True)
class TokenizerFile:
    """type: "tokenizer.json" (Hugging Face tokenizers) or "rwkv-world" (the RWKV World vocabulary).

    content: what a bundle gets, which may be written otherwise than the file at `path`, or have fewer tokens. notes:
    what whoever exports the checkpoint should know of it, each in one line.
    """

    type: Kind
    path: Path
    content: bytes = field(default=b"", compare=False, repr=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def open(self) -> Tokenizer:
        """As a runtime will. Raises TokenizerError."""
        if self.type == "rwkv-world" and self.content:  # which is read already, and may be none of `path`'s bytes
            return WorldTokenizer(parse_world_vocabulary(self.content.decode(), str(self.path)))
        return open_tokenizer(self.type, self.path)


def find_tokenizer(explicit: Path | str | None, folder: Path, vocab_size: int) -> TokenizerFile | None:
    """The one that was asked for, a file or a folder that has one, or else the folder's own; None if that has none.

    explicit: also "world", for the World vocabulary that comes along. The folder's own is its tokenizer.json, or the
    World vocabulary under any name with "vocab" in it; or the one that comes along, for a World model whose settings
    name its tokenizer. Raises CheckpointError if it is unusable or another model's.
    """
    if explicit == WORLD:
        return _fitted(_shipped(), vocab_size, "give the model's own with --tokenizer")
    explicit = None if explicit is None else Path(explicit)
    if explicit is not None and not explicit.is_dir():
        if not explicit.exists():
            raise CheckpointError(
                f"{explicit}: no such tokenizer file; give a tokenizer.json, {ORIGINAL}, or the word {WORLD} for the "
                "World vocabulary"
            )
        if not explicit.is_file():  # it is read more than once
            raise CheckpointError(f"{explicit}: a pipe or a device; save the tokenizer to a file and give that")
        return _fitted(read_tokenizer(explicit), vocab_size, "give the model's own with --tokenizer")
    own = next(_own(explicit or folder), None)
    if own is not None:
        remedy = "give the model's own with --tokenizer, or take this file away for a bundle that works on token ids"
        return _fitted(own, vocab_size, remedy)
    if vocab_size in SIZES and is_worlds(named := named_tokenizer(explicit or folder)):
        note = (
            f"{(explicit or folder) / SETTINGS} names {named!r}, whose vocabulary is not in the folder or not whole: "
            "it is the World vocabulary, which comes along; --tokenizer takes another"
        )
        return _fitted(replace(_shipped(), notes=(note,)), vocab_size, "give the model's own with --tokenizer")
    if explicit is not None:
        raise CheckpointError(f"{explicit}: no tokenizer.json and no World vocabulary is in this folder; give a file")
    return None


def usually(vocab_size: int) -> str | None:
    """What a model with so many tokens is in most cases, and its tokenizer."""
    return next((f"a model of {vocab_size:,} is usually {what}" for sizes, what in _KNOWN if vocab_size in sizes), None)


def _shipped() -> TokenizerFile:
    return TokenizerFile("rwkv-world", *shipped_vocabulary())


def _own(folder: Path) -> Iterator[TokenizerFile]:
    for path in (folder / _OWN, folder / ORIGINAL):
        if path.is_file():
            yield read_tokenizer(path)
    # Under other names a vocabulary may be another kind's, such as BERT's vocab.txt.
    for path in sorted(folder.iterdir()):
        if _VOCABULARY_NAME.fullmatch(path.name) and path.is_file():
            try:
                found = read_tokenizer(path)
            except CheckpointError:
                continue
            if found.type == "rwkv-world":
                yield found


def read_tokenizer(path: Path) -> TokenizerFile:
    """A tokenizer file, told by what it holds. Raises CheckpointError saying what else it is."""
    try:
        data = read_bounded(path, _LARGEST_FILE)
        if data.startswith(b"version https://git-lfs"):
            raise CheckpointError(f"{path}: a Git LFS pointer, not the tokenizer; fetch it with `git lfs pull`")
        text = decode_utf8(data, str(path))
    except InputError as error:
        hint = ""
        if path.suffix == ".model":
            hint = f"; a SentencePiece model is not read: {save_as_json(path.parent)}"
        raise CheckpointError(f"{error}{hint}") from None
    if looks_like_world_vocabulary(text):
        try:
            content = write_world_vocabulary(parse_world_vocabulary(text, str(path))).encode()
        except TokenizerError as error:
            raise CheckpointError(str(error)) from None
        return TokenizerFile("rwkv-world", path, content)
    if reason := _why_no_json_tokenizer(text):
        raise CheckpointError(f"{path}: {reason}")
    return TokenizerFile("tokenizer.json", path, data)


def save_as_json(folder: Path) -> str:
    """How a tokenizer that only transformers reads becomes one that is read here."""
    return (
        f"save it as tokenizer.json with transformers: AutoTokenizer.from_pretrained({str(folder)!r})"
        ".save_pretrained(FOLDER)"
    )


def _why_no_json_tokenizer(text: str) -> str | None:
    """What a text is that is no tokenizer.json; None if it is one."""
    if not text.strip():
        return "the file is empty; download it again"
    if not text.lstrip().startswith("{"):
        return f"neither a tokenizer.json nor the World vocabulary ({ORIGINAL}) by what it holds"
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            return f"several JSON values, as JSON lines; give a tokenizer.json, or the World vocabulary ({ORIGINAL})"
        return f"not valid JSON ({brief(error)}), so not a tokenizer.json; download it again"
    if isinstance(fields.get("model"), dict):
        return None
    if "tokenizer_class" in fields:
        return "the settings of a tokenizer, not the tokenizer; give the tokenizer.json beside it"
    if fields and all(type(value) is int for value in fields.values()):
        return "the vocabulary of a tokenizer without its rules; give its tokenizer.json"
    return f"not a tokenizer.json, which has a model; give one, or the World vocabulary ({ORIGINAL})"


def _fitted(found: TokenizerFile, vocab_size: int, remedy: str) -> TokenizerFile:
    """The tokenizer as this model takes it, with notes. Raises CheckpointError for one that it does not."""
    size = _size(found)
    if size > vocab_size and found.type == "tokenizer.json" and (fewer := _without_added(found, vocab_size)):
        found, size = fewer, _size_of_fewer(fewer, remedy)
    usual = f"; {known}" if (known := usually(vocab_size)) else ""
    if size > vocab_size:
        raise CheckpointError(
            f"{found.path}: has {size:,} tokens and the model only {vocab_size:,} tokens, so it is another model's; "
            f"{remedy}{usual}"
        )
    if not _padded(size, vocab_size):
        note = (
            f"{found.path} has {size:,} tokens and the model {vocab_size:,}; if the model was not trained with it, "
            f"all text is gibberish, and --tokenizer takes the right one{usual}"
        )
        found = replace(found, notes=(*found.notes, note))
    return found


def _padded(size: int, vocab_size: int) -> bool:
    """Whether the rows that have no token may be there to make their number round.

    20,095 of 20,096, 50,277 of 50,304 or 50,432 and 65,530 of 65,536 are such; 50,277 of 65,536 is another tokenizer.
    """
    return vocab_size <= -(-size // 128) * 128 or vocab_size - size <= min(1024, size // 32)


def _size(found: TokenizerFile) -> int:
    """How many ids the tokenizer spans; it is opened as a runtime will, and tried."""
    try:
        tokenizer = found.open()
    except TokenizerError as error:
        raise CheckpointError(f"{error}; download it again") from None
    if not _is_usable(tokenizer):
        raise CheckpointError(f"{found.path}: makes no tokens of any text; download it again")
    return tokenizer.vocab_size


def _size_of_fewer(fewer: TokenizerFile, remedy: str) -> int:
    """As `_size`, of what is left of a tokenizer in its content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _OWN
        path.write_bytes(fewer.content)
        try:
            tokenizer = open_tokenizer(fewer.type, path)
        except TokenizerError:
            tokenizer = None
    if tokenizer is None or not _is_usable(tokenizer):
        raise CheckpointError(
            f"{fewer.path}: has tokens that the model has no rows for, and is no tokenizer without them; {remedy}"
        )
    return tokenizer.vocab_size


def _is_usable(tokenizer: Tokenizer) -> bool:
    """Whether it makes tokens of English or, where it knows none, of what its own tokens say."""
    own = (tokenizer.decode([i]) for i in range(min(tokenizer.vocab_size, _TRIED)))
    with panics_unsaid():
        for text in ("User: hello", *own):
            with suppress(TokenizerError):  # a word without a token, where none stands for such words
                if text and tokenizer.encode(text):
                    return True
    return False


def _without_added(found: TokenizerFile, vocab_size: int) -> TokenizerFile | None:
    """A tokenizer.json less the added tokens that the model has no rows for; None if it has none such."""
    fields: dict[str, Any] = json.loads(decode_utf8(found.content, str(found.path)))
    added = [token for token in fields.get("added_tokens") or () if isinstance(token, dict)]
    beyond = {token.get("content"): token.get("id") for token in added if _is_beyond(token.get("id"), vocab_size)}
    if not beyond or fields["model"].get("unk_token") in beyond:  # without which some words have no token at all
        return None
    fields["added_tokens"] = [token for token in added if token.get("content") not in beyond]
    fields["padding"] = None
    if isinstance(vocabulary := fields["model"].get("vocab"), dict):  # an added token may be in the vocabulary too
        kept = {token: i for token, i in vocabulary.items() if token not in beyond or not _is_beyond(i, vocab_size)}
        fields["model"]["vocab"] = kept
    named = ", ".join(f"{token!r} ({i})" for token, i in list(beyond.items())[:_SHOWN])
    more = f" and {len(beyond) - _SHOWN} more" if len(beyond) > _SHOWN else ""
    note = (
        f"{found.path}: {len(beyond)} added tokens that the model has no rows for are left out of the bundle's copy: "
        f"{named}{more}"
    )
    return replace(found, content=json.dumps(fields, ensure_ascii=False).encode(), notes=(note,))


def _is_beyond(token_id: object, vocab_size: int) -> bool:
    return isinstance(token_id, int) and token_id >= vocab_size
