"""A chat format as a template of transformers': Jinja that writes a dialogue as `rrwkv_runtime.text.dialogue` does."""

from __future__ import annotations

import json

from rrwkv_runtime.manifest import ChatFormat
from rrwkv_runtime.text.dialogue import lead

_TEMPLATE = """\
{{#- How this model was taught to read a dialogue, by its chat.json; written by rrwkv-export. -#}}
{bos}{{%- for message in messages -%}}
{{%- set text = message["content"].replace("\\r\\n", "\\n").strip() -%}}
{{%- if message["role"] == "system" -%}}
{{{{- {system} + text + {end} -}}}}
{{%- elif message["role"] == "user" -%}}
{user_text}{{{{- {user} + text + {end} -}}}}
{{%- elif message["role"] == "assistant" -%}}
{answer}{{{{- {assistant} + text + {end} -}}}}
{{%- else -%}}
{{{{- raise_exception("roles are system, user and assistant") -}}}}
{{%- endif -%}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}
{{{{- {asks} -}}}}
{thinks}{{%- endif -%}}
"""
# A blank line ends a turn, so a text has none.
_WITHOUT_BLANK_LINES = """\
{%- set kept = namespace(lines=[]) -%}
{%- for line in text.split("\\n") if line.strip() -%}{%- set kept.lines = kept.lines + [line] -%}{%- endfor -%}
{%- set text = kept.lines | join("\\n") -%}
"""


def chat_template(form: ChatFormat, begins: bool) -> str:
    """begins: whether a dialogue begins with the tokenizer's `bos_token`. With `enable_thinking` a model that thinks
    is made to, or not to.
    """
    thinking, answer, thinks = form.thinking, "", ""
    if thinking:
        thinks = (
            "{%- if enable_thinking is defined -%}\n"
            f"{{{{- {_quoted(thinking.open)} if enable_thinking else {_quoted(thinking.skip)} -}}}}\n"
            "{%- endif -%}\n"
        )
        if not thinking.kept:
            answer = f"{{%- set text = text.split({_quoted(thinking.end)})[-1].strip() -%}}\n"
    return _TEMPLATE.format(
        bos="{{- bos_token -}}\n" if begins else "",
        system=_quoted(form.system),
        user=_quoted(form.user),
        assistant=_quoted(form.assistant + lead(form)),
        asks=_quoted(form.assistant),
        end=_quoted(form.turn_end),
        user_text=_WITHOUT_BLANK_LINES if form.turn_end.count("\n") > 1 and form.turn_end.isspace() else "",
        answer=answer,
        thinks=thinks,
    )


def _quoted(text: str) -> str:
    """As a string of Jinja's, whose escapes are JSON's."""
    return json.dumps(text, ensure_ascii=False)
