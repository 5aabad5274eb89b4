"""The text that comes along, for a model that can make something of it: what is measured on where none is given."""

from __future__ import annotations

from pathlib import Path

from rrwkv_export.errors import TextError
from rrwkv_export.quantize.recipes import EVALUATION_TEXT
from rrwkv_export.texts import Text, poverty, read_text
from rrwkv_runtime.errors import InputError, TokenizerError
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.tokenizer import load_tokenizer

FILES = "text of the kind that the model knows (.txt, .jsonl), or its token ids (.ids: separated by spaces or commas, "
FILES += "one passage a line)"


def shipped_text(bundle: Path) -> Text:
    """The evaluation text that comes along, as ids of the model in `bundle`.

    Raises TextError, which names what to give instead, where the bundle has no tokenizer or one for something else.
    """
    try:
        text = read_text(EVALUATION_TEXT, bundle)
    except (TextError, TokenizerError, InputError) as error:
        raise TextError(f"give --text FILE, {FILES}: {_why(error)}") from None
    manifest = Manifest.load(bundle)
    tokenizer = load_tokenizer(bundle, manifest)
    if why := poverty(text.ids, manifest.vocab_size, tokenizer.unknown if tokenizer else None):
        raise TextError(f"give --text FILE, {FILES}: {bundle}'s tokenizer knows no English text ({why})")
    return text


def _why(error: Exception) -> str:
    """Without the path of the text that comes along, which nobody gave."""
    return (
        str(error).removeprefix(f"{EVALUATION_TEXT}: ").partition(", so it takes")[0].partition("; give text that")[0]
    )


def fits(bundle: Path) -> bool:
    """Whether `shipped_text` has something for the bundle. Raises BundleError."""
    try:
        shipped_text(bundle)
    except TextError:
        return False
    return True
