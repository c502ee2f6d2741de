"""`bitting inspect`: what is in a model or an artefact."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from bitting import files
from bitting.artefact.artefact import Artefact, load
from bitting.artefact.claims import SOFT_LOCKS, SPARSITY
from bitting.artefact.model import Model
from bitting.cli import console
from bitting.cli.options import JsonOption
from bitting.errors import LockError
from bitting.locking.kinds import Transform, default_transform, transforms_of
from bitting.look import drawing, inspection, inspection_chart, learning
from bitting.look.inspection import Bound, Inspection, LayerFacts
from bitting.unit.spec import UnitSpec


def inspect(
    file: Annotated[Path, typer.Argument(help="Model, from `bitting train`, or artefact, from `bitting lock`.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Draw it: .svg, .png or .html.")] = None,
    curve: Annotated[Path | None, typer.Option("--curve", help="Draw a model's learning curve: .svg, .png or .html.")] = None,
    clock: Annotated[float, typer.Option(help="MHz, an example: clocks are also told in microseconds.", min=0.001)] = 100.0,
    transform: Annotated[
        str, typer.Option(help="Of a model: the lock whose effect is told; default: what `bitting lock` takes.")
    ] = "",
    every: Annotated[
        bool,
        typer.Option("--all", help="Each layer of constants too: copies, sums and maxima are many, and are told together."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Layers, clocks, scratch memory, and what a lock hides. Of an artefact no key is needed, and no signature is asked for.

    A picture of a model is for nobody else to read, as the model: a sealed artefact hides what it shows.
    """
    for path, option in ((output, "--output"), (curve, "--curve")):
        if path:
            drawing.require(path, option)
    loaded = load(file)
    if isinstance(loaded, Artefact):
        found, mode = inspection.of_artefact(loaded), 0o644
    else:
        found, mode = inspection.of_model(loaded, _transform(loaded.program.spec, transform)), files.PRIVATE
    if curve:
        metric = loaded.interface.metric
        title = f"{file.name}: {loaded.claims.get('dataset', '')}"
        learning.draw(curve, learning.records_of(loaded.claims, file), metric, title)
    if output:
        inspection_chart.draw(output, found, f"{file.name}: {_summary(found)}", mode)
    soft = loaded.claims.get("soft")
    soft = soft if soft in SOFT_LOCKS else None
    if json:
        console.emit_json(found.to_dict() | {"clock_mhz": clock, "soft": soft})
        return
    _print(file, found, clock, every)
    if soft:
        page = "sparsity-lock" if soft == SPARSITY else "soft-locks"
        console.out.print(f"soft lock, as the file claims: {soft}; no key, level of claim family (docs/{page}.md)")
    for path in (output, curve):
        if path:
            console.out.print(f"drawn: {path}")


def _transform(spec: UnitSpec, name: str) -> Transform:
    """Raises LockError for one that the family does not have."""
    allowed = (*transforms_of(spec.vault), Transform.TABLE)
    if not name:
        return default_transform(spec.vault)
    if name not in allowed:
        raise LockError(f"transform {name!r} is not one of spec {spec.name!r}; allowed: {', '.join(allowed)}")
    return Transform(name)


def _summary(found: Inspection) -> str:
    shape = " x ".join(map(str, found.input_shape))
    return f"{found.kind}, {found.task}, {shape} -> {found.outputs}, on {found.spec.name} ({found.spec.id})"


def _or_sealed(value: object) -> str:
    return "sealed" if value is None else str(value)


def _grouped(layers: Sequence[LayerFacts], every: bool) -> Iterator[range]:
    """Numbers of layers that are told together: constants that follow one another, unless `every` one is asked for."""
    for constant, numbers in itertools.groupby(range(len(layers)), lambda number: layers[number].constant and not every):
        run = list(numbers)
        if constant and len(run) > 2:
            yield range(run[0], run[-1] + 1)
        else:
            yield from (range(number, number + 1) for number in run)


