"""Commands of the attack suite: one lock, or all of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitting.cli import console
from bitting.cli.options import DataOption, NetworkOption, OwnerOption, SpecOption, UnsignedOption, load_locked
from bitting.errors import BittingError

if TYPE_CHECKING:
    from bitting.suite.cases import Case, Files

SuiteOption = Annotated[str, typer.Option("--suite", help="How much: digits (minutes), standard (hours), full (days).")]
BudgetOption = Annotated[
    float | None,
    typer.Option("--budget", min=0, help="Seconds after which no job is begun; the same command again does the rest."),
]
JobsOption = Annotated[int, typer.Option("--jobs", min=0, help="Jobs at once; 0: one a core.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="All that is random in the attacks follows from it.")]
RtlOption = Annotated[bool, typer.Option("--rtl/--no-rtl", help="Attack the simulated RTL through its ports, too.")]
OnlyOption = Annotated[
    list[str],
    typer.Option(
        "--only",
        help="Only the attack of this name (docs/attacks.md; a name that is none lists all of them); may be given again.",
    ),
]
RayOption = Annotated[
    str,
    typer.Option(
        "--ray", help="Run jobs on a Ray cluster: its address, auto, or local (extra `cluster`). All machines see the files."
    ),
]
RunOption = Annotated[Path, typer.Option("--output", "-o", help="Folder of the run, new or begun.")]


def suite(
    output: RunOption,
    artefact: Annotated[Path | None, typer.Argument(help="Locked artefact; none, to judge a model with a soft lock.")] = None,
    device: Annotated[Path | None, typer.Option("--device", help="Key file of its device: to know what is right.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="Unlocked model: for the same, and for controls.")] = None,
    data: DataOption = "",
    network: Annotated[str, typer.Option("--network", help="Name of the network, for people.")] = "network",
    size: SuiteOption = "standard",
    budget: BudgetOption = None,
    jobs: JobsOption = 0,
    seed: SeedOption = 0,
    rtl: RtlOption = True,
    only: OnlyOption = [],  # noqa: B006
    ray: RayOption = "",
    owner: OwnerOption = None,
    allow_unsigned: UnsignedOption = False,
) -> None:
    """Every attack there is on one lock, each beside a weak lock that it must break first. Writes RUN/results.json.

    Interrupt it, or kill it, and run the same command again: jobs that are done are not done twice. Exit status 1 if an attack
    could not break its control: then its failure says nothing.
    """
    from bitting.artefact.model import Model
    from bitting.data import datasets
    from bitting.suite.cases import Files, describe, open_case

    if model is None or (artefact is not None and device is None):
        raise BittingError("give --model, and with an artefact its --device: without them nobody can say what is right")
    if artefact is not None and device is not None:
        load_locked(artefact, device, owner, allow_unsigned)
    name = data or datasets.claimed(Model.load(model).claims)
    given = "ARTEFACT --device KEY --model MODEL" if artefact else "--model MODEL"
    command = f"bitting attack suite {given} --network {network}" + f" --data {data}" * bool(data)
    files = Files(name, model=model)
    first = describe(files, network)
    if artefact is None and first.control:
        raise BittingError(f"{model} has no soft lock, and no artefact is given: there is nothing to attack")
    cases = {first: files, open_case(first): files}
    if first.control:
        cases = locked_cases(Files(name, artefact, device, model), network)
    elif artefact is not None:
        locked = Files(name, artefact, device, model)
        cases[describe(locked, network)] = locked
    results = attacked(cases, output, command, size, budget=budget, jobs=jobs, seed=seed, rtl=rtl, only=only, ray=ray)
    _show(results, output)
    require_controls(results)


def locked_cases(files: Files, network: str) -> dict[Case, Files]:
    """What the suite is run on to judge an artefact: its model in clear, it, and a root secret from a PUF."""
    from bitting.suite.cases import Files, describe, puf_case

    model = Files(files.data, model=files.model)
    clear = describe(model, network)
    return {clear: model, describe(files, network): files, puf_case(clear): model}


def matrix(
    output: RunOption,
    data: DataOption = "digits",
    network: NetworkOption = "mlp",
    spec: SpecOption = "base",
    soft_spec: Annotated[str, typer.Option(help="Family of the soft lock against other number formats.")] = "soft",
    model: Annotated[
        Path | None, typer.Option("--model", help="Lock this model instead of training; --network names it.")
    ] = None,
    locks: Annotated[
        str, typer.Option(help="all, transforms (each once), or default; by default transforms with --suite digits, else all.")
    ] = "",
    trainings: Annotated[int, typer.Option(min=1, help="Networks with seeds of their own; the first one is locked.")] = 3,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of each; default: as the recipe says.")] = None,
    work: Annotated[
        Path | None, typer.Option("--work", help="Folder for models and keys, secret; default: RUN.secret beside the run.")
    ] = None,
    size: SuiteOption = "standard",
    budget: BudgetOption = None,
    jobs: JobsOption = 0,
    seed: SeedOption = 0,
    rtl: RtlOption = True,
    only: OnlyOption = [],  # noqa: B006
    ray: RayOption = "",
) -> None:
    """Train a network, lock it with every lock of both vaults, train the soft locks, and let the suite attack all of it.

    Models and keys lie in a folder of their own, beside the run; the run itself has no secret in it.
    """
    from bitting.suite.matrix import Locks, Plan, prepare

    chosen = locks or (Locks.TRANSFORMS if size == "digits" else Locks.ALL)
    if chosen not in list(Locks):
        raise BittingError(f"unknown --locks {locks!r}; allowed: {', '.join(Locks)}")
    plan = Plan(data, network, spec, soft_spec, Locks(chosen), trainings, epochs, model)
    with console.progress("training") as done:
        cases = prepare(plan, work or output.resolve().with_name(f"{output.resolve().name}.secret"), done)
    others = {  # than the options are by default
        "network": network if network != "mlp" else None,
        "spec": spec if spec != "base" else None,
        "soft-spec": soft_spec if soft_spec != "soft" else None,
        "locks": locks,
        "model": "MODEL" if model else None,
        "trainings": trainings if trainings != 3 and not model else None,
        "epochs": None if model else epochs,
    }
    command = f"bitting attack matrix --data {data}"
    command += "".join(f" --{name} {value}" for name, value in others.items() if value)
    results = attacked(cases, output, command, size, budget=budget, jobs=jobs, seed=seed, rtl=rtl, only=only, ray=ray)
    _show(results, output)
    require_controls(results)


def attacked(
    cases: Mapping[Case, Files],
    output: Path,
    command: str,
    size: str,
    *,
    budget: float | None = None,
    jobs: int = 0,
    seed: int = 0,
    rtl: bool = True,
    only: list[str] | None = None,
    ray: str = "",
) -> dict[str, Any]:
    """Attack, with a progress bar; what `results.json` in the folder `output` holds. See the options of the same names."""
    from bitting.suite import registry
    from bitting.suite.efforts import effort_of
    from bitting.suite.runner import Processes, Runner
    from bitting.suite.suite import Run, perform

    count = jobs or len(os.sched_getaffinity(0))
    runner: Runner = Processes(count)
    if ray:
        from bitting.suite.cluster import Cluster

        runner = Cluster(count, None if ray == "local" else ray)
    run = Run(cases, effort_of(size, seed, rtl), command, registry.chosen(only or []))
    with console.progress("attacks") as done:
        return perform(run, output, runner, budget=budget, progress=done)


def require_controls(results: Mapping[str, Any]) -> None:
    """End with status 1 if an attack could not break its control."""
    from bitting.suite.results import void

    if failed := void(results):
        console.err.print(
            f"these attacks could not break their controls, so what they say of locks is void: {', '.join(failed)}"
        )
        raise typer.Exit(console.EXIT_MISMATCH)


def _show(results: Mapping[str, Any], output: Path) -> None:
    from bitting.suite.format import RESULTS

    rows = [
        ("control" if one["control"] else one["verdict"], one["case"], one["attack"], one["summary"])
        for one in results["findings"]
    ]
    rows.sort(key=lambda row: ("broken", "void", "conceded", "holds", "not applicable", "control").index(row[0]))
    console.table(f"{len(rows)} findings", ("verdict", "case", "attack", ""), rows)
    if left := results["made"]["unfinished"]:
        console.err.print(f"{left} jobs were not begun within the budget; the same command again does them")
    console.out.print(f"results: {output / RESULTS}")
