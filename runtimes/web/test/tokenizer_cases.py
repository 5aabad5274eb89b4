"""Tokenizers of several kinds, and what the Python runtime makes of texts with each, as JSON."""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from rrwkv_runtime.errors import RRWKVError
from rrwkv_runtime.text.plain_text import Part
from rrwkv_runtime.tokenizer import JsonTokenizer

CORPUS = ["The quick brown fox, it's 3.14! naïve café Zoë", "hello hello world", "a b  c   d <think>ok</think>"] * 4
PIECES = ("a", " ", "  ", "\n", "hello", "wor", "ld", "'s", "3", "3.", ".", "é", "🙂", "今")
ODD = ("\u0085", "\ufeff", "\u00a0", "e\u0301")
MARKS = ("<|end|>", "<think>", "</think>", "<|im|>", "<0x41>")


def kinds() -> Iterator[tuple[str, tokenizers.Tokenizer]]:
    special = ["<unk>", "<|end|>"]
    byte_level = tokenizers.Tokenizer(models.BPE())
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    _train(byte_level, trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet))
    byte_level.add_tokens([AddedToken("<think>", normalized=False), AddedToken("   ", normalized=False)])
    byte_level.add_special_tokens([AddedToken("<|im|>", lstrip=True, rstrip=True)])
    yield "byte level", byte_level
    neox = tokenizers.Tokenizer.from_str(byte_level.to_str())
    neox.normalizer = normalizers.NFC()
    yield "byte level, NFC", neox
    fallback = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    fallback.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    fallback.decoder = decoders.Sequence(parts)
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    _train(fallback, trainers.BpeTrainer(vocab_size=340, special_tokens=[*special, *bytes_]))
    fields = json.loads(fallback.to_str())
    fields["added_tokens"] = [token for token in fields["added_tokens"] if token["content"] in special]
    yield "byte fallback", tokenizers.Tokenizer.from_str(json.dumps(fields))
    words = tokenizers.Tokenizer(models.WordLevel({"<unk>": 0, "hello": 1, "world": 2, "a": 3, ".": 4}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.add_special_tokens(["<|end|>"])
    yield "words", words


def _train(made: tokenizers.Tokenizer, trainer: Any) -> None:
    trainer.show_progress = False
    made.train_from_iterator(CORPUS, trainer)


def main() -> None:
    drawn, found = random.Random(1), []
    for name, made in kinds():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tokenizer.json"
            made.save(str(path))
            tokenizer = JsonTokenizer.from_file(path)
        cases = [_case(tokenizer, drawn) for _ in range(150)]
        decoded = []
        for _ in range(80):
            ids = [drawn.randrange(tokenizer.vocab_size) for _ in range(drawn.randrange(1, 8))]
            stream = tokenizer.stream()
            decoded.append([ids, tokenizer.decode(ids), [*(stream.push(i) for i in ids), stream.flush()]])
        found.append({"name": name, "file": made.to_str(), "cases": cases, "decoded": decoded})
    json.dump(found, sys.stdout)


def _case(tokenizer: JsonTokenizer, drawn: random.Random) -> list[Any]:
    parts = [
        Part("".join(drawn.choice((*PIECES, *ODD, *MARKS)) for _ in range(drawn.randrange(1, 8))), drawn.random() < 0.5)
        for _ in range(drawn.randrange(1, 4))
    ]
    control = [i for i in tokenizer.added if drawn.random() < 0.3]
    try:
        ids: list[int] | None = tokenizer.compose(parts, control)
    except RRWKVError:
        ids = None
    return [parts, control, ids]


if __name__ == "__main__":
    main()
