"""Commands about families, models and this machine."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitting import files
from bitting.artefact.model import Model
from bitting.cli import console
from bitting.cli.options import (
    DataOption,
    JsonOption,
    NetworkOption,
    SpecOption,
    StripesOption,
    TaskOption,
    numbers,
    stripes_of,
)
from bitting.errors import BittingError, ExtraError, missing_extra
from bitting.look import learning
from bitting.program.interface import score_text
from bitting.unit.spec import UnitSpec, parse_spec

if TYPE_CHECKING:
    from bitting.training.recipes import TrainConfig


def spec(spec: Annotated[str, typer.Argument(help="Family.")] = "base", json: JsonOption = False) -> None:
    """Print the format page of a family: widths, extremes, code table, cycles, sizes."""
    from bitting.cli import format_page

    family = parse_spec(spec)
    if json:
        console.emit_json(format_page.facts(family))
    else:
        console.out.print(format_page.text(family))


#: Of a score that is 1 at best, how far the unit may be below its twin without a word.
_FAR_BELOW = 0.05


def train(
    output: Annotated[Path, typer.Option("--output", "-o", help="Model to write (unlocked: keep it secret).")],
    data: DataOption = "digits",
    task: TaskOption = None,
    spec: SpecOption = "base",
    stripes: StripesOption = "",
    epochs: Annotated[
        int | None, typer.Option(min=0, help="Passes over the training set; default: the recipe's. 0: convert a model only.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="For experiments: the model can then be trained again by anyone. Default: drawn, secret."),
    ] = None,
    network: NetworkOption = "mlp",
    hidden: Annotated[
        str, typer.Option("--hidden", help="Sizes of the MLP's hidden layers, with commas; default: the recipe's.")
    ] = "",
    onnx: Annotated[
        Path | None,
        typer.Option(help="Convert and fine-tune this ONNX model instead (pixels from 0 to 1, other data as they are)."),
    ] = None,
    onnx_output: Annotated[
        str | None, typer.Option(help="Which output of the ONNX model answers, if they say different things.")
    ] = None,
    torch: Annotated[
        str, typer.Option(help="Convert and fine-tune a PyTorch model instead: module:Class, or module:function that gives it.")
    ] = "",
    weights: Annotated[Path | None, typer.Option(help="State dictionary of the model that --torch names.")] = None,
    activation: Annotated[
        str,
        typer.Option(
            help="Of a model that is given: relu (default) keeps ReLU and the answers, fold puts the unit's wave in its place."
        ),
    ] = "",
    soft: Annotated[
        str | None,
        typer.Option(
            help="Soft lock, of classes: quantisation, with --spec soft (doubles hidden channels), or sparsity (fewer clocks "
            "here, wrong where it is pruned); baselines that do not lock: sampled, qu-anti. See docs/soft-locks.md."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train a network on the unit's exact arithmetic, and its unlocked twin beside it.

    Interrupt it and run the same command again: it resumes after the last whole epoch. Under `torchrun` every process takes its
    share of each batch. The learning curve goes beside the model, as a table (.curve.csv) and a picture (.curve.svg).
    """
    given = _given_model(onnx, onnx_output, torch, weights)
    from bitting.artefact import claims
    from bitting.data import datasets
    from bitting.training import distributed, recipes
    from bitting.training import loop as training

    family = parse_spec(spec)
    dataset = datasets.load(data, task)
    _require_choice_of_ours(given is not None, network, hidden, soft)
    config = replace(recipes.recipe(dataset, network), seed=seed)
    config = _for_given(config, given is not None, activation, epochs)
    config = replace(config, epochs=epochs) if epochs is not None else config
    config = config if soft is None else recipes.soft(config, soft)
    config = replace(config, hidden=tuple(numbers("--hidden", hidden))) if hidden else config
    checkpoint = output.with_name(f".{output.name}.checkpoint")
    started = time.perf_counter()
    with distributed.group():
        with console.progress(f"training on {dataset.name}", config.epochs_in_all) as done:
            counted = training.counted(done, config)
            model = training.train(family, dataset, config, checkpoint, counted, given, stripes_of(stripes))
            family = model.program.spec
        if not distributed.leads():
            return
    model.save(output)
    seconds, name = time.perf_counter() - started, model.interface.metric.lower()
    if given is None and model.claims[f"twin_{name}"] - model.claims[name] > _FAR_BELOW:
        console.err.print("the unit is far below its twin: it wants more or wider hidden layers (--hidden), or more --epochs")
    curve = _write_curve(output, model) if model.claims["epochs"] else []
    if json:
        shown = {**claims.public(model.claims), "twin": model.claims["twin"], "curve": [str(path) for path in curve]}
        console.emit_json({**shown, "seconds": round(seconds, 1)})
        return
    for note in model.claims["notes"]:
        console.err.print(note)
    usage = training.code_usage(model) * family.codes
    rows = [
        *_scores(model),
        *([("soft lock", f"{soft}, no key; judge it with bitting attack conversions {output}")] if soft else []),
        ("code usage, least and most (1 = equal)", f"{usage.min():.2f} .. {usage.max():.2f}"),
        ("seed", "drawn; in the model's file only" if seed is None else f"{seed}: others can train this model again"),
        *([("learning curve", ", ".join(map(str, curve)))] if curve else []),
        ("seconds", f"{seconds:.1f}"),
    ]
    console.table(f"{output}: {dataset.name}, {model.interface.task}, on {family.name} ({family.id})", ("", ""), rows)


