"""What an artefact may say of its model. Claims are for people; nothing depends on them, so nothing else need ship.

The model's file says more, above all how it was trained and from which seed, which is as good as the weights: who trains again
has them. So what ships is a list of what is allowed, not what is left of everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Soft locks by name: against other number formats by construction (`bitting.training.splitting`), and to compare with it by a
#: penalty on sampled hardware, ours and a published one (`bitting.training.soft`); against other sparsity by both
#: (`bitting.training.sparsity`).
SPLIT, SAMPLED, QU_ANTI, SPARSITY = "quantisation", "sampled", "qu-anti", "sparsity"
SOFT_LOCKS = (SPLIT, SPARSITY, SAMPLED, QU_ANTI)
#: Claim -> the types it may have, or the texts. None says anything of a weight, but a soft lock's how it was made.
PUBLIC: dict[str, type | tuple[type, ...] | tuple[str, ...]] = {
    "dataset": str,
    "test_samples": int,
    "accuracy": (int, float),
    "twin_accuracy": (int, float),
    "r2": (int, float),
    "twin_r2": (int, float),
    "reproducible": bool,
    "soft": SOFT_LOCKS,
}


def public(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Those claims that may ship, if they are of the types that they should have."""
    return {name: claims[name] for name, allowed in PUBLIC.items() if name in claims and _is_one(claims[name], allowed)}


def _is_one(value: Any, allowed: Any) -> bool:
    """Of a type, or one of several texts."""
    if isinstance(allowed, tuple) and isinstance(allowed[0], str):
        return isinstance(value, str) and value in allowed
    return isinstance(value, allowed)
