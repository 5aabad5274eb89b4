"""The one fake of the tests, at the seam below generation: a decoder that thinks what it is told to."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import tokenizers

from rrwkv_runtime.errors import Cancelled, StateError
from rrwkv_runtime.manifest import ChatFormat
from rrwkv_runtime.tokenizer import JsonTokenizer

TOKENIZER = JsonTokenizer.from_file(Path(__file__).parent.parent / "rrwkv_export/assets/rrwkv-chat/tokenizer.json")
EOS = 0
V = 4096


def words_tokenizer(*names, added=3):
    """A tokenizer of words, as MIDI models have it. The first are special tokens, the very first for unknown words."""
    model = tokenizers.models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=names[0])
    package = tokenizers.Tokenizer(model)
    package.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    package.add_special_tokens(list(names[:added]))
    return JsonTokenizer(package)


class FakeState(tuple):
    """The ids seen: what a real state is a digest of."""

    @property
    def position(self):
        return len(self)

    @property
    def nbytes(self):
        return 8 * len(self)

    def save(self, path):
        path.write_text(" ".join(map(str, self)))


class FakeModel:
    """The one fake, at the seam below generation: `think(ids seen) -> next id` in place of a network."""

    def __init__(self, think, tokenizer=TOKENIZER, **chat):
        self.think, self.tokenizer = think, tokenizer
        form = ChatFormat(**{"bos_token_id": 0, "eos_token_id": EOS, "sampling": {"temperature": 0.0}, **chat})
        self.manifest = SimpleNamespace(chat=form, vocab_size=V)

    def initial_state(self):
        return FakeState()

    def decoder(self, state=None):
        return FakeDecoder(self.think, state or FakeState())

    def load_state(self, path):
        try:
            return FakeState(map(int, path.read_text().split()))
        except (OSError, ValueError):
            raise StateError(f"{path}: not a saved state") from None


class FakeDecoder:
    def __init__(self, think, ids):
        self.ids, self._think, self._logits = list(ids), think, np.zeros(V, np.float32)

    def prefill(self, ids, progress=None):
        assert len(ids) > 0
        self.ids += [int(i) for i in ids]
        if progress and progress(len(ids), len(ids)) is False:
            raise Cancelled("stopped")
        return self._next()

    def step(self, token_id):
        self.ids.append(token_id)
        return self._next()

    def state(self):
        return FakeState(self.ids)

    def _next(self):
        self._logits[:] = 0
        self._logits[self._think(self.ids)] = 50
        return self._logits
