"""Text of several origins as token ids: special tokens come out of trusted parts only.

A tokenizer reads `<|im_end|>` as the token that ends a turn, whoever wrote it; a person who writes it could end turns
and forge others. So text is composed of parts: in a trusted one (a chat format's own strings) special tokens are
tokens; in others they are the characters they are written with. Parts are still encoded as one text, so that merges
across them stay: without special tokens in the others, the ids are those of the parts joined.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
import threading
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import accumulate, groupby
from typing import Any, NamedTuple

from rrwkv_runtime.common.reading import brief
from rrwkv_runtime.errors import NoTokens, TokenizerError


class Part(NamedTuple):
    """Some text, and whether special tokens in it are meant."""

    text: str
    trusted: bool = False


class Joined:
    """Parts one after another, and who wrote which characters."""

    def __init__(self, parts: Iterable[Part]) -> None:
        runs = [(trusted, list(run)) for trusted, run in groupby((p for p in parts if p.text), lambda p: p.trusted)]
        self.parts = [Part("".join(part.text for part in run), trusted) for trusted, run in runs]
        self.text = "".join(part.text for part in self.parts)
        self._ends = list(accumulate(len(part.text) for part in self.parts))

    def trusts(self, start: int, end: int) -> bool:
        """Whether the characters start..end-1 are of one trusted part; white space around them may be of others."""
        inner = self.text[start:end].strip()
        if inner:  # some special tokens take the white space beside them
            start += len(self.text[start:end]) - len(self.text[start:end].lstrip())
            end = start + len(inner)
        at = bisect_right(self._ends, start)
        return at < len(self.parts) and self.parts[at].trusted and end <= self._ends[at]


class JsonComposer:
    """Encodes parts with a tokenizer of the `tokenizers` package."""

    def __init__(self, package: Any) -> None:
        self._package = package
        self._added = package.get_added_tokens_decoder()
        self._special = frozenset(i for i, token in self._added.items() if token.special)
        self._plain: dict[frozenset[int], _PlainTokenizer] = {}

    def encode(self, parts: Sequence[Part], control: Collection[int] = ()) -> list[int]:
        """Ids of the parts joined; those of special tokens, and of `control`, out of trusted parts only."""
        joined = Joined(parts)
        found = encoded(self._package, joined.text)
        ids: list[int] = found.ids
        if all(part.trusted for part in joined.parts) or not self._special.union(control).intersection(ids):
            return ids
        # What stands for unknown words is no control token by being special, or no unknown word could be written.
        forbidden = (self._special - self.unknown) | frozenset(control)
        if all(joined.trusts(*span) for i, span in zip(ids, found.offsets) if i in forbidden):
            return ids
        if forbidden not in self._plain:
            self._plain = {forbidden: _PlainTokenizer(self._package, self._added, forbidden)}
        return self._plain[forbidden].encode(joined)

    @cached_property
    def unknown(self) -> frozenset[int]:
        """The token that stands for what the vocabulary lacks, if there is one."""
        model = json.loads(self._package.to_str())["model"]
        token = model.get("unk_token")
        found = model.get("unk_id") if token is None else self._package.token_to_id(token)
        return frozenset() if found is None else frozenset({found})


class _PlainTokenizer:
    """A copy of a tokenizer that does not see control tokens, but an unguessable alias for each.

    Trusted parts are given with their control tokens written as aliases; then whoever else writes a control token gives
    characters. Where the model's own vocabulary holds a control token as a word, that word is encoded in pieces.
    """

    def __init__(self, package: Any, added: dict[int, Any], control: frozenset[int]) -> None:
        import tokenizers

        self._original, self._added, self._control = package, added, control
        fields = json.loads(package.to_str())
        secret = secrets.token_hex(12)
        alias_of = {i: f"alias{secret}x{i}x" for i in control if package.id_to_token(i) is not None}
        for token in fields["added_tokens"]:
            token["special"] = token["id"] in control
        for i, alias in alias_of.items():
            how = {name: getattr(added[i], name) if i in added else False for name in _MATCHING}
            # A word of its own was one in its part; what follows in another takes nothing away.
            how["single_word"] = False
            fields["added_tokens"].append({"id": 0, "content": alias, "special": False, **how})
        with no_panic("the tokenizer cannot be used"):
            self._package = tokenizers.Tokenizer.from_str(json.dumps(fields))
            self._package.no_truncation()
            self._package.no_padding()
            self._package.encode_special_tokens = True  # which means: as other text
        self._alias_of = alias_of
        self._meant = {self._package.token_to_id(alias): i for i, alias in alias_of.items()}

    def encode(self, joined: Joined) -> list[int]:
        text = "".join(self._aliased(part.text) if part.trusted else part.text for part in joined.parts)
        found = encoded(self._package, text)
        ids: list[int] = []
        for i, (start, end) in zip(found.ids, found.offsets):
            ids += (
                [self._meant[i]]
                if i in self._meant
                else self._in_pieces(text[start:end])
                if i in self._control
                else [i]
            )
        return ids

    def _aliased(self, text: str) -> str:
        """A trusted part with an alias in place of each control token."""
        pieces, at = [], 0
        found = encoded(self._original, text)
        for i, (start, end) in zip(found.ids, found.offsets):
            content = text[start:end].strip() or text[start:end]
            if i in self._alias_of and (i in self._added or content == self._original.id_to_token(i)):
                start = text.index(content, start)
                pieces += [text[at:start], self._alias_of[i]]
                at = start + len(content)
        return "".join([*pieces, text[at:]])

    def _in_pieces(self, word: str) -> Iterator[int]:
        """Ids of a word that must not be one token; what is one whatever is done is left out."""
        halves = [word[:1], word[1:]] if len(word) > 1 else []
        for half in halves:
            yield from (i for i in encoded(self._package, half).ids if i not in self._control and i not in self._meant)


# What the package's kinds of models say then.
_NO_UNKNOWN = re.compile(r"Missing \S* ?token from the vocabulary|`unk_id` is missing")
_MATCHING = ("lstrip", "rstrip", "normalized")


def encoded(package: Any, text: str) -> Any:
    """The package's Encoding of a text, without beginning or end token. Raises TokenizerError, NoTokens."""
    try:
        with no_panic("the tokenizer cannot encode this text"):
            return package.encode(text, add_special_tokens=False)
    except TokenizerError as error:
        if _NO_UNKNOWN.search(str(error)) is None:
            raise
        raise NoTokens from None


@contextmanager
def panics_unsaid() -> Iterator[None]:
    """While a stranger's tokenizer is opened: what Rust writes of a panic, beside our own error, does not reach stderr.

    It writes to file descriptor 2 itself, so for so long that is a file; what else comes there is passed on at the end.
    """
    with _HOLDING, ExitStack() as stack:
        try:
            real, held = os.dup(2), stack.enter_context(tempfile.TemporaryFile())
        except OSError:  # it is closed, or there is no place for a file
            yield
            return
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            if others := _PANIC.sub(b"", held.read()):
                os.write(2, others)


_HOLDING = threading.RLock()
# A panic, its reason and its backtrace, up to the next one or the end.
_PANIC = re.compile(rb"\n?thread '[^\n]*' (?:\(\d+\) )?panicked at .*?(?=\n\n|\Z)\n*", re.DOTALL)


@contextmanager
def no_panic(message: str) -> Iterator[None]:
    """What the `tokenizers` package raises, as TokenizerError: bare Exception, and a panic of its Rust code, which
    derives from BaseException alone, as KeyboardInterrupt does."""
    try:
        yield
    except (TokenizerError, MemoryError):
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime":
            raise TokenizerError(f"{message} ({brief(error, 200)})") from None
        raise
