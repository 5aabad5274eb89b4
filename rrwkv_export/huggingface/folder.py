"""What makes a folder of weights a model of transformers': config.json, the code, and the tokenizer's settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.bundle import TOKENIZER_FILES
from rrwkv_export.checkpoint.huggingface import ARCHITECTURE, MODEL_TYPE
from rrwkv_export.errors import CheckpointError
from rrwkv_export.huggingface.chat_template import chat_template
from rrwkv_runtime.manifest import ChatFormat

_MODEL = Path(__file__).parent / "model"
CODE = tuple(sorted(path.name for path in _MODEL.glob("*_rrwkv.py")))
CONFIG, CHAT, GENERATION = "config.json", "chat.json", "generation_config.json"
TOKENIZER_CONFIG, TEMPLATE = "tokenizer_config.json", "chat_template.jinja"
# All that `write_beside` may write.
WRITTEN = frozenset({CONFIG, CHAT, GENERATION, TOKENIZER_CONFIG, TEMPLATE, *CODE})
_ARCHITECTURES = ("rwkv4", "rrwkv", "rwkv7")
_CLASS = "RrwkvForCausalLM"
_WORLD_END = "<|endoftext|>"  # what token 0 is called, which has no bytes
_WORLD = {
    "tokenizer_class": "RrwkvWorldTokenizer",
    "auto_map": {"AutoTokenizer": ["tokenization_rrwkv.RrwkvWorldTokenizer", None]},
    **dict.fromkeys(("bos_token", "eos_token", "pad_token"), _WORLD_END),
}


def check_supported(config: ModelConfig) -> None:
    """Raises CheckpointError for an architecture that the code does not compute."""
    if config.architecture not in _ARCHITECTURES:
        raise CheckpointError(
            f"{config.architecture}: the code for transformers knows {', '.join(_ARCHITECTURES)}; `rrwkv export` takes "
            "this model to a bundle"
        )


def write_beside(folder: Path, config: ModelConfig, chat: ChatFormat, dtype: str) -> None:
    """Everything but weights, tokenizer and card. dtype: of the weights, as torch calls it."""
    for name in CODE:
        shutil.copyfile(_MODEL / name, folder / name)
    auto_map = {"AutoConfig": "configuration_rrwkv.RrwkvConfig", "AutoModelForCausalLM": f"modeling_rrwkv.{_CLASS}"}
    transformers = {"model_type": MODEL_TYPE, "architectures": [_CLASS], "auto_map": auto_map, "dtype": dtype}
    fields = {ARCHITECTURE if name == "architecture" else name: value for name, value in config.to_json().items()}
    _write(folder / CONFIG, {**fields, "chat": chat.to_json(), **transformers})
    _write(folder / CHAT, chat.to_json())
    _write(folder / GENERATION, _generation(chat))
    if (tokenizer := folder / TOKENIZER_FILES["tokenizer.json"]).is_file():
        _write_tokenizer_settings(folder, *_named_tokens(json.loads(tokenizer.read_bytes()), chat), chat)
    elif (folder / TOKENIZER_FILES["rwkv-world"]).is_file():
        _write_tokenizer_settings(folder, _WORLD, None if chat.bos_token_id is None else _WORLD_END, chat)


def _generation(chat: ChatFormat) -> dict[str, Any]:
    """Which tokens begin, end and pad texts."""
    ends = sorted(chat.eos_token_ids)
    said = {"bos_token_id": chat.bos_token_id, "eos_token_id": ends[0] if len(ends) == 1 else ends}
    said["pad_token_id"] = ends[0] if ends else chat.bos_token_id
    return {name: value for name, value in said.items() if value not in (None, [])}


def _named_tokens(fields: Mapping[str, Any], chat: ChatFormat) -> tuple[dict[str, Any], str | None]:
    """What tokenizer_config.json says of a tokenizer.json, and the token that begins a text.

    A token that is no special one is not named: transformers would make it one, and read texts otherwise.
    """
    special = {one["id"]: one["content"] for one in fields.get("added_tokens") or () if one.get("special")}
    bos, ends = special.get(chat.bos_token_id), [special[i] for i in sorted(chat.eos_token_ids) if i in special]
    named = {"bos_token": bos, "eos_token": ends[0] if ends else None, "pad_token": ends[0] if ends else bos}
    known = {name: token for name, token in named.items() if token is not None}
    return {"tokenizer_class": "PreTrainedTokenizerFast", **known}, bos


def _write_tokenizer_settings(folder: Path, settings: Mapping[str, Any], bos: str | None, chat: ChatFormat) -> None:
    """bos: the token that begins a text, as the tokenizer spells it."""
    shared = {"padding_side": "left", "clean_up_tokenization_spaces": False}
    _write(folder / TOKENIZER_CONFIG, {**settings, **shared, "model_input_names": ["input_ids", "attention_mask"]})
    (folder / TEMPLATE).write_text(chat_template(chat, begins=bos is not None), encoding="utf-8")


def _write(path: Path, fields: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
