"""How much luck is in one enciphered file, as a beginning for fine-tuning: analysis of variance over a run of the suite.

    python scripts/file_luck_report.py RUN

Without their keys all enciphered files are noise, so what differs between them, beyond what differs between subsets of the
data, is which network at random each of them happens to be. Every lock of the first round saw the same subsets. Analysis of
variance without replication, files x subsets, within each vault (of the vault `aes` biases are in clear, and its files learn a
little worse for it; its transforms are taken for one, though bytes under `aes` are spread otherwise than codes under the other
two); F-test of "no file is luckier than another of its vault"; bounds are of the ratio of luck to the rest, times the rest.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from bitting.locking.kinds import Transform
from bitting.suite.chapters.fine_tuning import STOLEN, FineTuning

#: In these files the weights themselves lie, in another order or under a table: they are more than noise.
NOT_ENCIPHERED = (Transform.SHUFFLE, Transform.TABLE, "none")


def accuracies(run: Path) -> dict[float, list[np.ndarray]]:
    """(files, subsets) best accuracies in percent of each vault, by share."""
    found: dict[float, dict[str, dict[str, dict[int, float]]]] = {}
    for path in sorted((run / "jobs").glob(f"{FineTuning.name}.*.json")):
        job = json.loads(path.read_text())
        part, (_, _, *lock) = job["parameters"], job["case"].split("/")
        if part["start"] == STOLEN and part["round"] == 1 and lock[-1] not in NOT_ENCIPHERED:
            rows = found.setdefault(part["share"], {}).setdefault(lock[0], {})
            rows.setdefault(job["case"], {})[part["repeat"]] = 100 * job["values"]["best"]
    return {
        share: [np.array([[row[n] for n in sorted(row)] for row in rows.values()]) for rows in vaults.values()]
        for share, vaults in sorted(found.items())
    }


def luck(tables: Sequence[np.ndarray]) -> tuple[float, tuple[float, float], float, float]:
    """Standard deviation between files with its 95% bounds, that of what neither file nor subset explains; p of the F-test."""
    subsets = tables[0].shape[1]
    between_free = sum(len(table) - 1 for table in tables)
    within_free = between_free * (subsets - 1)
    between, within = 0.0, 0.0
    for table in tables:
        means = table.mean(axis=1, keepdims=True)
        between += float(subsets * ((means - means.mean()) ** 2).sum() / between_free)
        within += float(((table - means - table.mean(axis=0) + table.mean()) ** 2).sum() / within_free)

    def of_ratio(ratio: float) -> float:
        return max(0.0, (ratio - 1) * within / subsets) ** 0.5

    ratio, law = between / within, stats.f(between_free, within_free)
    ends = of_ratio(ratio / law.ppf(0.975)), of_ratio(ratio / law.ppf(0.025))
    return of_ratio(ratio), ends, within**0.5, float(law.sf(ratio))


def lines(run: Path) -> Iterator[str]:
    """Of Markdown, in points."""
    yield "| share of the data | files x subsets | between files | 95% bounds | the rest | p |"
    yield "|---|---|---|---|---|---|"
    for share, tables in accuracies(run).items():
        files, (lower, upper), rest, p = luck(tables)
        shapes = ", ".join(f"{len(table)} x {table.shape[1]}" for table in tables)
        yield f"| {100 * share:g}% | {shapes} | {files:.2f} | {lower:.2f} to {upper:.2f} | {rest:.2f} | {p:.1g} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of `bitting attack matrix`")
    print("\n".join(lines(parser.parse_args().run)))
