"""The files of the tasks that come along, made of the evaluation dialogues: the same bytes every time.

python -m benchmarks.quality.task_files [--out rrwkv_export/assets/tasks]

next_reply   which of four replies a dialogue goes on with. The three others were said in other dialogues of the same
             source and are about as long; none of them shares a rare word with what was said before.
last_word    the last word of a turn, as LAMBADA has it: a rare one that was said before in the dialogue, but not in
             that turn, so that who remembers the dialogue can know it.

A rare word is one of at least four letters that is in less than one in twelve of the dialogues.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rrwkv_export.evaluate.tasks import FOLDER, LAST_WORD, NEXT_REPLY
from rrwkv_export.quantize.recipes import EVALUATION_TEXT

CHOICES, REPLY_ITEMS, WORD_ITEMS = 4, 128, 160
_BEFORE = 3  # turns before a reply
_LONGEST = 600  # characters of what is said before
_REPLY_WORDS = range(5, 26)
_RARE = 12
_SPEAKERS = {"user": "User: ", "assistant": "Assistant: "}
_ENDED = re.compile(r"(.*\s)?([A-Za-z]{4,})[.!?]*$", re.S)


@dataclass(frozen=True)
class Dialogue:
    """turns: (role, text), white space as single spaces."""

    source: str
    turns: tuple[tuple[str, str], ...]

    def written(self, first: int, last: int) -> str:
        """Turns from `first` to before `last`, as the usual chat format has them."""
        return "".join(f"{_SPEAKERS[role]}{text}\n\n" for role, text in self.turns[first:last])


def read(path: Path) -> list[Dialogue]:
    records = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [
        Dialogue(r["source"], tuple((turn["role"], " ".join(turn["text"].split())) for turn in r["turns"]))
        for r in records
    ]


def words(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Za-z]{4,}", text)}


def rare_words(dialogues: Sequence[Dialogue]) -> set[str]:
    counts = Counter(word for each in dialogues for word in words(" ".join(text for _, text in each.turns)))
    return {word for word, count in counts.items() if count * _RARE < len(dialogues)}


def next_reply(dialogues: Sequence[Dialogue], rare: set[str], rng: random.Random) -> Iterator[dict[str, object]]:
    """At most two of a dialogue, far apart."""
    said = [(d, i) for d, each in enumerate(dialogues) for i, (role, _) in enumerate(each.turns) if role == "assistant"]
    for d, each in enumerate(dialogues):
        fit = [i for i in range(_BEFORE, len(each.turns)) if each.turns[i][0] == "assistant" and _is_reply(each, i)]
        for i in dict.fromkeys((*fit[:1], *fit[len(fit) // 2 :][:1])):
            context, reply = each.written(i - _BEFORE, i), each.turns[i][1]
            others = [
                dialogues[other].turns[j][1]
                for other, j in said
                if other != d
                and dialogues[other].source == each.source
                and 0.75 <= len(dialogues[other].turns[j][1]) / len(reply) <= 1.33
                and not words(dialogues[other].turns[j][1]) & words(context) & rare
            ]
            others = sorted(set(others) - {reply})
            if len(others) < 4 * CHOICES or len(context) > _LONGEST:
                continue
            choices = [reply, *rng.sample(others, CHOICES - 1)]
            rng.shuffle(choices)
            context = f"{context}{_SPEAKERS['assistant'].rstrip()}"
            yield {"source": each.source, "context": context, "choices": choices, "answer": choices.index(reply)}


def _is_reply(dialogue: Dialogue, i: int) -> bool:
    return len(dialogue.turns[i][1].split()) in _REPLY_WORDS


def last_word(dialogues: Sequence[Dialogue], rare: set[str]) -> Iterator[dict[str, object]]:
    """At most three of a dialogue, each of a word of its own."""
    for each in dialogues:
        found: dict[str, dict[str, object]] = {}
        for i, (role, text) in enumerate(each.turns):
            match = _ENDED.match(text)
            if match is None or not match[1] or len(text.split()) < 4:
                continue
            before, word = match[1], match[2]
            earlier = [j for j in range(i) if word.lower() in words(each.turns[j][1])]
            if word.lower() not in rare or not earlier or word.lower() in words(before):
                continue
            context = each.written(max(0, min(earlier[-1], i - 2)), i) + _SPEAKERS[role] + before.rstrip()
            if len(context) <= _LONGEST:
                found.setdefault(word.lower(), {"source": each.source, "context": context, "word": word})
        yield from list(found.values())[:3]


def chosen(items: Sequence[dict[str, object]], count: int, rng: random.Random) -> list[dict[str, object]]:
    """So many of them, in their order."""
    kept = sorted(rng.sample(range(len(items)), min(count, len(items))))
    return [items[i] for i in kept]


def write(path: Path, items: Sequence[dict[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(item, ensure_ascii=False)}\n" for item in items), encoding="utf-8")


def main(out: Path) -> None:
    dialogues, rng = read(EVALUATION_TEXT), random.Random(0)
    rare = rare_words(dialogues)
    made = {
        NEXT_REPLY.file: (list(next_reply(dialogues, rare, rng)), REPLY_ITEMS),
        LAST_WORD.file: (list(last_word(dialogues, rare)), WORD_ITEMS),
    }
    for name, (items, count) in made.items():
        kept = chosen(items, count, rng)
        write(out / name, kept)
        print(f"{name}: {len(kept)} of {len(items)}, {(out / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="a folder that is there")
    main(parser.parse_args().out)
