"""Texts as token ids: what calibration observes and what a report is measured on.

corpus    a file as the ids of its passages
records   what a record of a .jsonl or .json file says
"""

from rrwkv_export.texts.corpus import Ids, Text, read_text

__all__ = ["Ids", "Text", "read_text"]
