"""What people really have, read into one canonical form: a frozen ModelConfig and lazy weights by the spec's names.

    format        what is there                                                           module
    rrwkv         directory with config.json and (sharded) safetensors; one .safetensors  rrwkv
    blinkdl       RWKV-4 or RRWKV .pth, .pt, .bin                                         blinkdl
    huggingface   directory of a RwkvForCausalLM, safetensors or pytorch_model.bin        huggingface

Each format module has the same two verbs, `recognizes` and `read`. Names, shapes and dtypes are checked when a
checkpoint is opened, without reading a tensor; values are checked when a tensor is read.
"""

from rrwkv_export.checkpoint.opening import Checkpoint, open_checkpoint
from rrwkv_export.checkpoint.tokenizer import TokenizerFile
from rrwkv_export.checkpoint.weights import Weights

__all__ = ["Checkpoint", "TokenizerFile", "Weights", "open_checkpoint"]
