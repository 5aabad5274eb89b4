"""The tokens of a new model, byte-level BPE made of its texts or a tokenizer that is there, and its chat format."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rrwkv_export.bundle import TOKENIZER_FILES
from rrwkv_export.checkpoint import TokenizerFile
from rrwkv_export.checkpoint.beside.chat import find_chat, usual_format
from rrwkv_export.checkpoint.beside.endings import find_ending
from rrwkv_export.checkpoint.beside.tokenizer import find_tokenizer
from rrwkv_export.checkpoint.beside.world import SIZES, WORLD
from rrwkv_export.errors import TrainingError
from rrwkv_export.texts import Encoding, written_passages
from rrwkv_runtime.manifest import ChatFormat
from rrwkv_runtime.tokenizer import open_tokenizer

END = "<|endoftext|>"  # token 0, before each passage and after the last
SMALLEST = 257  # every byte, and END
_MOST = 1 << 20


@dataclass(frozen=True)
class Vocabulary:
    """size: of the model, rows that no token has included. file: its name in a checkpoint, and what it holds."""

    size: int
    file: tuple[str, bytes] | None
    chat: ChatFormat

    def write(self, folder: Path) -> None:
        if self.file:
            (folder / self.file[0]).write_bytes(self.file[1])

    def encoding(self, folder: Path) -> Encoding:
        """Of the folder that it was written to. Raises TokenizerError."""
        kinds = {name: kind for kind, name in TOKENIZER_FILES.items()}
        opened = open_tokenizer(kinds[self.file[0]], folder / self.file[0]) if self.file else None
        return Encoding(str(folder), opened, self.chat, self.size)


def made_of(texts: Iterable[Path], size: int) -> Vocabulary:
    """Byte-level BPE of `size` tokens, or of as many as the texts give. Raises TextError."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    form = ChatFormat(bos_token_id=0, eos_token_id=0)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for path in texts for text in written_passages(path, form)), trainer)
    content = tokenizer.to_str(pretty=True).encode()
    return Vocabulary(tokenizer.get_vocab_size(), (TOKENIZER_FILES["tokenizer.json"], content), form)


def found(explicit: str, size: int | None, chat: str | None) -> Vocabulary:
    """A tokenizer that is there, by its path or as "world". size: of the model, None for the tokenizer's own.

    Raises CheckpointError, ConfigError, and TrainingError for a model with too few rows.
    """
    folder = Path(explicit) if Path(explicit).is_dir() else Path(explicit).parent
    tokenizer = find_tokenizer(explicit, folder, _MOST)
    assert tokenizer is not None
    own = tokenizer.open().vocab_size
    least = SIZES[-1] if explicit == WORLD else own
    if size is not None and size < own:
        raise TrainingError(f"--vocabulary {size}: {explicit} has {own:,} tokens; leave it out, or give as many")
    size = size or least
    return Vocabulary(
        size,
        (TOKENIZER_FILES[tokenizer.type], tokenizer.content or tokenizer.path.read_bytes()),
        _chat(chat, tokenizer, folder, size),
    )


def _chat(given: str | None, tokenizer: TokenizerFile, folder: Path, size: int) -> ChatFormat:
    """Whose texts begin with the token that ends them, as RWKV's do, where that stands for nothing else."""
    form = find_chat(
        given,
        folder,
        size,
        lambda: find_ending(folder, None, tokenizer, size),
        usual_format(folder, tokenizer.type == "rwkv-world"),
    )
    end = form.eos_token_id
    if form.bos_token_id is not None or not isinstance(end, int):
        return form
    opened = tokenizer.open()
    stands_for_text = end not in opened.special and opened.decode([end]) != ""
    return form if stands_for_text else dataclasses.replace(form, bos_token_id=end)
