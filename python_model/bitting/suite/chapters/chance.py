"""Networks at random beside guessed keys: what luck gives. Of plain weights, which are bytes, luck is another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bitting.attack import random_networks
from bitting.locking.kinds import Transform
from bitting.suite.cases import Case, Material


def jobs(case: Case, *parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """These jobs, if a case wants networks of its own: the control, for all whose weights are codes; plain weights."""
    if case.transform == Transform.AES:
        return [{**part, "plain": True} for part in parts]
    return [dict(part) for part in parts] if case.control else []


def scores(
    material: Material, parameters: Mapping[str, Any], count: int, seed: int, x: np.ndarray, labels: np.ndarray
) -> Iterator[float]:
    """Accuracies of so many networks on (samples, input_words) activations `x`, for a job of `jobs`."""
    plain = parameters.get("plain", False)
    return random_networks.scores(material.architecture, count, seed, x, labels, material.model.interface, plain)
