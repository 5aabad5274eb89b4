"""Names of Hugging Face's folders for the canonical ones, which are BlinkDL's."""

from __future__ import annotations

import re

from rrwkv_export.architectures.base import Dialect, Part

_TOP = {"emb.weight": "rwkv.embeddings.weight", "head.weight": "head.weight"}
_PARTS = {"ln0": "pre_ln", "att": "attention", "ffn": "feed_forward"}
_MIXES = {
    "time_mix_k": "time_mix_key",
    "time_mix_v": "time_mix_value",
    "time_mix_r": "time_mix_receptance",
    "time_mix_g": "time_mix_gate",
}
_CANONICAL = {"embeddings": "emb", **{theirs: ours for ours, theirs in (_PARTS | _MIXES).items()}}


class Transformers:
    """RwkvForCausalLM's: transformers' own RWKV-4, and the same of RWKV-5 and 6."""

    classes = ("RwkvModel", "RwkvForCausalLM")

    def speaks(self, name: str) -> bool:
        """Names of a base model (RwkvModel), which has no leading `rwkv.`, included."""
        return bool(re.match(r"(rwkv\.)?(embeddings\.weight$|blocks\.\d+\.(attention|feed_forward|pre_ln)\.)", name))

    def parts(self, name: str) -> tuple[Part, ...]:
        return (Part(".".join(_CANONICAL.get(part, part) for part in name.removeprefix("rwkv.").split("."))),)

    def name_in_file(self, name: str) -> str:
        if name in _TOP:
            return _TOP[name]
        parts = name.split(".")
        return ".".join(["rwkv", *(_PARTS.get(part) or _MIXES.get(part) or part for part in parts)])


_FLA = {
    "att.receptance": "attn.r_proj",
    "att.key": "attn.k_proj",
    "att.value": "attn.v_proj",
    "att.output": "attn.o_proj",
    "att.ln_x": "attn.g_norm",
    "ln0": "pre_norm",
    "ln1": "attn_norm",
    "ln2": "ffn_norm",
}
_OURS = {theirs: ours for ours, theirs in _FLA.items()}
_FLA_TOP = {"emb": "model.embeddings", "ln_out": "model.norm", "head": "lm_head"}
_OURS_TOP = {theirs.removeprefix("model."): ours for ours, theirs in _FLA_TOP.items()}
_FUSED = "rwkvag"  # the rows of attn.x_x
# a low-rank pair and its bias: x1, x2 and x0 of a letter
_LORA = {"0.weight": "1", "2.weight": "2", "2.bias": "0"}


class FlashLinearAttention:
    """RWKV7ForCausalLM's, of fla: low-rank matrices are Linear weights and so transposed, mixes may be one tensor."""

    classes = ("RWKV7Model", "RWKV7ForCausalLM")

    def speaks(self, name: str) -> bool:
        return bool(re.match(r"(model\.)?layers\.\d+\.(attn|attn_norm|ffn_norm|pre_norm)\.", name))

    def parts(self, name: str) -> tuple[Part, ...]:
        bare = name.removeprefix("model.")
        if (found := re.match(r"layers\.(\d+)\.(.+)$", bare)) is None:
            module, _, kind = bare.rpartition(".")
            return (Part(f"{_OURS_TOP[module]}.{kind}"),) if module in _OURS_TOP else (Part(name),)
        block, rest = f"blocks.{found[1]}", found[2]
        if rest == "attn.x_x":
            return tuple(Part(f"{block}.att.x_{q}", row=i) for i, q in enumerate(_FUSED))
        if low := re.fullmatch(r"attn\.([wavg])_lora\.lora\.(0\.weight|2\.weight|2\.bias)", rest):
            return (Part(f"{block}.att.{low[1]}{_LORA[low[2]]}", transposed=low[2].endswith("weight")),)
        module, _, kind = rest.rpartition(".")
        if module in _OURS:
            return (Part(f"{block}.{_OURS[module]}.{kind}"),)
        return (Part(f"{block}.{re.sub('^attn[.]', 'att.', rest)}"),)

    def name_in_file(self, name: str) -> str:
        module, _, kind = name.rpartition(".")
        if module in _FLA_TOP:
            return f"{_FLA_TOP[module]}.{kind}"
        layer, _, rest = name.removeprefix("blocks.").partition(".")
        start = f"model.layers.{layer}"
        if low := re.fullmatch(r"att\.([wavg])([012])", rest):
            kind = next(theirs for theirs, ours in _LORA.items() if ours == low[2])
            return f"{start}.attn.{low[1]}_lora.lora.{kind}"
        module, _, kind = rest.rpartition(".")
        return f"{start}.{_FLA[module]}.{kind}" if module in _FLA else f"{start}.{re.sub('^att[.]', 'attn.', rest)}"


# In order: the second also speaks an embedding's name, which is the same in a base model of the first.
DIALECTS: tuple[Dialect, ...] = (FlashLinearAttention(), Transformers())
