"""The command that converts a network in clear to other hardware, as a thief would, and says what is left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from bitting.cli import console
from bitting.cli.console import percent
from bitting.cli.options import DataOption, JsonOption, ModelArgument, SamplesOption, inputs_of, selected, test_data
from bitting.errors import BittingError
from bitting.program.interface import Task

if TYPE_CHECKING:
    from bitting.artefact.model import Model
    from bitting.targets.stolen import Stolen

#: Before a conversion; see `bitting.targets.repair` and `bitting.targets.filling`.
REPAIRS = {
    "nothing": "as stolen",
    "merged": "weights of inputs that are always equal added up",
    "shrunk": "the smallest weights with the same sums",
    "filled": "gather lists of the sparsity lock made dense",
}
#: Samples that are judged if nobody says how many: all of them on every target take minutes.
_SAMPLES = 1000


def conversions(
    model: ModelArgument,
    data: DataOption = "",
    samples: SamplesOption = "",
    family: Annotated[list[str] | None, typer.Option("--family", help="Only this family of hardware; may be repeated.")] = None,
    unlabelled: Annotated[
        int | None, typer.Option("--unlabelled", help="Training samples that conversions look at, 1 to 512; all if left out.")
    ] = None,
    repair: Annotated[
        str,
        typer.Option("--repair", help=f"What the thief does first: {'; '.join(f'{k} ({v})' for k, v in REPAIRS.items())}."),
    ] = "nothing",
    json: JsonOption = False,
) -> None:
    """What other hardware makes of a network in clear: number formats, pruning, other waves (minutes).

    Of each family of hardware the one that gives a thief the most, see docs/soft-locks.md and docs/sparsity-lock.md, where
    answers far below chance say something, too. The first 1000 test samples judge unless --samples says otherwise.
    onnxruntime and torchao are wanted by two families (`pip install 'bitting[targets]'`).
    """
    from bitting.artefact.model import Model
    from bitting.targets.families import every_target
    from bitting.targets.judge import CALIBRATION_SAMPLES, judge

    loaded = Model.load(model)
    dataset = test_data(loaded, data)
    if dataset.task != Task.CLASSES:
        raise BittingError(f"{dataset.name} is for {dataset.task}; converted networks are judged by the classes they tell")
    chosen = every_target(loaded.program.spec.acc_bits)
    if family:
        known = list(dict.fromkeys(each.family for each in chosen))
        if unknown := [name for name in family if name not in known]:
            raise BittingError(f"--family {unknown[0]} is unknown; allowed: {', '.join(known)}")
        chosen = tuple(each for each in chosen if each.family in family)
    count = CALIBRATION_SAMPLES if unlabelled is None else unlabelled
    if not 1 <= count <= CALIBRATION_SAMPLES:
        raise BittingError(f"--unlabelled {count} samples; allowed are 1 to {CALIBRATION_SAMPLES}")
    part = selected(samples, len(dataset.test_y), _SAMPLES)
    seen = dataset.train_x[np.random.default_rng(0).permutation(len(dataset.train_x))[:count]]
    stolen, changed = _repaired(repair, loaded)
    with console.progress("conversions", len(chosen)) as done:
        found = judge(
            stolen, inputs_of(loaded, dataset.test_x[part]), dataset.test_y[part], chosen,
            calibration=inputs_of(loaded, seen), progress=lambda now, _total, _last: done(now),
        )  # fmt: skip
    if json:
        console.emit_json({"repair": repair, "changed": changed, "unlabelled": len(seen), **found.to_dict()})
        return
    rows = [("the unit, or exact emulation", "", percent(found.authorised), "")]
    rows += [
        (each.family, each.split.replace("_", " "), percent(each.accuracy), each.target)
        for each in found.worst_of_families().values()
    ]
    judged = f"{found.samples} samples, {len(seen)} unlabelled samples seen"
    title = f"{model}: {dataset.name}, {judged}, repair: {repair}; level of claim: family"
    console.table(title, ("hardware", "list", "accuracy", "best of the family"), rows)
    if repair != "nothing" and not changed:
        console.out.print(f"--repair {repair} found nothing to do in this network: these are the figures as stolen")


def _repaired(name: str, model: Model) -> tuple[Stolen, bool]:
    """What the thief has then, and whether trained weights or layers are other than before."""
    import torch

    from bitting.targets import filling, repair
    from bitting.targets.stolen import Stolen

    stolen = Stolen.of(model.program)
    if name not in REPAIRS:
        raise BittingError(f"--repair {name} is unknown; allowed: {', '.join(REPAIRS)}")
    made = {"merged": repair.merged, "shrunk": repair.shrunk, "filled": filling.filled}
    if name not in made:
        return stolen, False
    found = made[name](stolen)
    alike = [torch.equal(a.weights, b.weights) for a, b in zip(stolen.layers, found.layers, strict=False)]
    return found, len(stolen.layers) != len(found.layers) or not all(alike)
