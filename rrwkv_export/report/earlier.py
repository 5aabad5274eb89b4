"""A report that lies there from before: whether it is whole, and of what it is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrwkv_export.bench.machine import is_busy, load_average, machine, threads_name
from rrwkv_export.report.render.json import report_id
from rrwkv_export.report.result import Row
from rrwkv_export.report.run import FILES, JSON, Options
from rrwkv_runtime.errors import RRWKVError
from rrwkv_runtime.manifest import Manifest

_LARGEST = 64 * 2**20
_VARYING = "load average before"  # of what a report says of its machine, what changes all the time


@dataclass(frozen=True)
class Earlier:
    """What is needed of an earlier report to show it again: the names in its headline, its rows and the notes."""

    reference: str
    bundle: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def read_earlier(folder: Path, bundle: Path, reference: Path, sha256: str, **options: Any) -> Earlier | None:
    """The report in a folder, if every file of it is as it was written, and if it is what `report` would measure now.

    That is: of these two bundles, on the text of this sha256 alone, with these options, on this machine with these
    versions. None if anything differs or is not there, or if the machine had other work then and has none now.
    """
    try:
        fields = json.loads(_read(folder / JSON))
        if fields["report_id"] != report_id(fields) or _hashes(folder) != fields["files"]:
            return None
        how, said = Options(**options), fields["machine"]
        measured = (fields["reference"]["bundle_id"], fields["bundle"]["bundle_id"], fields["text"]["sha256"])
        wanted = (Manifest.load(reference).bundle_id, Manifest.load(bundle).bundle_id, sha256)
        alone = not (fields["texts"] or fields["comparison"] or fields["gates"] or fields["tasks"])
        same = (fields["asked"], fields["chunk"], fields["speed"] is not None) == (how.tokens, how.chunk, how.speed)
        here = {**machine(how.provider), "threads": threads_name(how.threads)}
        if measured != wanted or not alone or not same or {**said, _VARYING: 0} != {**here, _VARYING: 0}:
            return None
        if how.speed and is_busy(float(said.get(_VARYING, 0))) and not is_busy(load_average()):
            return None
        rows = tuple(Row(*map(str, row)) for row in fields["headline"])
        first, second = (str(fields[which]["name"]) for which in ("reference", "bundle"))
        return Earlier(first, second, rows, tuple(map(str, fields["notes"])))
    except (RRWKVError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # not a report of this version, or damaged


def _hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256(_read(folder / name)).hexdigest() for name in sorted(FILES - {JSON})}


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        data = stream.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(path)
    return data
