"""Which signals a waveform shows: those that tell the story of a tile, and a GTKWave save file that has them under headings.

No key is among them, but the digits of weights are: a waveform is as secret as the model.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from bitting.errors import SimulationError
from bitting.unit.spec import VaultKind

#: Formats of GTKWave (`@` and a sum of its flags): a heading, hexadecimal, binary, decimal, signed decimal.
_HEADING, _HEX, _BINARY, _DECIMAL, _SIGNED = "@200", "@22", "@28", "@24", "@420"

#: Heading, then (module below the top, signal, format).
_STORY: dict[str, list[tuple[str, str, str]]] = {
    "command and result streams": [
        ("", "clk", _BINARY), ("", "rst", _BINARY), ("", "lock_now", _BINARY), ("", "cmd_data", _HEX),
        ("", "cmd_valid", _BINARY), ("", "cmd_ready", _BINARY), ("", "result_data", _HEX), ("", "result_valid", _BINARY),
        ("", "result_ready", _BINARY), ("", "result_last", _BINARY), ("", "error", _DECIMAL), ("", "busy", _BINARY),
    ],
    "packets (depacketise: parser) and codes": [
        ("engine.depacketise", "parser_state", _DECIMAL), ("engine.depacketise", "item_index", _DECIMAL),
        ("engine.depacketise", "code_valid", _BINARY), ("engine.depacketise", "code_ready", _BINARY),
    ],
    "lock: state": [
        ("engine.vault", "booted", _BINARY), ("engine.vault", "absorbing", _BINARY), ("engine.vault", "keyed", _BINARY),
    ],
    "tile: code by code, digit by digit": [
        ("engine.control", "control_state", _DECIMAL), ("engine.sequencer", "running", _BINARY),
        ("engine.sequencer", "index", _DECIMAL), ("engine.sequencer", "step", _BINARY),
        ("engine.sequencer", "cycles", _DECIMAL),
    ],
    "lane 0: sum and folded activation": [
        ("engine.lane0", "x", _SIGNED), ("engine.lane0", "exponent", _DECIMAL), ("engine.lane0", "negative", _BINARY),
        ("engine.lane0", "zero", _BINARY), ("engine.lane0", "load", _BINARY), ("engine.lane0", "accumulate", _BINARY),
        ("engine.lane0", "acc", _SIGNED), ("engine.fold0", "act", _SIGNED),
    ],
}  # fmt: skip

#: The same for each vault: how it deals with what comes.
_VAULT: dict[VaultKind, dict[str, list[tuple[str, str, str]]]] = {
    VaultKind.AES: {
        "lock: what it does; keystream there, and used": [
            ("engine.vault", "vault_state", _DECIMAL), ("engine.vault", "available", _BINARY),
            ("engine.vault", "take", _BINARY),
        ]
    },
    VaultKind.ASCON: {
        "lock: waits, deciphers, takes a tag; it is compared, and right": [
            ("engine.vault", "in_ready", _BINARY), ("engine.vault", "in_data", _BINARY), ("engine.vault", "in_tag", _BINARY),
            ("engine.vault", "checked", _BINARY), ("engine.vault", "authentic", _BINARY),
        ]
    },
}  # fmt: skip

#: Of Yosys' Verilog: a module, a declaration with its width, an instance of a module.
_MODULE = re.compile(r"^module \\?(\S+?) ?\(.*?^endmodule", re.M | re.S)
_SIGNAL = re.compile(r"  (?:input|output|reg|wire) (?:(\[\d+:0\]) )?(\w+)\b(?! *\$)")
_INSTANCE = re.compile(r"  \\(\S+)  \w+ \($")
#: Verilator's own comments; they count for what comes after them.
_ON, _OFF = "/*verilator tracing_on*/", "/*verilator tracing_off*/"

#: The harness' name of the design.
_SCOPE = "bitting"


def chosen(verilog: str, top: str, vault: VaultKind) -> str:
    """The Verilog of an engine with comments by which Verilator leaves all signals out of waveforms but those of the story."""
    wanted: dict[str, set[str]] = {}
    for _, module, name, _ in _story(top, vault):
        wanted.setdefault(module, set()).add(name)
    leads = {below for module in wanted for below in itertools.accumulate(module.split("."), "{}.{}".format)}

    def marked(match: re.Match[str]) -> str:
        names = wanted.get(match.group(1), set())
        lines = [_OFF]
        for line in match.group(0).splitlines():
            signal, instance = _SIGNAL.match(line), _INSTANCE.match(line)
            shown = (signal and signal.group(2) in names) or (instance and instance.group(1) in leads)
            lines += [_ON, line, _OFF] if shown and signal else [_ON if shown else _OFF, line] if instance else [line]
        return "\n".join([lines[1], lines[0], *lines[2:]])  # the heading of the module comes first

    return _MODULE.sub(marked, verilog)


def _story(top: str, vault: VaultKind) -> Iterator[tuple[str, str, str, str]]:
    """(heading, module, signal, format)."""
    for heading, signals in (_STORY | _VAULT[vault]).items():
        for below, name, form in signals:
            yield heading, f"{top}.{below}" if below else top, name, form


def save_file(verilog: str, top: str, vault: VaultKind) -> str:
    """Text of the `.gtkw` of an engine: widths are read from its Verilog.

    Raises:
        SimulationError: if a signal is not there.
    """
    modules = {match.group(1): match.group(0) for match in _MODULE.finditer(verilog)}
    lines = ["[*] Made by bitting; open with: gtkwave WAVEFORM THIS_FILE", "[timestart] 0"]
    for heading, signals in itertools.groupby(_story(top, vault), lambda item: item[0]):
        lines += [_HEADING, f"-{heading}"]
        for _, module, name, form in signals:
            declared = (_SIGNAL.match(line) for line in modules.get(module, "").splitlines())
            signal = next((found for found in declared if found and found.group(2) == name), None)
            if not signal:
                raise SimulationError(
                    f"module {module} has no signal {name}; the engine has no vault, or its names have changed"
                )
            width = signal.group(1) or ""
            lines += [form, f"{_SCOPE}.{module}.{name}{width}"]
    return "\n".join(lines) + "\n"
