"""Texts as token ids: what calibration observes and what a report is measured on.

corpus    a file as the ids of its passages
records   what a record of a .jsonl or .json file says
poverty   why a text shows too little of its model
"""

from rrwkv_export.texts.corpus import Encoding, Ids, Text, check_text, encode_text, read_text, written_passages
from rrwkv_export.texts.poverty import poverty

__all__ = ["Encoding", "Ids", "Text", "check_text", "encode_text", "poverty", "read_text", "written_passages"]
