"""A context and what may follow it, as token ids: cut where lm-evaluation-harness cuts.

Both are tokenized as one text, since a tokenizer may join what stands on both sides of the cut; white space that ends
the context belongs to what follows. Source: `TemplateLM._encode_pair` of lm-evaluation-harness. Where the text's tokens
do not begin with the context's, it cuts after as many; here, where they part.
"""

from __future__ import annotations

from itertools import takewhile
from typing import NamedTuple

from rrwkv_runtime.errors import InputError, TokenizerError
from rrwkv_runtime.model import Model


class Pair(NamedTuple):
    """Token ids. context: at least one. continuation: what is scored."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


class Encoder:
    """Texts as a bundle reads them: its beginning token stands before each, if it has one.

    special: special tokens written out in a text are tokens, as a chat format's are. Raises TokenizerError for a bundle
    without a tokenizer.
    """

    def __init__(self, model: Model, special: bool = False) -> None:
        if model.tokenizer is None:
            raise TokenizerError(f"{model.path} has no tokenizer, and tasks are text; export it with --tokenizer")
        self._tokenizer, self.special = model.tokenizer, special
        chat = model.manifest.chat
        self._bos = () if chat.bos_token_id is None else (chat.bos_token_id,)
        # What a text without any context begins with.
        self._first = self._bos or tuple(sorted(chat.eos_token_ids))[:1]

    def ids(self, text: str) -> tuple[int, ...]:
        """With nothing before them."""
        return tuple(self._tokenizer.encode(text, self.special)) if text else ()

    def context(self, text: str) -> tuple[int, ...]:
        """What stands before a text that is generated. Raises InputError."""
        return self._begun((*self._bos, *self.ids(text)))

    def pair(self, context: str, continuation: str) -> Pair:
        """Raises InputError where nothing stands before the continuation, and no token begins a text."""
        kept = context.rstrip()
        whole, before = self.ids(context + continuation), self.ids(kept)
        cut = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(whole, before)))
        return Pair(self._begun((*self._bos, *whole[:cut])), whole[cut:])

    def _begun(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        if not ids and not self._first:
            raise InputError("the bundle names no token that begins a text, so a text needs a context before it")
        return ids or self._first
