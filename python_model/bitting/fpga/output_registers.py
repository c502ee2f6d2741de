"""Registers behind the ECP5's block RAMs, moved into them: a step between Yosys and nextpnr, for Yosys does not infer them.

By nextpnr's times a block RAM's answer comes 5.7 ns after the clock, and takes a wire to the flip-flop that waits for it. Every
port has a register of its own (REGMODE "OUTREG", FPGA-TN-02204): no wire, and the flip-flops are free. What is computed in
which clock stays as it was.
"""

from __future__ import annotations

from typing import Any

#: One cell of a netlist, or a module, as Yosys' JSON has it.
Json = dict[str, Any]
#: A wire's number, or a constant: "0", "1", "x".
Bit = int | str

#: In the hash of what is built. To be changed with this module.
RULE = "output registers 1"
#: Ports of this width take both ports' outputs, and which enable is whose is not told.
_BOTH_PORTS = 36
#: What a flip-flop must be: it changes with the rising edge, and its reset, which is heard without its enable too, makes it 0.
_PLAIN = {"CLKMUX": "CLK", "LSRMUX": "LSR", "REGSET": "RESET", "SRMODE": "LSR_OVER_CE"}
_OFF: list[Bit] = ["0"]


def fold(netlist: Json) -> int:
    """Change the modules of a netlist; gives how many ports of block RAMs have taken their registers in.

    A port takes them in if each of its outputs that are used goes to one flip-flop and to nothing else, and all of these have
    the port's clock, the enable with which the port reads, and one reset or none.
    """
    return sum(_fold(module) for module in netlist["modules"].values() if "cells" in module)


def _fold(module: Json) -> int:
    cells: dict[str, Json] = module["cells"]
    memories = [cell for cell in cells.values() if cell["type"] == "DP16KD"]
    if not memories:
        return 0
    readers = _readers(module)
    folded = 0
    for memory in memories:
        for port in "AB":
            registers = _registers(memory, port, cells, readers)
            if registers:
                _take_in(memory, port, registers, cells)
                folded += 1
    return folded


def _readers(module: Json) -> dict[Bit, list[tuple[str, str]]]:
    """Of each wire, (cell, pin) of whatever reads it; a port of the module is read by nobody that could be a register."""
    readers: dict[Bit, list[tuple[str, str]]] = {}
    for name, cell in module["cells"].items():
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] != "output":
                for bit in bits:
                    readers.setdefault(bit, []).append((name, pin))
    for port in module["ports"].values():
        if port["direction"] != "input":
            for bit in port["bits"]:
                readers.setdefault(bit, []).append(("", ""))
    return readers


def _registers(memory: Json, port: str, cells: dict[str, Json], readers: dict[Bit, list[tuple[str, str]]]) -> dict[str, str]:
    """Output -> flip-flop behind it, of all outputs of a port that are used; none if it keeps them outside."""
    parameters, pins = memory["parameters"], memory["connections"]
    width = int(parameters[f"DATA_WIDTH_{port}"], 2)
    if width == _BOTH_PORTS or parameters.get(f"REGMODE_{port}", "NOREG") != "NOREG":
        return {}
    found: dict[str, str] = {}
    for output, bits in pins.items():
        behind = readers.get(bits[0], []) if output.startswith(f"DO{port}") and bits else []
        if not behind:
            continue
        (name, pin), *others = behind
        if others or pin != "DI" or cells[name]["type"] != "TRELLIS_FF":
            return {}
        found[output] = name
    controls = [_controls(cells[name]) for name in found.values()]
    if not controls or any(each != controls[0] for each in controls) or controls[0] is None:
        return {}
    clock, enable, reset = controls[0]
    own = _pin(memory, f"CLK{port}"), _pin(memory, f"CE{port}")
    # One mode of resets for both ports; nothing else may use it.
    unused = all(_pin(memory, f"RST{each}") in (_OFF, reset) for each in "AB")
    plain = parameters.get(f"CLK{port}MUX", f"CLK{port}") == f"CLK{port}"
    return found if plain and unused and (clock, enable) == own else {}


def _controls(register: Json) -> tuple[list[Bit], list[Bit], list[Bit]] | None:
    """Clock, enable and reset of a flip-flop; None if it is of another kind than a block RAM's."""
    parameters = register["parameters"]
    if any(parameters.get(name, value) != value for name, value in _PLAIN.items()) or "M" in register["connections"]:
        return None
    match parameters.get("CEMUX", "CE").strip():
        case "CE":
            enable = _pin(register, "CE")
        case "1":
            enable = ["1"]
        case _:
            return None
    return _pin(register, "CLK"), enable, _pin(register, "LSR") or _OFF


def _pin(cell: Json, name: str) -> list[Bit]:
    bits: list[Bit] = cell["connections"].get(name, [])
    return bits


def _take_in(memory: Json, port: str, registers: dict[str, str], cells: dict[str, Json]) -> None:
    """The memory drives what the flip-flops drove."""
    for output, name in registers.items():
        register = cells.pop(name)
        memory["connections"][output] = register["connections"]["Q"]
    reset = _pin(register, "LSR") or _OFF
    memory["connections"] |= {f"OCE{port}": _pin(memory, f"CE{port}"), f"RST{port}": reset}
    memory["parameters"] |= {f"REGMODE_{port}": "OUTREG", "RESETMODE": "SYNC", "ASYNC_RESET_RELEASE": "SYNC"}
