"""Recipes × texts × bundles: what each costs in accuracy, how large it is and how fast, and the frontier of the three.

plan     what is asked, checked before anything is run, as grids of runs
work     what a run does: quantize a bundle, measure it on a text, time bundles beside each other
points   what the runs gave, and which of it nothing else beats
run      grid after grid, and the page
page     the page and its plots, also as Markdown
"""

from rrwkv_export.sweep.plan import Plan, Settings, make_plan
from rrwkv_export.sweep.run import Swept, sweep

__all__ = ["Plan", "Settings", "Swept", "make_plan", "sweep"]
