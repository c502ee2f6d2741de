"""How numbers are told: shares in percent, times in the largest fitting unit, everything else with four digits."""

from __future__ import annotations

_MINUTE, _HOUR = 60, 3600
#: What is told as it is, without a power of ten.
_PLAIN = 10_000_000


def percent(share: float | None) -> str:
    """0.5 becomes 50.00%. None: not measured."""
    return "not measured" if share is None else f"{100 * share:.2f}%"


def points(share: float) -> str:
    """A difference of two shares: 0.012 becomes +1.20 points."""
    return f"{round(100 * share, 2) + 0.0:+.2f} points"  # + 0.0: no minus before nothing


def plain(value: float) -> str:
    """Whole numbers in full up to ten millions, others with four digits."""
    if value == int(value) and abs(value) < _PLAIN:
        return str(int(value))
    return f"{value:.4g}"


def seconds(value: float | None) -> str:
    """0.5 becomes 0.5 s, 90 becomes 1.5 min. None: not measured."""
    if value is None:
        return "not measured"
    if value < _MINUTE:
        return f"{value:.3g} s"
    return f"{value / _MINUTE:.3g} min" if value < _HOUR else f"{value / _HOUR:.3g} h"


def gain(value: float | None, unit: str) -> str:
    """What an attacker got: 0.034 and `points over from scratch` become +3.40 points over from scratch. None: no number."""
    if value is None:
        return ""
    if unit.startswith("points"):
        return f"{points(value)}{unit.removeprefix('points')}"
    return f"{plain(value)} {unit}".strip()
