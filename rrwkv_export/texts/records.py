"""Records of .jsonl and .json files, in the forms that data sets for language models have.

    {"turns": [{"role": "user", "text": "…"}, …]}               a dialogue
    {"messages": [{"role": "user", "content": "…"}, …]}         OpenAI's
    {"conversations": [{"from": "human", "value": "…"}, …]}     ShareGPT's
    [{"role": "user", "content": "…"}, …]                       the same without a name
    {"instruction": "…", "input": "…", "output": "…"}           Alpaca's; "context" and "response" as Dolly has them
    {"question": "…", "answer": "…"}
    {"prompt": "…", "completion": "…"}                          one text; if both are lists of turns, a dialogue
    {"text": "…"}                                               a text; RWKV's own data sets
    "…"                                                         a text

Where a record has several of them, the first of this list is read. Other fields, such as an id or a source, are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

ROLES = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "bot", "model", "chatgpt"),
}
_ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
_DIALOGUES = ("turns", "messages", "conversations", "conversation")
_ASKED = (("instruction", "output"), ("instruction", "response"), ("question", "answer"))
_BESIDE = ("input", "context")  # what an instruction is about
_READ = "turns, messages, conversations, text, prompt and completion, instruction and output, question and answer"


class Turn(NamedTuple):
    """role: "system", "user" or "assistant"."""

    role: str
    text: str


Record = str | tuple[Turn, ...]


def read_record(value: object) -> Record:
    """A text, or the turns of a dialogue. Raises ValueError saying in one line why it is neither."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return _turns(value)
    if not isinstance(value, dict):
        raise ValueError(f"{_brief(value)} is no text and no dialogue")
    for name in _DIALOGUES:
        if value.get(name) is not None:  # tables with several kinds of records fill them up with null
            return (*_system(value), *_turns(value[name]))
    for asked, answered in _ASKED:
        if value.get(asked) is not None and value.get(answered) is not None:
            about = [_text(value, name) for name in (asked, *_BESIDE) if value.get(name)]
            return (*_system(value), Turn("user", "\n".join(about)), Turn("assistant", _text(value, answered)))
    if value.get("prompt") is not None and value.get("completion") is not None:
        return _continued(value["prompt"], value["completion"], value)
    if "text" in value:
        return _text(value, "text")
    fields = ", ".join(_brief(name) for name in list(value)[:8])
    raise ValueError(f"it has none of the fields that are read ({_READ}){fields and f', but {fields}'}")


def is_dialogue(value: object) -> bool:
    """Whether a list is the turns of one dialogue, and not several records."""
    return isinstance(value, list) and all(
        isinstance(turn, dict) and ("role" in turn or "from" in turn) for turn in value
    )


def _continued(prompt: object, completion: object, fields: Mapping[str, Any]) -> Record:
    if isinstance(prompt, list) and isinstance(completion, list):
        return _turns([*prompt, *completion])
    return _text(fields, "prompt") + _text(fields, "completion")


def _system(fields: Mapping[str, Any]) -> tuple[Turn, ...]:
    return (Turn("system", _text(fields, "system")),) if fields.get("system") else ()


def _turns(value: object) -> tuple[Turn, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{_brief(value)} is no list of turns")
    return tuple(_turn(turn) for turn in value)


def _turn(value: object) -> Turn:
    if not isinstance(value, dict):
        raise ValueError(f'{_brief(value)} is no turn such as {{"role": "user", "text": "Hi!"}}')
    role = value.get("role", value.get("from"))
    if not isinstance(role, str) or role not in _ROLE_OF:
        raise ValueError(f"a turn's role is {_brief(role)}, not {', '.join(ROLES)}")
    name = next((name for name in ("text", "content", "value") if name in value), "text")
    return Turn(_ROLE_OF[role], _text(value, name))


def _text(fields: Mapping[str, Any], name: str) -> str:
    """A field's text, or that of OpenAI's list of parts."""
    value = fields.get(name)
    if isinstance(value, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in value):
        value = "".join(_text(part, "text") for part in value)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {_brief(value)}, not text")
    return value


def _brief(value: object) -> str:
    if isinstance(value, Sequence | Mapping) and not isinstance(value, str):
        return "a list" if isinstance(value, Sequence) else "an object"
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a number"
    return text if len(text) <= 40 else f"{text[:40]}…"