def _scores(model: Model) -> list[tuple[str, str]]:
    """What a trained model claims of itself, with what each score is of."""
    metric, claimed = model.interface.metric, model.claims
    name = metric.lower()
    told = {
        "converted, before training": claimed.get(f"converted_{name}"),
        f"unit {metric}": claimed[name],
        f"twin {metric} ({claimed['twin'].partition(';')[0]})": claimed[f"twin_{name}"],
    }
    return [(what, score_text(score, metric)) for what, score in told.items() if score is not None]


def _write_curve(output: Path, model: Model) -> list[Path]:
    """Table and picture of the learning curve beside a model that is written; only the table without what draws."""
    table, picture = learning.paths(output)
    records, metric = learning.records_of(model.claims, output), model.interface.metric
    learning.write_table(table, records, metric)
    try:
        learning.draw(picture, records, metric, f"{output.name}: {model.claims['dataset']}")
    except ExtraError as error:
        console.err.print(f"{error}; then: bitting inspect {output} --curve {picture}")
        return [table]
    return [table, picture]


def _given_model(onnx: Path | None, output: str | None, torch: str, weights: Path | None) -> Any:
    """The model to convert, if there is one."""
    if torch and onnx:
        raise BittingError("--torch and --onnx each give a model; give one of them")
    if weights and not torch:
        raise BittingError("--weights are those of the model that --torch names; give both")
    if not torch:
        return _read_onnx(onnx, output)
    with missing_extra("--torch"):
        from bitting.conversion.torch_import import from_torch
    return from_torch(torch, weights)


def _require_choice_of_ours(given: bool, network: str, hidden: str, soft: str | None) -> None:
    """Refuse what says how our own network is made where there is another."""
    if given and soft is not None:
        raise BittingError("--soft trains a network of ours; --torch or --onnx gives another")
    if given and (hidden or network != "mlp"):
        raise BittingError(f"{'--hidden' if hidden else '--network'} makes a network of ours; --torch or --onnx gives another")
    if hidden and network != "mlp":
        raise BittingError(f"--hidden gives sizes of an MLP, and --network is {network}; give one of them")


def _for_given(config: TrainConfig, given: bool, activation: str, epochs: int | None) -> TrainConfig:
    """The recipe, or that of a given model; ReLU is kept unless the other is asked for."""
    from bitting.training import recipes

    if activation not in ("", "relu", "fold"):
        raise BittingError(f"--activation {activation} is unknown; allowed: relu, fold")
    if not given:
        if activation or epochs == 0:
            option = "--activation" if activation else "--epochs 0"
            raise BittingError(f"{option} is for a model that --torch or --onnx gives; of our own networks the recipe says it")
        return config
    return config if activation == "fold" else recipes.fine_tuning(config)


def _read_onnx(path: Path | None, output: str | None) -> Any:
    if path is None:
        if output is not None:
            raise BittingError("--onnx-output names an output of the model that --onnx gives; give both")
        return None
    with missing_extra("--onnx", "onnx"):
        import onnx  # noqa: F401  # asked for before torch, whose extra would not bring it

        from bitting.conversion.onnx_import import from_onnx
    return from_onnx(path, output)


