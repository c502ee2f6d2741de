"""Timing constraints of the wrapper, for when it is the top: inside a design the clock is the one that drives `aclk`."""

from __future__ import annotations

from collections.abc import Mapping

from bitting_rtl.board import axi
from bitting_rtl.lib.ports import Port

#: The wrapper's only clock.
CLOCK = "aclk"

#: Part of a period that is left to what is outside a port.
_OUTSIDE = 0.3


def sdc(ports: Mapping[str, Port], megahertz: float) -> str:
    """Clock and port delays, in the commands that every tool that reads SDC has; `ports`: of the wrapper, by name."""
    period = 1000 / megahertz
    lines = [
        f"# {axi.TOP} as the top. Inside a design keep none of this: constrain the clock that drives {CLOCK}.",
        f"create_clock -name {CLOCK} -period {period:.3f} [get_ports {CLOCK}]",
        "# All other ports are synchronous to it. There is no second clock, no false path, no multicycle path.",
    ]
    for name, port in ports.items():
        if name != CLOCK:
            bits = f"{{{name}[*]}}" if port.width > 1 else name
            way = "input" if port.direction == "in" else "output"
            lines.append(f"set_{way}_delay -clock {CLOCK} {_OUTSIDE * period:.3f} [get_ports {bits}]")
    return "\n".join([*lines, ""])


def lpf(megahertz: float) -> str:
    """The clock for nextpnr-ecp5 and Diamond; pins are the board's."""
    return "\n".join(
        [
            f"# {axi.TOP} as the top, or a design whose clock has this name. Pins are your board's.",
            f'FREQUENCY PORT "{CLOCK}" {megahertz:g} MHZ;',
            "",
        ]
    )
