"""The RWKV World vocabulary, greedy longest match over bytes. Of rrwkv-export, Apache-2.0.

A token is a string of transformers' by its bytes, each as the character of that number (latin-1); one that was added
is its text.
"""

from __future__ import annotations

import ast
import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizer

END = "<|endoftext|>"  # token 0, which has no bytes


class RrwkvWorldTokenizer(PreTrainedTokenizer):
    """vocab_file: a line a token, `<id> <Python literal> <length>`; every byte has one. Raises ValueError."""

    vocab_files_names = {"vocab_file": "rwkv_vocab.txt"}  # noqa: RUF012
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(self, vocab_file: str, **kwargs: Any) -> None:
        self._file = Path(vocab_file)
        self._tokens = _read(self._file)
        self._ids = {token: i for i, token in self._tokens.items()}
        # Ids without bytes have a name too: transformers gives an added token the number of names as its id.
        nameless = {f"<|unused {i}|>": i for i in range(1, self.vocab_size) if i not in self._tokens}
        self._base = {END: 0, **nameless, **{token.decode("latin-1"): i for token, i in self._ids.items()}}
        lengths: dict[bytes, set[int]] = {}
        for token in self._ids:
            lengths.setdefault(token[:2], set()).add(len(token))
        self._lengths = {begin: sorted(found, reverse=True) for begin, found in lengths.items()}
        special = {name: kwargs.pop(name, END) for name in ("bos_token", "eos_token", "pad_token")}
        super().__init__(**special, **kwargs)

    @property
    def vocab_size(self) -> int:
        """Without tokens that were added."""
        return max(self._tokens) + 1

    def get_vocab(self) -> dict[str, int]:
        return {**self._base, **self.added_tokens_encoder}

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        name = f"{filename_prefix}-" if filename_prefix else ""
        out = Path(save_directory) / f"{name}{self.vocab_files_names['vocab_file']}"
        if out.absolute() != self._file.absolute():
            shutil.copyfile(self._file, out)
        return (str(out),)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        return token_ids_0 + (token_ids_1 or [])

    def _add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Raises ValueError for a text that is the string of other bytes, as é is of 0xE9: they would be read as it."""
        for token in map(str, new_tokens or ()):
            if token in self._base and not token.isascii():
                stands = f"{token!r} stands for the bytes {token.encode('latin-1')!r} of the vocabulary"
                raise ValueError(f"{stands}; add a token of ASCII, or with a character above U+00FF")
        return super()._add_tokens(new_tokens, special_tokens=special_tokens)

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        data, at, found = text.encode(), 0, list[str]()
        while at < len(data):
            lengths = self._lengths.get(data[at : at + 2], [])
            length = next((n for n in lengths if data[at : at + n] in self._ids), 1)
            found.append(data[at : at + length].decode("latin-1"))
            at += length
        return found

    def _convert_token_to_id(self, token: str) -> int | None:
        return self._base.get(token)

    def _convert_id_to_token(self, index: int) -> str:
        added = self._added_tokens_decoder.get(index)
        if added is not None:
            return added.content
        return END if index == 0 else self._tokens.get(index, b"").decode("latin-1")

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        added = self._added_tokens_encoder
        written = (token.encode() if token in added else token.encode("latin-1", "replace") for token in tokens)
        return b"".join(written).decode("utf-8", "replace")

    def _decode(self, token_ids: int | list[int], skip_special_tokens: bool = False, **kwargs: Any) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        skipped = {0, *self.all_special_ids} if skip_special_tokens else set[int]()
        return self.convert_tokens_to_string([self._convert_id_to_token(i) for i in ids if i not in skipped])


def _read(path: Path) -> dict[int, bytes]:
    found = dict[int, bytes]()
    for line in path.read_text(encoding="utf-8").splitlines():
        number, _, rest = line.partition(" ")
        token = ast.literal_eval(rest.rpartition(" ")[0])
        found[int(number)] = token if isinstance(token, bytes) else token.encode()
    if missing := {bytes([byte]) for byte in range(256)} - set(found.values()):
        raise ValueError(f"{path}: no token for the byte {min(missing)!r}; take the file that belongs to the model")
    return found
