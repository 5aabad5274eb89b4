"""A checkpoint's folder as a model of transformers' (`trust_remote_code=True`), which needs nothing of this project.

model           the code that lies in such a folder
folder          what is written beside weights: config, code, the tokenizer's settings
chat_template   a chat format as transformers has it
convert         any checkpoint to such a folder, `rrwkv huggingface`
"""

from rrwkv_export.huggingface.convert import FILES, convert
from rrwkv_export.huggingface.folder import WRITTEN, check_supported, write_beside

__all__ = ["FILES", "WRITTEN", "check_supported", "convert", "write_beside"]