def _row(found: Inspection, group: range) -> tuple[object, ...]:
    """A layer, or constants together."""
    layers = found.layers[group.start : group.stop]
    shares = [found.share(layer) for layer in layers]
    share = "" if None in shares else console.percent(sum(each or 0 for each in shares))
    if len(layers) == 1:
        (layer,) = layers
        positions = _or_sealed(layer.positions and layer.positions[0] * layer.positions[1])
        return (
            group.start, layer.kind, _or_sealed(layer.shape), layer.tiles, layer.codes, positions, _or_sealed(layer.macs),
            layer.cycles, share, _or_sealed(layer.reads), _or_sealed(layer.writes),
        )  # fmt: skip
    tiles, macs = sum(layer.tiles for layer in layers), sum(layer.macs or 0 for layer in layers)
    cycles = sum((layer.cycles for layer in layers), Bound(0, 0))
    return (f"{group.start}..{group[-1]}", f"{len(layers)} of constants", "", tiles, "", "", macs, cycles, share, "", "")


def _print(file: Path, found: Inspection, clock: float, every: bool) -> None:
    groups = list(_grouped(found.layers, every))
    rows = [_row(found, group) for group in groups]
    head = ("layer", "kind", "shape", "tiles", "codes", "positions", "MACs", "cycles", "share", "reads", "writes")
    console.table(f"{file}: {_summary(found)}", head, rows)
    console.out.print(
        f"{found.cycles} cycles of tiles, {_about(found.clocks)} clocks for a batch of {found.samples} samples: "
        f"{_about(found.clocks, clock)} us at {clock:g} MHz; challenge, input and answers come on top (`bitting simulate` "
        "counts all)",
    )
    if found.spec.stripes > 1:
        console.out.print(f"{found.spec.stripes} lanes share a sample: they answer as one lane would, and sooner.")
    if found.choices:
        _print_choices(found)
    if any(layer.positions is None for layer in found.layers):
        console.out.print(
            "Positions are sealed, and with them how often a tile's codes run: this is the least, every code once for a cycle."
        )
    elif not found.cycles.known:
        console.out.print("Which code takes how many cycles needs the key: the bounds are those of all weights of the family.")
    together = {number for group in groups if len(group) > 1 for number in group}
    living = [
        (tenant.who, f"{tenant.first}..{tenant.last}", tenant.words, *_life(tenant))
        for tenant in found.tenants
        if tenant.since not in together
    ]
    title = f"scratch memory: {found.spec.scratch_words} words of {found.spec.lanes} activations"
    console.table(title, ("whose", "addresses", "words", "written by layer", "last read by layer"), living)
    if together:
        console.out.print(f"{len(together)} layers of constants are told together (copies, sums, maxima); --all tells each")
    console.table(_lock_title(found), ("what", "is", "how"), [(row.what, row.seen, row.how) for row in found.hidings])
    if found.caution:
        console.out.print(f"caution: {found.caution}")


def _print_choices(found: Inspection) -> None:
    """What other numbers of lanes a sample would mean, and which is chosen."""
    from bitting.program import choosing

    best = choosing.chosen(found.spec, found.choices) if choosing.fitting(found.spec, found.choices) else None
    rows = [
        (
            each.stripes, each.words, each.clocks, each.samples, console.percent(each.busy), each.leaves,
            " ".join(("this model",) * (each.stripes == found.spec.stripes) + ("auto",) * (each == best)),
        )
        for each in found.choices
    ]  # fmt: skip
    head = ("stripes", "scratch words", "clocks of a batch", "samples", "lanes busy", "what leaves the bands", "")
    console.table("lanes that share a sample (`bitting train --stripes`)", head, rows)


def _about(clocks: Bound, clock: float = 0) -> str:
    """Clocks, or microseconds at so many MHz."""
    shown = [f"{end / clock:.1f}" if clock else str(end) for end in (clocks.least, clocks.most) if end is not None]
    return f"at least {shown[0]}" if clocks.most is None else "about " + " to ".join(dict.fromkeys(shown))


def _life(tenant: inspection.Tenant) -> tuple[str, str]:
    since = "the host" if tenant.since < 0 else str(tenant.since)
    return since, "nobody" if tenant.until == tenant.since else _or_sealed(tenant.until)


def _lock_title(found: Inspection) -> str:
    if found.kind == Model.KIND:
        return f"not locked: a lock with {found.lock} would hide of it"
    signed = f"signed by {found.signed_by[:16]} (not checked against an owner)" if found.signed_by else "not signed"
    return f"{found.lock}, level of claim {found.level}, {found.questions} questions of a self-test, {signed}"
