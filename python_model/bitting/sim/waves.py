"""A GTKWave save file beside a waveform: the signals that tell the story of a tile, under headings. No key is among them."""

from __future__ import annotations

import re

from bitting.errors import SimulationError
from bitting.unit.spec import VaultKind

#: Formats of GTKWave (`@` and a sum of its flags): a heading, hexadecimal, binary, decimal, signed decimal.
_HEADING, _HEX, _BINARY, _DECIMAL, _SIGNED = "@200", "@22", "@28", "@24", "@420"

#: Heading, then (module below the top, signal, format).
_STORY: dict[str, list[tuple[str, str, str]]] = {
    "command and result streams": [
        ("", "clk", _BINARY), ("", "rst", _BINARY), ("", "cmd_data", _HEX), ("", "cmd_valid", _BINARY),
        ("", "cmd_ready", _BINARY), ("", "result_data", _HEX), ("", "result_valid", _BINARY), ("", "result_last", _BINARY),
        ("", "error", _DECIMAL), ("", "busy", _BINARY),
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

#: The harness' name of the design.
_SCOPE = "bitting"


def save_file(verilog: str, top: str, vault: VaultKind) -> str:
    """Text of the `.gtkw` of an engine: widths are read from its Verilog.

    Raises:
        SimulationError: if a signal is not there.
    """
    modules = {
        match.group(1): match.group(0) for match in re.finditer(r"^module \\?(\S+?) ?\(.*?^endmodule", verilog, re.M | re.S)
    }
    lines = ["[*] Made by bitting; open with: gtkwave WAVEFORM THIS_FILE", "[timestart] 0"]
    for heading, signals in (_STORY | _VAULT[vault]).items():
        lines += [_HEADING, f"-{heading}"]
        for below, name, form in signals:
            module = f"{top}.{below}" if below else top
            signal = re.search(rf"^  (?:reg|wire) (?:\[(\d+):0\] )?{name}\b", modules.get(module, ""), re.M)
            if not signal:
                raise SimulationError(
                    f"module {module} has no signal {name}; the engine has no vault, or its names have changed"
                )
            width = f"[{signal.group(1)}:0]" if signal.group(1) else ""
            lines += [form, f"{_SCOPE}.{module}.{name}{width}"]
    return "\n".join(lines) + "\n"