def verilog(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")],
    spec: SpecOption = "base",
    device: Annotated[
        Path | None, typer.Option("--device", help="Bake this device's secret in: the file is then as secret as its key.")
    ] = None,
    puf: Annotated[
        str, typer.Option("--puf", help="ecp5 or ice40: ring oscillators of this FPGA make the root secret (docs/puf.md).")
    ] = "",
) -> None:
    """Write the engine as Verilog, with a JSON sidecar: ports, packet format, spec id, tool versions.

    Beside it: a wrapper for AXI4-Stream and AXI4-Lite, an example that instantiates it, and a FuseSoC core file.
    One file serves all devices of a family: the engine reads the root secret through the ports `fuse_address` and `fuse_data`.
    With --puf only the engine and its sidecar are written, which says what a host does at boot.
    """
    import json

    from bitting.locking.device import Device
    from bitting_rtl.board import package
    from bitting_rtl.engine.export import TOP, engine_verilog, sidecar

    family = parse_spec(spec)
    if puf:
        if device:
            raise BittingError("--device bakes a secret in, and with --puf oscillators make it; give one of them")
        _puf_verilog(output, family, puf)
        return
    root, sealed = None, False
    if device:
        owner = Device.load(device)
        owner.require_spec(family, "--spec")
        if owner.puf:
            raise BittingError(f"{device} is of a chip that stores no secret: its Verilog is that of all of them, --puf FAMILY")
        root, sealed = owner.root, owner.sealed
    mode = files.PRIVATE if device else 0o644
    files.write_text(output / f"{TOP}.v", engine_verilog(family, root=root, sealed=sealed), mode)
    description = json.dumps(sidecar(family, baked=device is not None), indent=2) + "\n"
    files.write_text(output / f"{TOP}.json", description)
    for name, text in package.files(family, fused=root is None).items():
        files.write_text(output / name, text)
    console.out.print(f"{output / TOP}.v and what belongs to it: {family.name} ({family.id}), {family.lanes} lanes")


def _puf_verilog(output: Path, spec: UnitSpec, family: str) -> None:
    """The engine with a PUF, and its sidecar."""
    import json

    from bitting.unit.puf_key import DEFAULT_DESIGN
    from bitting_rtl.engine.export import TOP, puf_verilog, sidecar
    from bitting_rtl.puf.rings import FAMILIES

    if family not in FAMILIES:
        raise BittingError(f"no ring oscillators for {family!r}; allowed with --puf: {', '.join(FAMILIES)}")
    files.write_text(output / f"{TOP}.v", puf_verilog(spec, DEFAULT_DESIGN, family))
    description = sidecar(spec, baked=False, puf=DEFAULT_DESIGN, family=family)
    files.write_text(output / f"{TOP}.json", json.dumps(description, indent=2) + "\n")
    console.out.print(
        f"{output / TOP}.v and .json: {spec.name} ({spec.id}), {spec.lanes} lanes, {DEFAULT_DESIGN.key.pairs} pairs of "
        f"oscillators for {family}"
    )


def doctor(json: JsonOption = False) -> None:
    """Name each tool found or missing, with the remedy. Exit status 2 if something needed is missing."""
    from bitting.cli import doctor as examination

    checks = examination.examine()
    if json:
        console.emit_json([check.to_dict() for check in checks])
    else:
        rows = [
            (c.name, "ok" if c.good else ("MISSING" if c.needed else "optional"), c.found, "" if c.good else c.remedy)
            for c in checks
        ]
        console.table("bitting doctor", ("", "", "found", "remedy"), rows)
    if any(check.needed and not check.good for check in checks):
        raise typer.Exit(console.EXIT_ERROR)


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where models, keys and artefacts go.")] = Path("out/demo"),
    data: Annotated[str, typer.Option("--data", help="digits (embedded), mnist or fashion-mnist.")] = "digits",
    spec: SpecOption = "base",
    seed: Annotated[int | None, typer.Option(min=0, help="Of the training; default: drawn.")] = None,
    only: Annotated[list[str], typer.Option("--only", help="Of the suite only this attack; may be given again.")] = [],  # noqa: B006
) -> None:
    """The whole idea on real data: train, lock, verify on the RTL, watch it fail elsewhere, and let all attackers at it."""
    from bitting.cli import demo as demonstration

    demonstration.run(folder, data, parse_spec(spec), seed, only)
