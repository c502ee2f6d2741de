"""Who chose and who is judged: constants are chosen on some boards and judged on others, in several random partitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bitting.errors import MeasurementError

#: Of a partition: every board is judged once, by constants that the others chose. Of 150 boards 100 choose and 50 are judged.
FOLDS = 3
#: Boards without which nothing can be said: two in each fold.
LEAST_BOARDS = 2 * FOLDS


@dataclass(frozen=True, eq=False)
class Split:
    """Places of boards: those that choose, and those that are judged."""

    chosen: np.ndarray
    judged: np.ndarray


def splits(boards: int, repeats: int, seed: int) -> Iterator[Split]:
    """`repeats` random partitions of the boards into `FOLDS` parts, each part judged once: `FOLDS * repeats` splits.

    Raises:
        MeasurementError: for fewer than `LEAST_BOARDS` boards.
    """
    if boards < LEAST_BOARDS:
        raise MeasurementError(
            f"boards: {boards}; at least {LEAST_BOARDS} are needed, for some choose and others are judged: measure more"
        )
    generator = np.random.default_rng(seed)
    for _ in range(repeats):
        parts = np.array_split(generator.permutation(boards), FOLDS)
        for part in parts:
            yield Split(np.concatenate([other for other in parts if other is not part]), part)
