"""Cases: one lock on one network and data set, and the files that a job needs of it.

What is public about a case goes into a run's folder; where its files lie, and what is in them, does not.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bitting.artefact import container
from bitting.artefact.artefact import Artefact
from bitting.artefact.model import Model
from bitting.data import datasets
from bitting.data.dataset import Dataset
from bitting.errors import BittingError
from bitting.locking.device import Device
from bitting.locking.kinds import Transform
from bitting.locking.scheme import LockScheme
from bitting.program.interface import Task
from bitting.program.layers import Program
from bitting.suite.costs import Cost, cost_of, cost_of_soft
from bitting.suite.format import Training
from bitting.unit.spec import VaultKind, spec_text

#: Id of the case without a lock, below data set and network: what attacks are run on first, to see that they work.
OPEN = "none"
#: Fingerprint of the case of a root secret from a PUF.
PUF = "puf"
#: Of so many first samples a class that should have so many of them has at least one, but by a chance of e^-20.
_FIRST, _MISSED = 250, 20
_KEEPS = "the artefact, all source, the public spec, labelled data, and the network's architecture"


@dataclass(frozen=True)
class Case:
    """What is public about a case. Accuracies are shares of the test set, 0..1.

    Attributes:
        id: data set / network / vault / fingerprint / transform.
        data, network: names.
        spec: of the unit, as text.
        vault: `ascon`, `aes`, or "none".
        fingerprint, transform: of the lock; "none" without one.
        soft: soft lock, or None.
        level: of the claim: family, key, die, none.
        holds: what the attacker holds, in words.
        authorised: of the right device.
        twin: of the unlocked twin.
        chance: of guessing the commonest class.
        digest: SHA-256 of the artefact, or of the model if there is none; a run goes on with the same file only.
        trainings: this one and others with other seeds; none: nobody trained another.
        macs: multiply-adds of a sample.
        cost: of the lock; None: there is none, or nothing of it is known.
    """

    id: str
    data: str
    network: str
    spec: str
    vault: str
    fingerprint: str
    transform: str
    soft: str | None
    level: str
    holds: str
    authorised: float
    twin: float
    chance: float
    digest: str
    trainings: tuple[Training, ...] = ()
    macs: int = 0
    cost: Cost | None = None

    @property
    def control(self) -> bool:
        """Nothing is locked: weak locks are made of its model, for attacks to break."""
        return self.vault == OPEN and self.fingerprint == OPEN and not self.soft

    @property
    def locked(self) -> bool:
        """There is an artefact."""
        return self.vault != OPEN

    @property
    def puf(self) -> bool:
        """It is a root secret from a PUF, and no network."""
        return self.fingerprint == PUF

    @property
    def group(self) -> str:
        """Data set and network; cases of one group have a control together."""
        return "/".join(self.id.split("/")[:2])

    @property
    def sealed(self) -> bool:
        """Its program is sealed: no code of it is seen without the key."""
        return self.vault == VaultKind.ASCON and self.transform not in (OPEN, Transform.TABLE)

    @property
    def keyed(self) -> bool:
        """There is a lock key."""
        return self.transform not in (OPEN, Transform.TABLE)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Files:
    """Where a case's files lie; all on a disk that whoever runs its jobs can read. None: it has none.

    Attributes:
        data: name of the data set, or of the user's own.
        artefact, device, model: files.
    """

    data: str
    artefact: Path | None = None
    device: Path | None = None
    model: Path | None = None


@dataclass(frozen=True, eq=False)
class Material:
    """A case with its files read. `claims`: as they stand in the artefact's file, whatever they are."""

    case: Case
    model: Model
    data: Dataset
    artefact: Artefact | None = None
    device: Device | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> Program:
        """The unlocked program."""
        return self.model.program

    @property
    def locked(self) -> Artefact:
        """The artefact of a case that has one."""
        assert self.artefact is not None
        return self.artefact

    @property
    def owner(self) -> Device:
        """The right device of a case that has one."""
        assert self.device is not None
        return self.device

    def train(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The first training samples: activations and labels."""
        return self.model.interface.activations(self.data.train_x[:count]), self.data.train_y[:count]

    def test(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The first test samples: activations and labels."""
        return self.model.interface.activations(self.data.test_x[:count]), self.data.test_y[:count]


@functools.lru_cache(maxsize=4)
def material(case: Case, files: Files) -> Material:
    """Read a case's files; those read last are kept, as jobs of one case come together."""
    assert files.model is not None
    return Material(
        case,
        Model.load(files.model),
        datasets.load(files.data),
        Artefact.load(files.artefact) if files.artefact else None,
        Device.load(files.device) if files.device else None,
        container.load(files.artefact, Artefact.KIND).header["claims"] if files.artefact else {},
    )


def describe(files: Files, network: str, trainings: tuple[Training, ...] = ()) -> Case:
    """The case of some files: a locked artefact with its device and model, or a model alone.

    Args:
        files: at least the model's.
        network: its name, for people.
        trainings: see `Case`.

    Raises:
        BittingError: if a file can not be read, they do not fit, or the network is not for classes.
    """
    assert files.model is not None
    model, data = Model.load(files.model), datasets.load(files.data)
    if data.task != Task.CLASSES:
        raise BittingError(f"{data.name} is for {data.task}; the suite judges networks that tell classes: give such data")
    for name, labels in (("training", data.train_y), ("test", data.test_y)):
        _require_mixed(f"{data.name}, {name} samples", labels)
    artefact = Artefact.load(files.artefact) if files.artefact else None
    if artefact is not None:
        _require_pair(files, artefact, model)
    soft = model.claims.get("soft")
    vault, fingerprint, transform = OPEN, OPEN, OPEN
    if artefact is not None:
        scheme = artefact.scheme
        vault, fingerprint, transform = artefact.program.spec.vault.value, scheme.fingerprint.value, scheme.transform.value
    name = "/".join((vault, fingerprint, transform)) if artefact else f"{OPEN}/soft/{soft}" if soft else OPEN
    counts = Counter(data.test_y.tolist())
    accuracy = float((model.interface.answers(model.sums(data.test_x)) == data.test_y).mean())
    return Case(
        id=f"{data.name}/{network}/{name}",
        data=data.name,
        network=network,
        spec=spec_text(model.program.spec if artefact is None else artefact.program.spec),
        vault=vault,
        fingerprint=fingerprint,
        transform=transform,
        soft=str(soft) if soft else None,
        level=str(artefact.scheme.level) if artefact else "family" if soft else OPEN,
        holds=_holds(artefact, bool(soft)),
        authorised=accuracy,
        twin=float(model.claims.get("twin_accuracy", float("nan"))),
        chance=counts.most_common(1)[0][1] / len(data.test_y),
        digest=hashlib.sha256((files.artefact or files.model).read_bytes()).hexdigest(),
        trainings=trainings,
        macs=model.program.macs * model.program.bands,
        cost=_cost(files, model, artefact) if artefact else cost_of_soft(model.program.spec) if soft else None,
    )


def _cost(files: Files, model: Model, artefact: Artefact) -> Cost:
    assert files.device is not None and files.artefact is not None
    return cost_of(model, artefact, Device.load(files.device), files.artefact.stat().st_size)


def open_case(soft: Case) -> Case:
    """The case that a control is made for where there is a model with a soft lock only."""
    return replace(
        soft, id=f"{soft.group}/{OPEN}", soft=None, cost=None, level=OPEN, holds="the model in clear: nothing is locked"
    )


def puf_case(control: Case) -> Case:
    """A root secret from a PUF, with its helper data: judged once for each group."""
    holds = "the chip, and its helper data, which he may write; not the silicon's answers"
    return replace(control, id=f"{control.group}/{PUF}", fingerprint=PUF, level="die", holds=holds, trainings=())


def _require_mixed(what: str, labels: np.ndarray) -> None:
    """Raises BittingError if the first samples, which attackers see and judges count, are not like the rest."""
    first, every = (np.bincount(part, minlength=int(labels.max()) + 1) for part in (labels[:_FIRST], labels))
    expected = every * min(1, _FIRST / len(labels))
    missing = np.flatnonzero((expected >= _MISSED) & (first == 0))
    if len(missing):
        share = 100 * every[missing[0]] / len(labels)
        raise BittingError(
            f"{what} are in an order: class {missing[0]} is {share:.0f}% of all, and none of the first {_FIRST}; attacks take "
            "the first ones: shuffle the data"
        )


def _require_pair(files: Files, artefact: Artefact, model: Model) -> None:
    """Raises BittingError unless the device opens the artefact to the model."""
    from bitting.attack.retraining import flat_codes
    from bitting.locking.transform import restore_program

    if files.device is None:
        raise BittingError(f"{files.artefact} comes without its device; give --device: somebody must know the right key")
    device = Device.load(files.device)
    opened = restore_program(artefact.program, artefact.scheme, device)
    wanted, found = flat_codes(model.program), flat_codes(opened)
    if wanted.shape != found.shape or not np.array_equal(wanted, found):
        raise BittingError(
            f"{files.artefact}, opened with {files.device}, is not the model of {files.model}: give the model that was locked, "
            "and the device that it was locked for"
        )


def _holds(artefact: Artefact | None, soft: bool) -> str:
    if artefact is None:
        return "the model in clear" + (", as everybody has it" if soft else ": nothing is locked")
    scheme: LockScheme = artefact.scheme
    if scheme.seals:
        return f"{_KEEPS} (which a sealed file does not tell: the attacks are given it)"
    return _KEEPS + ("" if scheme.keyed else "; no key is missing, only the table")
