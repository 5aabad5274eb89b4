"""Make the conformance bundle and its vectors anew: `python tests/conformance/make.py`, with the build side installed.

Everything follows from seeds. Choices of tokens are held against logits that are off by more than any runtime's may be,
so that a runtime which is right within the tolerance chooses the same tokens.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from checkpoint_files import random_weights, write_rrwkv  # noqa: E402

from rrwkv_export.architectures.config import MediumConfig  # noqa: E402
from rrwkv_export.architectures.mediums import AdaptiveInterval  # noqa: E402
from rrwkv_export.architectures.rwkv4 import RWKV4Config  # noqa: E402
from rrwkv_export.checkpoint import open_checkpoint  # noqa: E402
from rrwkv_export.export import export  # noqa: E402
from rrwkv_runtime.bundle.canonical import canonical_json  # noqa: E402
from rrwkv_runtime.chat import Chat  # noqa: E402
from rrwkv_runtime.execution.state_values import fitted, other_form  # noqa: E402
from rrwkv_runtime.generate import Token, generate  # noqa: E402
from rrwkv_runtime.manifest import ChatFormat, Thinking  # noqa: E402
from rrwkv_runtime.model import Model  # noqa: E402
from rrwkv_runtime.sampling import generator  # noqa: E402
from rrwkv_runtime.text.thinking import ThoughtAndAnswer  # noqa: E402
from rrwkv_runtime.text.world_vocabulary import write_world_vocabulary  # noqa: E402
from rrwkv_runtime.tokenizer import Tokenizer, WorldTokenizer  # noqa: E402

BUNDLE, VECTORS, STATE = HERE / "bundle", HERE / "vectors.json", HERE / "after-9.state"
WORLD = HERE / "rwkv_vocab.txt"
CONFIG = RWKV4Config(320, 16, 2, 32, medium=MediumConfig(interval=4, slots=2, key_size=8))
FOLLOWING = replace(CONFIG, vocab_size=40, medium=MediumConfig(AdaptiveInterval(2, 6), slots=2, key_size=8))
TOLD = [5, 30, 31, 20, 17, 3, 39, 26, 0, 9, 10, 11, 7]
ADAPTIVE = HERE / "adaptive"
TOLERANCE = 2e-5  # of the largest magnitude among the values compared
CHAT = {
    "user": "User: ",
    "assistant": "Bot:",
    "turn_end": "\n\n",
    "bos_token_id": 0,
    "eos_token_id": [0, 1],
    "sampling": {"temperature": 0.9, "top_p": 0.9},
}
CORPUS = (
    "User: Hello there!\n\nBot: Hi. How are you today?\n\nUser: I am well, thanks.\n\nBot: That is good to hear.\n\n",
    "Zoë ate crème brûlée at the café — naïve, she said. Привет, мир! 今日は世界。 The weather is fine 🙂🙂\n",
)
TEXTS = ("", "Hello there!", "a\n\n b", "naïve café", "Привет 🙂", "今日は", "x<|end|>y", "\r\n\tIt's 3.14")
IDS = [5, 40, 41, 200, 17, 3, 319, 260, 0, 99, 100, 101, 7]
PENALTIES = {"repetition_penalty": 1.2, "presence_penalty": 0.4, "frequency_penalty": 0.4, "penalty_decay": 0.9}
GENERATED: dict[str, dict[str, Any]] = {
    "greedy": {"prompt": "User: Hello", "temperature": 0.0, "max_tokens": 24},
    "penalties": {"prompt": "User: Hello", "temperature": 0.0, "max_tokens": 24, **PENALTIES, "penalty_window": 8},
    "own distribution": {"prompt": IDS, "seed": 1, "max_tokens": 24},
    "narrowed": {
        "prompt": IDS,
        "seed": 2,
        "max_tokens": 24,
        "temperature": 1.5,
        "top_k": 40,
        "top_p": 0.8,
        "min_p": 0.02,
    },
    "biased to its end": {"prompt": "", "seed": 3, "max_tokens": 24, "logit_bias": {"0": 5.0, "40": -100.0}},
}
CHATS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0, "max_tokens": 7},
    "seeded": {"seed": 7, "max_tokens": 16},
    "a turn that ends itself": {"seed": 5, "max_tokens": 40, "logit_bias": {"201": 5.0}, "system": "Be brief."},
}
# Pieces of replies, and what stands before them in the prompt.
THOUGHTS = (
    ("", [" <th", "ink", ">", " Hm, 1 <", " 2.", "\n\nYes.\n</", "think>", "\n\n", " Hel", "lo\n", "\nUser:"]),
    ("", [" Hello", " <think>", "\n\n"]),
    ("", ["\n\n<think>"]),
    ("", ["<think>Hm", "\n\nUs", "er: hi"]),
    ("", ["<think>Hm ", "</thi"]),
    (" <think", [">Hm.</think>Hello", "\n"]),
    (" <think", ["ing", "\n\n"]),
    (" <think", []),
    (" <think>\n</think", [">\nHello", "\n", "\n"]),
    (" <think>No.</think", ["> Hello"]),
)
# The random model begins every greedy reply with "U@&".
TAUGHT = {"open": "U", "skip": "U@&", "begin": "U", "end": "&", "kept": False}
THINKING: dict[str, tuple[dict[str, Any], str]] = {
    "of itself": (TAUGHT, "auto"),
    "made to": (TAUGHT, "on"),
    "made not to": (TAUGHT, "off"),
    "of itself, kept": ({**TAUGHT, "kept": True}, "auto"),
    "made to, kept": ({**TAUGHT, "kept": True}, "on"),
    "never ending": ({**TAUGHT, "end": "never"}, "auto"),
}
SAID = ("Hello there!", "It ends\n\n\nhere: <|end|>", "Привет 🙂")


Case = dict[str, Any]


def make() -> None:
    with tempfile.TemporaryDirectory() as folder:
        _write_bundle(Path(folder))
        write_adaptive(Path(folder))
    WORLD.write_text(write_world_vocabulary(_world_vocabulary()), encoding="utf-8")
    write_vectors()


def write_vectors() -> None:
    """What a runtime must make of the bundle that is there."""
    model = Model.load(BUNDLE, threads=1, native=False)
    vectors = {
        "bundle_id": model.manifest.bundle_id,
        "tolerance": TOLERANCE,
        "canonical_json": list(_canonical()),
        "tokenizers": {
            "bundle/tokenizer.json": _text(model.tokenizer),
            WORLD.name: _text(WorldTokenizer.from_file(WORLD)),
        },
        "logits": [_logits(model, ids) for ids in (IDS, [0], IDS * 3)],
        "states": [_state(model, ids) for ids in ([], IDS[:3], IDS[:4], IDS[:9], IDS * 3)],
        "state_file": _state_file(model),
        "conversion": _conversion(model),
        "random": [{"seed": seed, "doubles": _drawn(generator(seed))} for seed in (0, 1, 2**40)],
        "generate": [_settled(model, _generated, {"name": n, **options}) for n, options in _with_stops(model)],
        "chat": [_settled(model, _chat, {"name": n, "options": options}) for n, options in CHATS.items()],
        "thoughts": [_parted(*reply) for reply in THOUGHTS],
        "thinking": [
            _settled(model, _chat, {"name": n, "thinking": thinking, "options": {**CHATS["greedy"], "think": think}})
            for n, (thinking, think) in THINKING.items()
        ],
    }
    VECTORS.write_text(_lines(vectors), encoding="utf-8")
    print(f"{sum(path.stat().st_size for path in HERE.rglob('*') if path.is_file()):,} bytes")


def write_adaptive(folder: Path) -> None:
    """A bundle whose segments end where enough was told, and what a runtime must make of it."""
    source = write_rrwkv(folder / "adaptive", FOLLOWING, random_weights(FOLLOWING, 1))
    export(open_checkpoint(source), folder / "following", ort=False, tokens=40)
    shutil.rmtree(ADAPTIVE, ignore_errors=True)
    shutil.copytree(folder / "following", ADAPTIVE / "bundle")
    model = Model.load(ADAPTIVE / "bundle", threads=1, native=False)
    vectors = {
        "bundle_id": model.manifest.bundle_id,
        "logits": [_logits(model, ids) for ids in (TOLD, TOLD * 3)],
        "states": [_state(model, ids) for ids in ([], TOLD[:3], TOLD[:9], TOLD * 3)],
    }
    (ADAPTIVE / "vectors.json").write_text(_lines(vectors), encoding="utf-8")


def _write_bundle(folder: Path) -> None:
    tokenizer = folder / "tokenizer.json"
    _tokenizer().save(str(tokenizer))
    source = write_rrwkv(folder / "checkpoint", CONFIG, random_weights(CONFIG, 1), tokenizer=tokenizer)
    (source / "chat.json").write_text(json.dumps(CHAT))
    export(open_checkpoint(source), folder / "bundle", target="mobile", ort=False, tokens=40)
    shutil.rmtree(BUNDLE, ignore_errors=True)
    shutil.copytree(folder / "bundle", BUNDLE)


def _tokenizer() -> tokenizers.Tokenizer:
    """Byte-level BPE: three special tokens, the 256 bytes, and merges up to 320."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG.vocab_size,
        special_tokens=["<|begin|>", "<|end|>", "<|odd|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(CORPUS, trainer)
    return made


def _world_vocabulary() -> dict[int, bytes]:
    """All bytes from id 1 on, and longer tokens that begin alike; some are not whole characters."""
    words = ["He", "Hell", "Hello", " th", " the", " there", "ï", "é", "ве", "Прив", "今日", "\n\n", "🙂", "it's"]
    longer = [*(word.encode() for word in words), "今".encode()[:2], "🙂".encode()[:3], "🙂".encode()[3:] + b"!"]
    return dict(enumerate([*(bytes([byte]) for byte in range(256)), *longer], start=1))


def _canonical() -> Iterator[dict[str, Any]]:
    for value in (
        {"b": [1.0, -1e30, 1e21, 0.000001, 1e-7, 4.50], "a": 'é\n"\\/', "\U0001f600": None, "\ufb33": True},
        [-0.0],
    ):
        text = canonical_json(value)
        yield {"value": value, "text": text.decode(), "sha256": hashlib.sha256(text).hexdigest()}


def _text(tokenizer: Tokenizer | None) -> dict[str, Any]:
    assert tokenizer
    smile = tokenizer.encode("🙂")
    pieces = [tokenizer.encode(text) for text in TEXTS]
    streams = [
        *pieces[3:6],
        [*tokenizer.encode("ok "), *_bytes(tokenizer, "🙂".encode()[:2]), *tokenizer.encode("ok")],
    ]
    streams += [_bytes(tokenizer, "é🙂今".encode()), _bytes(tokenizer, b"\xf0\x9f\x99"), [*smile, 1, *smile]]
    return {
        "encode": [
            {"text": t, "special": special, "ids": tokenizer.encode(t, special)}
            for t in TEXTS
            for special in (False, True)
        ],
        "stream": [_streamed(tokenizer, ids) for ids in streams],
    }


def _bytes(tokenizer: Tokenizer, data: bytes) -> list[int]:
    """Ids of single bytes."""
    if isinstance(tokenizer, WorldTokenizer):
        return [byte + 1 for byte in data]
    from rrwkv_runtime.text.text_stream import byte_of_character

    character_of = {byte: character for character, byte in byte_of_character().items()}
    vocabulary = _tokenizer().get_vocab()
    return [vocabulary[character_of[byte]] for byte in data]


def _streamed(tokenizer: Tokenizer, ids: Sequence[int]) -> dict[str, Any]:
    stream = tokenizer.stream()
    pieces = [stream.push(i) for i in ids]
    return {"ids": list(ids), "pieces": pieces, "flush": stream.flush(), "decoded": tokenizer.decode(ids)}


def _logits(model: Model, ids: Sequence[int]) -> dict[str, Any]:
    rows = min(len(ids), 5)
    return {"ids": list(ids), "num_logits": rows, "logits": _numbers(model.forward(ids, num_logits=rows)[0])}


def _state(model: Model, ids: Sequence[int]) -> dict[str, Any]:
    state = model.forward(ids)[1] if ids else model.initial_state()
    return {"ids": list(ids), "values": {name: _numbers(value) for name, value in state.values.items()}}


def _state_file(model: Model) -> dict[str, Any]:
    state = model.forward(IDS[:9])[1]
    state.save(STATE)
    return {"file": STATE.name, "after": IDS[:9], "then": IDS[9:], "logits": _numbers(model.forward(IDS[9:], state)[0])}


def _conversion(model: Model) -> dict[str, Any]:
    """wkv of the bundle's form and of the other, both ways; at the first token, and after some."""
    manifest, found = model.manifest, {}
    other = replace(manifest, states=other_form(manifest.states))
    for name, ids in {"after no token": [], "after 9 tokens": IDS[:9]}.items():
        given = (model.forward(ids)[1] if ids else model.initial_state()).values
        plain = fitted(given, other)
        back = fitted(plain, manifest)
        found[name] = {"stable": _numbers(given["wkv"]), "plain": _numbers(plain["wkv"]), "back": _numbers(back["wkv"])}
    return found


def _drawn(random: np.random.Generator) -> list[float]:
    return [random.random() for _ in range(6)]


def _with_stops(model: Model) -> Iterator[tuple[str, dict[str, Any]]]:
    """GENERATED, and the greedy text once more up to a string that two of its tokens share."""
    yield from GENERATED.items()
    tokens = list(generate(model, **{**GENERATED["greedy"], "stop": ()}))
    text = "".join(token.text for token in tokens)
    yield "a stop string", {**GENERATED["greedy"], "stop": [text[9:12], "never there"]}
    yield "a stop id", {**GENERATED["greedy"], "stop_ids": [tokens[6].id]}


def _generated(model: Any, case: dict[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in case.items() if name != "name"}
    return {**case, "tokens": _tokens(generate(model, **with_biases(options)))}


def _chat(model: Any, case: dict[str, Any]) -> dict[str, Any]:
    chat, turns = Chat(taught(model, case), **with_biases(case["options"])), []
    for said in SAID:
        tokens = _tokens(chat.send(said))
        turns.append({"user": said, "tokens": tokens, "reply": chat.turns[-1][1], "position": chat.position})
    return {**case, "turns": turns}


class Taught:
    """A model with another chat format."""

    def __init__(self, model: Any, chat: ChatFormat) -> None:
        self._model, self.manifest = model, replace(model.manifest, chat=chat)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def taught(model: Any, case: Case) -> Any:
    """A model that thinks as a case says, if it says so."""
    if "thinking" not in case:
        return model
    return Taught(model, replace(model.manifest.chat, thinking=Thinking(**case["thinking"])))


def _parted(begun: str, pieces: Sequence[str]) -> Case:
    return {"begun": begun, "pieces": list(pieces), **parted(begun, pieces)}


def parted(begun: str, pieces: Sequence[str]) -> Case:
    """What a reply in pieces shows of its thought and its answer after each piece and at its end, and what ended it."""
    reply, shown = ThoughtAndAnswer(Thinking(), begun, ["\n\n"], ["\n\nUser:"]), []
    for piece in pieces:
        text = reply.push(piece)
        shown.append([reply.take_thought(), text])
    text = "" if reply.matched else reply.flush()
    return {"shown": shown, "flush": [reply.take_thought(), text], "stop": reply.matched}


def with_biases(options: dict[str, Any]) -> dict[str, Any]:
    """Options as JSON has them, whose names of tokens are strings."""
    biases = {int(i): bias for i, bias in options.get("logit_bias", {}).items()}
    return {**options, "logit_bias": biases} if biases else options


def _tokens(tokens: Iterable[Token]) -> list[dict[str, Any]]:
    return [
        {"id": t.id, "text": t.text, "logprob": round(t.logprob, 6), "finish": t.finish}
        | ({"thought": t.thought} if t.thought else {})
        for t in tokens
    ]


class _Shaken:
    """A model whose logits are off, each by up to TOLERANCE of the largest."""

    def __init__(self, model: Any, seed: int) -> None:
        self._model, self._random = model, np.random.default_rng(seed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def decoder(self, state: Any = None) -> Any:
        made = _Shaken(self._model.decoder(state), 0)
        made._random = self._random
        return made

    def step(self, token_id: int) -> np.ndarray:
        return self._shake(self._model.step(token_id))

    def prefill(self, ids: Sequence[int], progress: Any = None) -> np.ndarray:
        return self._shake(self._model.prefill(ids, progress))

    def _shake(self, logits: np.ndarray) -> np.ndarray:
        off = self._random.uniform(-TOLERANCE, TOLERANCE, logits.shape) * np.abs(logits).max()
        return (logits + off).astype(np.float32)


def _settled(model: Model, run: Callable[[Any, Case], Case], case: Case) -> Case:
    """What it gives, with the first seed with which logits that are off give the same tokens."""
    while True:
        found = run(model, case)
        if all(_ids(run(_Shaken(model, shake), case)) == _ids(found) for shake in range(20)):
            return found
        options = case.get("options", case)
        if "seed" not in options:
            raise SystemExit(f"{case['name']}: a choice hangs on a hair; take another text")
        options["seed"] += 1


def _ids(found: dict[str, Any]) -> list[int]:
    turns = found.get("turns", [found])
    return [token["id"] for token in itertools.chain.from_iterable(turn["tokens"] for turn in turns)]


def _numbers(array: np.ndarray) -> Any:
    """Nested lists; of float32, as few digits as tell every number."""
    if array.dtype.kind != "f":
        return array.tolist()
    return [_numbers(row) for row in array] if array.ndim > 1 else [float(f"{x:.9g}") for x in array]


def _lines(vectors: dict[str, Any]) -> str:
    """A line for each case."""
    said = []
    for name, value in vectors.items():
        if isinstance(value, list):
            cases = ",\n  ".join(json.dumps(case, ensure_ascii=False) for case in value)
            said.append(f' "{name}": [\n  {cases}\n ]')
        else:
            said.append(f' "{name}": {json.dumps(value, ensure_ascii=False)}')
    return "{\n" + ",\n".join(said) + "\n}\n"


if __name__ == "__main__":
    make()
