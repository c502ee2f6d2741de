"""What an artefact may say of its model. Claims are for people; nothing depends on them, so nothing else need ship.

The model's file says more, above all how it was trained and from which seed, which is as good as the weights: who trains again
has them. So what ships is a list of what is allowed, not what is left of everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Claim -> the types it may have. None of them says anything of a weight.
PUBLIC: dict[str, type | tuple[type, ...]] = {
    "dataset": str,
    "test_samples": int,
    "accuracy": (int, float),
    "twin_accuracy": (int, float),
    "r2": (int, float),
    "twin_r2": (int, float),
    "reproducible": bool,
    "soft": str,
}


def public(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Those claims that may ship, if they are of the types that they should have."""
    return {name: claims[name] for name, types in PUBLIC.items() if name in claims and isinstance(claims[name], types)}
