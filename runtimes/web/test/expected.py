"""What the Python runtime makes of a bundle, as JSON, for `parity.test.ts`: `python expected.py BUNDLE STATE`."""

from __future__ import annotations

import json
import sys

from rrwkv_runtime import Chat, Model

PROMPT = "User: Tell me about the sea.\n\nAssistant:"
TEXTS = (
    "Hello there! It's 3.14 — naïve café, Привет 🙂 今日は\u0085x\ufeffy\u200b z\r\n\t\n\n  end",
    "a<|endoftext|>b <|endoftext|>",
    "\x1c\x1f \u2028\u2029\u3000 ﷽ e\u0301 \U0001f468\u200d\U0001f469\u200d\U0001f467 'S 'll'LL",
    "  leading, trailing  ",
)


def main(bundle: str, state: str) -> None:
    model = Model.load(bundle, threads=1, native=False)
    assert model.tokenizer
    ids = model.tokenizer.encode(PROMPT)
    logits, after = model.forward(ids, num_logits=4)
    after.save(state)
    chat = Chat(model, seed=3, max_tokens=24)
    for said in ("Hi! How are you?", "What is <|endoftext|> for?"):
        list(chat.send(said))
    found = {
        "ids": ids,
        "logits": logits.tolist(),
        "greedy": [token.id for token in model.generate(ids, temperature=0, max_tokens=64)],
        "seeded": [token.id for token in model.generate(ids, seed=5, top_p=0.9, top_k=50, max_tokens=64)],
        "turns": chat.turns,
        "position": chat.position,
        "texts": [
            {"text": text, "special": special, "ids": model.tokenizer.encode(text, special)}
            for text in TEXTS
            for special in (False, True)
        ],
        "decoded": [model.tokenizer.decode(range(start, start + 97)) for start in range(0, model.vocab_size - 97, 401)],
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
