"""Functions of runs, for processes of their own; each call is a line in the file `log`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from rrwkv_export.runs import Run, Store, execute


def squared(log, number, seconds=0.0):
    tell(log, number)
    time.sleep(seconds)
    return {"square": number**2}


def failing(log, number):
    tell(log, number)
    raise ValueError(f"not {number},\nnor any other")


def of_a_file(log, number):
    raise ValueError("file \udcff.txt is gone")


def half_a_character(log, number):
    return {"square": "\ud83d"}


def untold(log, number):
    class Untold(Exception):
        def __str__(self):
            raise RuntimeError

    raise Untold


def killed_at_first(log, number):
    """Its worker is killed the first time."""
    tell(log, number)
    if told(log).count(number) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"square": number**2}


def killed(log, number):
    tell(log, number)
    os.kill(os.getpid(), signal.SIGKILL)


def tell(log, number):
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{number}\n")


def told(log):
    return [int(line) for line in Path(log).read_text(encoding="utf-8").split()]


def grid(log, function, numbers, **parameters):
    return [Run(f"{function}-{n}", f"grids:{function}", {"log": str(log), "number": n, **parameters}) for n in numbers]


if __name__ == "__main__":  # python grids.py STORE LOG: five runs, of which one takes long
    store, log = map(Path, sys.argv[1:])
    runs = grid(log, "squared", range(2)) + grid(log, "squared", [2], seconds=60) + grid(log, "squared", [3, 4])
    execute(runs, Store(store))
