"""Grids of named, independent runs, in this process or on Ray, that can be stopped at any moment and gone on with.

    grid      a run: a name, parameters, and the function that is called with them
    store     what finished runs gave, in SQLite
    execute   what of a grid is not finished, run after run
    on_ray    the same on the workers of a Ray cluster, an extra

A run is known by its function and its parameters: one that is finished is not run again, and one whose parameters have
changed is another.
"""

from rrwkv_export.runs.execute import Done, execute
from rrwkv_export.runs.grid import Run, check_grid
from rrwkv_export.runs.store import Finished, Store

__all__ = ["Done", "Finished", "Run", "Store", "check_grid", "execute"]
