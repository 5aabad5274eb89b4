"""What finished runs gave, in an SQLite file: a row for each, written in one transaction when it ends.

Runs that failed have rows of their own, until they finish.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rrwkv_export.errors import RunError
from rrwkv_export.runs.grid import Run, written
from rrwkv_runtime.common.printable import writable

_APPLICATION, _VERSION = 0x52525755, 1  # of SQLite's header: whose file it is, and which of its forms
_BUSY = 60.0  # seconds to wait for another process that writes
_TABLES = """
CREATE TABLE finished (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, function TEXT NOT NULL, parameters TEXT NOT NULL, result TEXT NOT NULL,
    seconds REAL NOT NULL, at TEXT NOT NULL
);
CREATE TABLE failed (key TEXT PRIMARY KEY, name TEXT NOT NULL, error TEXT NOT NULL, at TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Finished:
    """seconds: that the run took. at: when it ended, in UTC, ISO 8601."""

    key: str
    name: str
    function: str
    parameters: dict[str, Any]
    result: dict[str, Any]
    seconds: float
    at: str


class Store:
    """A file of results, made where there is none. Raises RunError for a file that is something else.

    Each call opens the file anew, so that others may read and write it in between.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{path}: cannot write there ({error.strerror}); choose another place") from None
        with self._opened() as database:
            database.execute("BEGIN IMMEDIATE")
            (whose,) = database.execute("PRAGMA application_id").fetchone()
            (version,) = database.execute("PRAGMA user_version").fetchone()
            (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if (whose, version, tables) == (0, 0, 0):
                for statement in _TABLES.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {_APPLICATION}")
                database.execute(f"PRAGMA user_version = {_VERSION}")
            elif (whose, version) != (_APPLICATION, _VERSION):
                raise RunError(f"{path}: not results of runs in form {_VERSION}; move it away, or write elsewhere")

    def finish(self, run: Run, result: dict[str, Any], seconds: float) -> None:
        """Keep what a run gave, and forget that it failed before."""
        row = (run.key, run.name, run.function, written(run.parameters, run.name), written(result, run.name))
        with self._opened() as database:
            database.execute("INSERT OR REPLACE INTO finished VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, seconds, _now()))
            database.execute("DELETE FROM failed WHERE key = ?", (run.key,))

    def fail(self, run: Run, error: str) -> None:
        row = (run.key, run.name, writable(error), _now())
        with self._opened() as database:
            database.execute("INSERT OR REPLACE INTO failed VALUES (?, ?, ?, ?)", row)

    def forget(self, runs: Iterable[Run]) -> None:
        """They are not finished any more, for whoever finds that what they left elsewhere is gone."""
        with self._opened() as database:
            database.executemany("DELETE FROM finished WHERE key = ?", [(run.key,) for run in runs])

    def finished_keys(self) -> set[str]:
        """Of the runs that are finished."""
        with self._opened() as database:
            return {key for (key,) in database.execute("SELECT key FROM finished")}

    def finished(self) -> list[Finished]:
        """In the order in which they ended."""
        with self._opened() as database:
            rows = database.execute(
                "SELECT key, name, function, parameters, result, seconds, at FROM finished ORDER BY at, key"
            ).fetchall()
        return [
            Finished(key, name, function, json.loads(parameters), json.loads(result), seconds, at)
            for key, name, function, parameters, result, seconds, at in rows
        ]

    def failed(self) -> dict[str, str]:
        """The error of each run that failed and is not finished, by its key."""
        with self._opened() as database:
            # What one process has finished another may fail at later.
            rows = database.execute("SELECT key, error FROM failed WHERE key NOT IN (SELECT key FROM finished)")
            return dict(rows.fetchall())

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction, which ends with the block: kept whole, or nothing of it. Raises RunError."""
        try:
            with closing(sqlite3.connect(self.path, timeout=_BUSY)) as database, database:
                yield database
        except sqlite3.Error as error:
            told = f"{self.path}: cannot be used for results ({error})"
            raise RunError(f"{told}; move it away, or write elsewhere") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
