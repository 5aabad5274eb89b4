"""The model type `rrwkv` of lm-evaluation-harness: `--model rrwkv --model_args bundle=DIR`.

Importing this registers it; the harness itself finds no model types outside its own package, so `python -m
rrwkv_export.evaluate` does that and is then its command. lm-evaluation-harness is an extra.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs

from rrwkv_export.evaluate.pairs import Encoder
from rrwkv_export.evaluate.scoring import rolling, score
from rrwkv_export.evaluate.tasks import FOLDER
from rrwkv_runtime.errors import InputError
from rrwkv_runtime.model import Model
from rrwkv_runtime.text.dialogue import written

_MOST_TOKENS = 256
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


@register_model("rrwkv")
class RRWKV(LM):  # type: ignore[misc]
    """A bundle, on the Python runtime.

    bundle: its folder. provider, threads, variant, native: as of `Model.load`; `device` of the harness means nothing
    here, and neither does its batch size: what several questions have in common is read once. Raises what `Model.load`
    raises, and TokenizerError for a bundle without a tokenizer.
    """

    def __init__(
        self,
        bundle: str,
        provider: str = "cpu",
        threads: int | None = None,
        variant: str | None = None,
        native: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        **unknown: object,
    ) -> None:
        super().__init__()
        if unknown:
            known = "bundle, provider, threads, variant and native"
            raise InputError(f"--model_args {next(iter(unknown))}: the model type rrwkv takes {known}")
        self.model = Model.load(bundle, provider, threads, variant=variant, native=native)
        self._encoder = Encoder(self.model)

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-likelihood, whether greedy) of each (context, continuation), and into the harness's cache."""
        pairs = [self._encoder.pair(*request.args) for request in requests]
        found = [(scored.log_p, scored.greedy) for scored in score(self.model, pairs)]
        for request, answer in zip(requests, found):
            self.cache_hook.add_partial("loglikelihood", request.args, answer)
        return found

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Of each whole text, each token after all that stands before it: a state has no windows."""
        found = []
        for request in requests:
            (text,) = request.args
            first, ids = self._encoder.context(""), self._encoder.ids(text)
            found.append(rolling(self.model, (*first, *ids), len(first)))
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, found[-1])
        return found

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """What each context goes on with, up to a stop string or the end of the text.

        Where it is drawn, the same request asked again (`repeats`) is another draw, and the same in every run.
        """
        found, answered = [], Counter[tuple[str, str]]()
        for request in requests:
            context, asked = request.args
            key = (context, repr(sorted(asked.items())))
            found.append(self._generated(context, asked, answered[key]))
            answered[key] += 1
            self.cache_hook.add_partial("generate_until", request.args, found[-1])
        return found

    def _generated(self, context: str, asked: Mapping[str, Any], seed: int) -> str:
        options = normalize_gen_kwargs(dict(asked), _MOST_TOKENS)
        sampling: dict[str, Any] = {
            "temperature": 0.0,
            **{name: options[name] for name in _SAMPLING if name in options},
        }
        tokens = self.model.generate(
            self._encoder.context(context),
            max_tokens=options["max_gen_toks"],
            stop=[stop for stop in options["until"] if stop],
            seed=seed,
            **sampling,
        )
        return "".join(token.text for token in tokens)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Turns as the bundle's chat format writes them; with `add_generation_prompt` up to where the model answers.

        From here on special tokens in a text are tokens: the format may be written in them.
        """
        self._encoder.special = True
        form = self.model.manifest.chat
        text = "".join(part.text for part in written(form, ((t["role"], t["content"]) for t in chat_history)))
        return text + form.assistant if add_generation_prompt else text.removesuffix(form.turn_end)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The chat format as text, for the harness's records. Raises InputError for the name of another."""
        if isinstance(chat_template, str) and chat_template:
            raise InputError(f"--apply_chat_template {chat_template}: a bundle has one chat format; give no name")
        return repr(self.model.manifest.chat.to_json()) if chat_template else None

    @property
    def tokenizer_name(self) -> str:
        """By which the harness knows its cached requests."""
        return f"rrwkv-{self.model.manifest.bundle_id}"

    def get_model_info(self) -> dict[str, Any]:
        """What the harness's results say of the model."""
        manifest = self.model.manifest
        names = {"bundle_id": manifest.bundle_id, "model_id": manifest.model_id, "provider": self.model.provider}
        return {**names, "model_num_parameters": manifest.parameters, "model_dtype": manifest.main.dtype}


def documents(file: str, **_: object) -> dict[str, Dataset]:
    """The items of a task that comes along, as the harness's `custom_dataset` takes them, in memory."""
    lines = Path(FOLDER, file).read_text(encoding="utf-8").splitlines()
    return {"test": Dataset.from_list([json.loads(line) for line in lines])}
