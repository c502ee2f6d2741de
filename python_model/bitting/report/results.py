"""The results of an attack suite as they are in its file: cases (a lock on one network), and findings (an attack on a case).

Shares are 0..1, times seconds, areas as the FPGA tools count them. `bitting.report.reading` makes these and holds them to their
ranges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bitting.suite.format import Training, Verdict

#: What stands in a cell of a table.
Scalar = str | int | float | bool | None


class Kind(StrEnum):
    """How a figure is drawn."""

    CURVE = "curve"
    HISTOGRAM = "histogram"
    ROC = "roc"
    SCATTER = "scatter"
    TABLE = "table"


class Role(StrEnum):
    """What a series is of: the lock, a deliberately weak lock, or what one gets without any attack."""

    LOCK = "lock"
    CONTROL = "control"
    BASELINE = "baseline"


class Claim(StrEnum):
    """Level of a claim (docs/design.md); of an unlocked network none."""

    FAMILY = "family"
    KEY = "key"
    DIE = "die"
    NONE = "none"


@dataclass(frozen=True)
class Made:
    """How the results were made.

    Attributes:
        budget, seed: in the suite's words.
        seconds: that the last command took, which may have gone on with what others left.
        job_seconds: that all jobs took, one after another; None: not said.
        started: UTC, ISO 8601.
        tools: name -> version.
        unfinished: jobs that were not done when the file was written.
        not_run: attacks that were not asked for.
    """

    version: str
    commit: str
    suite: str
    budget: str
    seed: str
    started: str
    seconds: float
    tools: Mapping[str, str]
    unfinished: int = 0
    not_run: tuple[str, ...] = ()
    job_seconds: float | None = None


@dataclass(frozen=True)
class Target:
    """Accuracy (0..1) of the stolen network on hardware that it was not meant for; `held_out`: unknown to the training."""

    name: str
    family: str
    held_out: bool
    metric: float


@dataclass(frozen=True)
class Tile:
    """Clocks of one tile: by the timing law, and counted on the RTL."""

    tile: str
    predicted: int
    measured: int


@dataclass(frozen=True)
class Verification:
    """Comparison of emulator and RTL; `wrong_cycles`: tiles whose clocks differ. `more`: whatever else the suite noted."""

    samples: int
    wrong_bits: int
    wrong_cycles: int
    more: Mapping[str, Scalar]


@dataclass(frozen=True)
class Cost:
    """Of a lock, each beside the same without it (`_twin`); None: not measured.

    `lut4`, `ff`, `ram_bits`: of the engine; `mhz`: its highest clock; `clocks`: all from the reset until the first batch is
    answered, on the RTL, `later`: those of each batch after it; `cycles`: those of tiles until the first answers, `words`:
    command words until then; `bytes`: of what ships.
    """

    lut4: float | None
    lut4_twin: float | None
    ff: float | None
    ff_twin: float | None
    ram_bits: float | None
    ram_bits_twin: float | None
    mhz: float | None
    mhz_twin: float | None
    clocks: float | None
    clocks_twin: float | None
    later: float | None
    later_twin: float | None
    cycles: float | None
    cycles_twin: float | None
    words: float | None
    words_twin: float | None
    bytes: float | None
    bytes_twin: float | None
    device: str | None


@dataclass(frozen=True)
class Case:
    """One lock on one network and data set.

    `holds`: what the attacker has, in words; `twin`, `chance`: accuracies, 0..1; `trainings`: with several seeds, if any.
    """

    id: str
    data: str
    network: str
    spec: str
    vault: str
    fingerprint: str
    transform: str
    soft: str
    level: Claim
    holds: str
    authorised: float
    twin: float | None
    chance: float
    seeds: tuple[str, ...]
    verification: Verification | None
    targets: tuple[Target, ...]
    cycles: tuple[Tile, ...]
    cost: Cost | None
    trainings: tuple[Training, ...] = ()

    @property
    def repeats(self) -> int:
        """Seeds of training behind its accuracies."""
        return len(self.trainings) or len(self.seeds)


@dataclass(frozen=True)
class Series:
    """Points (`x`, `y`, of one length), or the `values` of a histogram."""

    name: str
    role: Role
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A picture of a finding, or a table (`columns`, `rows`). `x`, `y`: labels of the axes, with units."""

    kind: Kind
    title: str
    x: str = ""
    y: str = ""
    series: tuple[Series, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Scalar, ...], ...] = ()


@dataclass(frozen=True)
class Finding:
    """One attack on one case.

    Attributes:
        case: its id.
        attack: its name, the same on every case.
        chapter: of the report.
        attacker: who tries it, as docs/threats.md calls him.
        control: it was run on a deliberately weak lock, which it must break; `weak` says what that is.
        verdict: what came of it.
        gain: how much the attacker got, in `unit`; None if that is no number.
        summary: one sentence, with the number in it.
        seed, seconds: of the run.
        guess_operations: what one guess at the key costs, in operations.
        command: of a shell; makes this finding again.
        figures: of it.
    """

    case: str
    attack: str
    chapter: str
    attacker: str
    control: bool
    verdict: Verdict
    gain: float | None
    unit: str
    summary: str
    seed: str
    seconds: float | None
    guess_operations: float | None
    command: str
    figures: tuple[Figure, ...]
    weak: str = ""


@dataclass(frozen=True)
class Results:
    """A whole file."""

    made: Made
    cases: tuple[Case, ...]
    findings: tuple[Finding, ...]

    def case(self, name: str) -> Case | None:
        """The case of a finding; None for a control on a lock that is no case of its own."""
        return next((case for case in self.cases if case.id == name), None)
