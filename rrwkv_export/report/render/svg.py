"""matplotlib figures as inline SVG that takes its colours and its font from the page, so that it suits light and dark.

A figure is drawn in stand-in colours, which become CSS variables in the SVG. Nothing of it depends on the time, on the
machine's fonts or on matplotlib's global state.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

# Stand-ins, and what they become.
INK, FAINT, MODEL, REFERENCE, GRID = "#010203", "#010204", "#010205", "#010206", "#010207"
_VARIABLES = {INK: "currentColor", FAINT: "var(--faint)", MODEL: "var(--model)", REFERENCE: "var(--reference)"}
_VARIABLES[GRID] = "var(--rule)"
# From the first layer to the last: all of middling lightness, to be seen on white and on black.
LAYERS = LinearSegmentedColormap.from_list("layers", ["#4f7df3", "#a75ae0", "#e0559b", "#ee8a3c"])
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "rrwkv",
    "text.parse_math": False,  # names may hold a $
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


def style() -> Any:
    """The context in which figures are made and drawn."""
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE, "backend": "svg"})


def figure(width: float, height: float) -> Figure:
    """In inches of 72 points; the page scales it."""
    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(made)
    return made


def to_svg(drawn: Figure) -> str:
    """An <svg> element to put into a page: no prolog, no metadata, no names that another figure may have too."""
    stream = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the measuring font lacks: the page has its own fonts
        drawn.savefig(stream, format="svg", transparent=True, metadata=nothing)
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"| version="[^"]*"', "", svg, count=3)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg).replace("xlink:href", "href")
    svg = re.sub(r"(font: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1system-ui, sans-serif", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return re.sub(r"\n\s*", "\n", svg)
