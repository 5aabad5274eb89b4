"""Numbers as a person reads them, the same in every rendering."""

from __future__ import annotations

import math

MISSING = "–"


def number(value: float | None, digits: int = 3) -> str:
    """So many significant digits."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    if abs(value) < 1e-4 or abs(value) >= 1e6:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def percent(share: float | None) -> str:
    """Of a share from 0 to 1; more digits where it is small."""
    if share is None:
        return MISSING
    if not math.isfinite(share):
        return "not finite"
    return f"{100 * share:.2f} %" if abs(share) >= 0.001 or share == 0 else f"{number(100 * share, 2)} %"


def megabytes(size: float) -> str:
    """MB are 10^6 bytes."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


def milliseconds(value: float) -> str:
    return f"{value:.2f} ms"


def count(value: float) -> str:
    return f"{value:,.0f}"


def ratio(value: float | None) -> str:
    return MISSING if value is None else f"{number(value)} ×"


def verdict(flat: bool | None) -> str:
    """On drift."""
    return {True: "flat", False: "growing", None: "too short to tell"}[flat]
