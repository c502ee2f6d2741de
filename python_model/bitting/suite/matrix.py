"""The full matrix: every lock there is, on one data set and network, trained and locked here.

One network is trained for all hard locks (which lock it is locked with changes no weight), and one for each soft lock. What is
made is secret (models, keys) and lies in a folder of its own, of mode 0700, beside the run and not in it; it is made once, and
a run that is begun again goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from bitting.artefact.artefact import lock
from bitting.artefact.claims import SPARSITY, SPLIT
from bitting.artefact.model import Model
from bitting.data import datasets
from bitting.errors import BittingError, LockError
from bitting.locking.device import Device
from bitting.locking.kinds import FINGERPRINTS, Fingerprint, Transform, default_transform, transforms_of
from bitting.locking.scheme import LockScheme
from bitting.suite.cases import Case, Files, describe, puf_case
from bitting.suite.format import Training
from bitting.training import loop, recipes
from bitting.unit.spec import UnitSpec, VaultKind, parse_spec

#: Called with (networks trained, networks).
Progress = Callable[[int, int], None]


class Locks(StrEnum):
    """Which of the matrix."""

    ALL = "all"
    """Every fingerprint with every transform of both vaults, the table alone, the soft locks."""
    TRANSFORMS = "transforms"
    """Every transform once."""
    DEFAULT = "default"
    """What locks unless something else is asked for."""


@dataclass(frozen=True)
class Plan:
    """What is made.

    Attributes:
        data: name of the data set, or of the user's own.
        network: of ours; or any name, for a model that is given.
        spec: family of the hard locks; its vault is not looked at.
        soft_spec: family of the soft lock against other number formats, which needs twice the memory for convolutions.
        locks: which.
        trainings: networks with seeds of their own, of which the first is locked: how far accuracies scatter.
        epochs: of each; None: as the recipe says.
        model: trained already; None: train.
    """

    data: str
    network: str = "mlp"
    spec: str = "base"
    soft_spec: str = "soft"
    locks: Locks = Locks.ALL
    trainings: int = 3
    epochs: int | None = None
    model: Path | None = None


def prepare(plan: Plan, folder: Path, progress: Progress | None = None) -> dict[Case, Files]:
    """Train and lock what is not there yet.

    Args:
        plan: what is made.
        folder: for models, keys and artefacts; secret.
        progress: see `Progress`.

    Raises:
        BittingError: if the folder holds something else, or a network can not be trained.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    spec = parse_spec(plan.spec)
    soft = () if plan.model or plan.locks is Locks.DEFAULT else (SPLIT, SPARSITY)
    total = (0 if plan.model else plan.trainings) + len(soft)
    done = 0

    def trained(path: Path, family: UnitSpec, soft_lock: str = "") -> Model:
        nonlocal done
        model = _trained(plan, path, family, soft_lock)
        done += 1
        if progress:
            progress(done, total)
        return model

    no_trainings: tuple[Training, ...] = ()
    if plan.model:
        main, trainings = plan.model, no_trainings
        model = Model.load(main)
    else:
        paths = [folder / f"model-{number}.safetensors" for number in range(plan.trainings)]
        models = [trained(path, spec) for path in paths]
        main, model = paths[0], models[0]
        trainings = tuple(Training(m.claims["accuracy"], m.claims["twin_accuracy"]) for m in models)
    files = [Files(plan.data, model=main)]
    files += [
        _locked(plan, folder, main, model, VaultKind(vault), *pairing)
        for vault in VaultKind
        for pairing in _pairings(replace(model.program.spec, vault=vault), plan.locks)
    ]
    cases = {describe(one, plan.network, trainings): one for one in files}
    cases[puf_case(next(iter(cases)))] = files[0]
    for name in soft:
        path = folder / f"soft-{name}.safetensors"
        trained(path, parse_spec(plan.soft_spec) if name == SPLIT else spec, name)
        one = Files(plan.data, model=path)
        cases[describe(one, plan.network)] = one
    return cases


def _pairings(spec: UnitSpec, locks: Locks) -> Sequence[tuple[str, str]]:
    """Fingerprints and transforms."""
    default = (Fingerprint.CLOCK, default_transform(spec.vault))
    if locks is Locks.DEFAULT:
        return [default] if spec.vault == VaultKind.ASCON else []
    pairs = [(fingerprint, transform) for transform in transforms_of(spec.vault) for fingerprint in FINGERPRINTS]
    if locks is Locks.TRANSFORMS:
        pairs = [pair for pair in pairs if pair[0] == Fingerprint.CLOCK]
    possible = [pair for pair in pairs if _possible(spec, *pair)]
    return [*possible, *([(Fingerprint.NONE, Transform.TABLE)] if spec.vault == VaultKind.AES else [])]


def _possible(spec: UnitSpec, fingerprint: str, transform: str) -> bool:
    """Whether the family has this lock."""
    try:
        LockScheme.new(spec, fingerprint, transform)
    except LockError:
        return False
    return True


def _trained(plan: Plan, path: Path, spec: UnitSpec, soft: str) -> Model:
    """The model of a file, or a new one with a seed that is drawn."""
    data = datasets.load(plan.data)
    if path.exists():
        model = Model.load(path)
        if model.claims.get("dataset") != data.name or model.program.spec.id != spec.id:
            raise BittingError(
                f"{path} was trained on {model.claims.get('dataset')} for {model.program.spec.name}; asked for is {data.name} "
                f"for {spec.name}: give another --work folder"
            )
        return model
    config = recipes.recipe(data, plan.network)
    config = recipes.soft(config, soft) if soft else config
    config = replace(config, epochs=plan.epochs) if plan.epochs is not None else config
    model = loop.train(spec, data, config, path.with_name(f".{path.name}.checkpoint"))
    model.save(path)
    return model


def _locked(plan: Plan, folder: Path, main: Path, model: Model, vault: VaultKind, fingerprint: str, transform: str) -> Files:
    """An artefact of the model for the device of its vault; both are made if they are not there."""
    key, path = folder / f"{vault.value}.key", folder / f"{vault.value}-{fingerprint}-{transform}.safetensors"
    spec = replace(model.program.spec, vault=vault)
    if not key.exists():
        Device.new(spec).save(key)
    if not path.exists():
        own = Model(replace(model.program, spec=spec), model.claims, model.interface)
        lock(own, Device.load(key), fingerprint, transform, allow_reproducible=True).save(path)
    return Files(plan.data, path, key, main)
