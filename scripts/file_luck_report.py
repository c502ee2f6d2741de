"""How much luck is in one enciphered file, as a beginning for fine-tuning: analysis of variance over a run of the suite.

    python scripts/file_luck_report.py RUN
    python scripts/file_luck_report.py --worthless LUCK REST

Without their keys all enciphered files are noise, so what differs between them, beyond what differs between subsets of the
data, is which network at random each of them happens to be. Every lock of the first round saw the same subsets. Analysis of
variance without replication, files x subsets, within each vault (of the vault `aes` biases are in clear, and its files learn a
little worse for it; its transforms are taken for one, though bytes under `aes` are spread otherwise than codes under the other
two); F-test of "no file is luckier than another of its vault"; bounds are of the ratio of luck to the rest, times the rest.

The second command simulates how often the suite's rounds call a lock broken that gives nothing away, if gains scatter by LUCK
points between files, the same at all shares, and by REST points between subsets (standard deviations; normal laws). That a
plain first round is tried again at one share only is left out: no luck looks so plain.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from bitting.locking.kinds import Transform
from bitting.suite.chapters.fine_tuning import ALLOWED, CHANCES, STOLEN, FineTuning
from bitting.suite.efforts import effort_of

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


def called_broken(luck: float, rest: float, trials: int = 200_000, seed: int = 0) -> dict[str, float]:
    """How often, 0..1, a worthless file passes the first round, both, and both if the second has no files of its own.

    Student's t, one-sided, as in the suite, but reckoned apart from it: of 5 subsets at each share, then of 10.
    """
    effort, rng = effort_of("standard", 0, False), np.random.default_rng(seed)
    shares, subsets = len(effort.shares), effort.repeats
    file = rng.normal(0, luck, (trials, 1, 1))

    def sure(gains: np.ndarray, chances: np.ndarray) -> np.ndarray:
        mean, error = gains.mean(axis=2), gains.std(axis=2, ddof=1) / gains.shape[2] ** 0.5
        return np.asarray(mean > np.maximum(100 * ALLOWED, stats.t.isf(chances, gains.shape[2] - 1) * error))

    first = sure(rng.normal(0, rest, (trials, shares, subsets)) + file, np.full((1, 1), CHANCES[0] / shares))
    chances = CHANCES[1] / np.maximum(1, first.sum(axis=1, keepdims=True))
    again = rng.normal(0, rest, (trials, shares, 2 * subsets))
    fresh = rng.normal(0, luck, again.shape)
    return {
        "the first round": float(first.any(axis=1).mean()),
        "both": float((first & sure(again + fresh, chances)).any(axis=1).mean()),
        "both, of one file": float((first & sure(again + file, chances)).any(axis=1).mean()),
    }


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("run", type=Path, nargs="?", help="folder of `bitting attack matrix`")
    asked.add_argument("--worthless", type=float, nargs=2, metavar=("LUCK", "REST"), help="simulate, in points")
    options = parser.parse_args()
    if options.run:
        print("\n".join(lines(options.run)))
        return
    for rounds, share in called_broken(*options.worthless).items():
        print(f"{rounds}: {100 * share:.3g}%, one in {1 / share:.0f}" if share else f"{rounds}: never")


if __name__ == "__main__":
    main()
