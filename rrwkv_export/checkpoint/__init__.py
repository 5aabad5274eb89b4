"""What people really have, read into one canonical form: a frozen ModelConfig and lazy weights by the spec's names.

    shards, container_*   files and folders; which container a file is, its first bytes say (kinds)
    wrappers              names as the model has them, without what training put around them
    reading               whose names they are (BlinkDL's and RRWKV's, or huggingface), config, tied embeddings
    lora, peft, adapters  low-rank adapters, merged onto a base when a weight is read
    weights               every weight matched with the config

Names, shapes and dtypes are checked when a checkpoint is opened, without reading a tensor; values are checked when a
tensor is read.
"""

from rrwkv_export.checkpoint.adapters.merged import Adapter
from rrwkv_export.checkpoint.beside.endings import spelled
from rrwkv_export.checkpoint.beside.tokenizer import TokenizerFile
from rrwkv_export.checkpoint.opening import Checkpoint, open_checkpoint
from rrwkv_export.checkpoint.weights import Weights

__all__ = ["Adapter", "Checkpoint", "TokenizerFile", "Weights", "open_checkpoint", "spelled"]
