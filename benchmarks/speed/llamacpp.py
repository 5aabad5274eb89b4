"""RWKV-7 in llama.cpp: a checkpoint's weights as GGUF, quantized by its own quantizer, run by its own library.

Names, shapes and dtypes are those of its converter (conversion/rwkv.py). What is quantized is its own choice: low-rank
matrices stay floats, and Q4_0 has a head of Q6_K.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rrwkv_export.architectures.rwkv7 import RWKV7Config

INSTALL = "it takes PyPI's llama-cpp-python, which compiles llama.cpp in some ten minutes, and gguf"
KINDS = {"Q8_0": 7, "Q4_0": 2}  # llama.h's llama_ftype
MOST_TOKENS = 1024  # of a batch

_TOP = {
    "emb.weight": "token_embd.weight",
    "head.weight": "output.weight",
    "ln_out": "output_norm",
    "blocks.0.ln0": "token_embd_norm",
}
_IN_LAYER = {
    "ln1": "attn_norm",
    "ln2": "attn_norm_2",
    "att.ln_x": "time_mix_ln",
    "att.": "time_mix_",
    "ffn.x_k": "channel_mix_lerp_k",
    "ffn.": "channel_mix_",
}
_FLOATS = ("time_mix_w1", "time_mix_w2", "time_mix_lerp_fused")  # in float32 whatever the rest is
Weights = Mapping[str, torch.Tensor]
Step = Callable[[list[int], Any], tuple[torch.Tensor, Any]]


def name_in_gguf(name: str) -> str:
    """Of a weight by BlinkDL's name; what has no ending there is a weight."""
    for ours, theirs in _TOP.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    layer, inner = re.fullmatch(r"blocks\.(\d+)\.(.*)", name).groups()
    ours = next(each for each in _IN_LAYER if inner.startswith(each))
    ending = "" if inner.endswith((".weight", ".bias")) else ".weight"
    return f"blk.{layer}.{_IN_LAYER[ours]}{inner.removeprefix(ours)}{ending}"


def tensors(weights: Weights, config: RWKV7Config) -> Iterator[tuple[str, np.ndarray]]:
    """Name and value of each, in float32. Matrices are [out, in]; layer 0 has a's for its v's, which nothing reads."""
    for name, weight in weights.items():
        if ".att.x_" in name:
            continue
        value = weight.float().numpy()
        if re.search(r"\.att\.[wavg][12]$", name):
            value = value.T
        if name.endswith(".r_k"):
            value = value.reshape(-1)
        yield name_in_gguf(name), value
        if re.fullmatch(r"blocks\.0\.att\.a[012]", name):
            yield name_in_gguf(name.replace("att.a", "att.v")), value
    for layer in range(config.num_layers):
        mixes = [weights[f"blocks.{layer}.att.x_{each}"].float().numpy() for each in "rwkvag"]
        yield f"blk.{layer}.time_mix_lerp_fused.weight", np.stack(mixes)[:, None, None]


def write_gguf(path: Path, weights: Weights, config: RWKV7Config, dtype: type[np.floating]) -> Path:
    """dtype: of the matrices, but those that the converter leaves in float32. Its tokens are ids."""
    import gguf

    writer = gguf.GGUFWriter(path, "rwkv7")
    writer.add_context_length(2**20)
    writer.add_vocab_size(config.vocab_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.ffn_size)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_head_count(0)
    writer.add_wkv_head_size(config.head_size)
    writer.add_decay_lora_rank(config.decay_rank)
    writer.add_iclr_lora_rank(config.rate_rank)
    writer.add_value_residual_mix_lora_rank(config.value_rank)
    writer.add_gate_lora_rank(config.gate_rank)
    writer.add_tokenizer_model("none")
    for name, value in tensors(weights, config):
        small = value.ndim == 1 or any(each in name for each in _FLOATS)
        writer.add_tensor(name, np.ascontiguousarray(value, np.float32 if small else dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def quantized(source: Path, path: Path, kind: str) -> Path:
    """kind: of KINDS."""
    import llama_cpp

    _be_quiet()
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = KINDS[kind]
    if llama_cpp.llama_model_quantize(str(source).encode(), str(path).encode(), ctypes.byref(parameters)):
        raise SystemExit(f"llama.cpp could not quantize {source} to {kind}")
    return path


def run_by(path: Path, threads: int) -> Step:
    """A model and its one state, which a call without a state begins anew."""
    import llama_cpp

    _be_quiet()
    loading = llama_cpp.llama_model_default_params()
    loading.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), loading)
    how = llama_cpp.llama_context_default_params()
    how.n_ctx = how.n_batch = how.n_ubatch = MOST_TOKENS
    how.n_threads = how.n_threads_batch = threads
    context = model and llama_cpp.llama_init_from_model(model, how)
    if not context:
        raise SystemExit(f"llama.cpp could not load {path}")
    vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    memory = llama_cpp.llama_get_memory(context)

    def step(ids: list[int], state: Any) -> tuple[torch.Tensor, Any]:
        if state is None:
            llama_cpp.llama_memory_clear(memory, True)
        tokens = (llama_cpp.llama_token * len(ids))(*ids)  # a batch keeps but its address
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(ids))):
            raise SystemExit(f"llama.cpp could not run {path}")
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), (vocab_size,))
        return torch.from_numpy(logits), context

    return step


def _be_quiet() -> None:
    """What the library is told to call it keeps for good."""
    import llama_cpp

    if not _silent:
        _silent.append(llama_cpp.llama_log_callback(lambda level, text, data: None))
        llama_cpp.llama_log_set(_silent[0], ctypes.c_void_p(0))


_silent: list[Any] = []
