"""Timing constraints of the wrapper, for when it is the top: inside a design the clock is the one that drives `aclk`."""

from __future__ import annotations

from bitting_rtl.board import axi

#: Part of a period that is left to what is outside a port.
_OUTSIDE = 0.3


def sdc(megahertz: float) -> str:
    """Clock and port delays in the form that Vivado, Quartus, OpenSTA and most others read."""
    period = 1000 / megahertz
    outside = f"{_OUTSIDE * period:.3f}"
    return "\n".join(
        [
            f"# {axi.TOP} as the top. Inside a design keep none of this: constrain the clock that drives aclk.",
            f"create_clock -name aclk -period {period:.3f} [get_ports aclk]",
            "# All other ports are synchronous to it. There is no second clock, no false path, no multicycle path.",
            f"set_input_delay -clock aclk {outside} [remove_from_collection [all_inputs] [get_ports aclk]]",
            f"set_output_delay -clock aclk {outside} [all_outputs]",
            "",
        ]
    )


def lpf(megahertz: float) -> str:
    """The clock for nextpnr-ecp5 and Diamond; pins are the board's."""
    return "\n".join(
        [
            f"# {axi.TOP} as the top, or a design whose clock has this name. Pins are your board's.",
            f'FREQUENCY PORT "aclk" {megahertz:g} MHZ;',
            "",
        ]
    )
