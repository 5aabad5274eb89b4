"""How fast bundles run here: speed in alternation, the memory's bandwidth as the roof, load time, peak memory."""

from rrwkv_export.bench.plan import Options, subjects
from rrwkv_export.bench.record import Earlier, Record, read_earlier
from rrwkv_export.bench.render import RENDERERS
from rrwkv_export.bench.run import bench, measure

__all__ = ["RENDERERS", "Earlier", "Options", "Record", "bench", "measure", "read_earlier", "subjects"]
