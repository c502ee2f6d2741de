"""The command that packs everything a hardware engineer needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bitting import files
from bitting.cli import console
from bitting.cli.options import JsonOption, OwnerOption, UnsignedOption, load_artefact
from bitting.errors import BittingError
from bitting.unit.spec import PRESETS, parse_spec


def package(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; new, or empty.")],
    artefact: Annotated[
        Path | None, typer.Argument(help="Locked artefact, whose family is packed, and whose packets go in too.")
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option("--spec", help=f"Family: {', '.join(PRESETS)}, or e.g. base:lanes=64; base without an artefact."),
    ] = None,
    clock: Annotated[float, typer.Option("--clock", help="MHz that the constraints ask for.")] = 100.0,
    owner: OwnerOption = None,
    allow_unsigned: UnsignedOption = False,
    json: JsonOption = False,
) -> None:
    """Write a folder for a hardware engineer: Verilog, register map, constraints, testbench, host in C, and a page to read.

    `make` in the folder runs the testbench under Icarus Verilog and Verilator; it needs nothing else from here. No key goes in
    and no secret comes out: the testbench plays a device whose root secret is public.
    """
    if artefact and spec:
        raise BittingError(f"--spec {spec} beside an artefact, which says its family itself; leave one of them out")
    from bitting.package.contents import contents

    loaded = load_artefact(artefact, owner, allow_unsigned) if artefact else None
    family = loaded.program.spec if loaded else parse_spec(spec or "base")
    packed = contents(family, loaded, clock)
    files.write_folder(output, packed)
    if json:
        console.emit_json({"spec_id": family.id, "files": {path: len(data) for path, data in packed.items()}})
        return
    console.out.print(f"{output}: {len(packed)} files of {family.name} ({family.id}), no secret; README.md comes first")
