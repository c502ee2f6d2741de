"""The FPGAs that the flow knows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bitting.errors import BittingError
from bitting_rtl.lib.build_options import COMPACT, ECP5, PORTABLE, BuildOptions


@dataclass(frozen=True)
class Target:
    """A device, its package, and what Yosys and nextpnr call it.

    Attributes:
        family: "ecp5" or "ice40"; names `synth_FAMILY` and `nextpnr-FAMILY`.
        options: of nextpnr.
        luts: four-input LUTs of the device.
        goal: MHz that place and route is asked for.
        synthesis: options of `synth_FAMILY`.
        build: options of the engine for this device.
    """

    name: str
    family: str
    options: tuple[str, ...]
    luts: int
    goal: float
    synthesis: tuple[str, ...] = ()
    build: BuildOptions = PORTABLE


# Without wide multiplexers ABC covers with plain LUT4, a quarter fewer of them here, and no slower. ABC9 stops on this design
# with a failed assertion (Yosys 0.62: a wire's name twice; 0.70: widths of a connection), so the older ABC maps it.
_LUT4_ONLY = ("-nowidelut", "-noabc9")
TARGETS = {
    target.name: target
    for target in (
        Target("ecp5-25k", "ecp5", ("--25k", "--package", "CABGA381", "--speed", "6"), 24_288, 150.0, _LUT4_ONLY, ECP5),
        Target("ecp5-85k", "ecp5", ("--85k", "--package", "CABGA381", "--speed", "6"), 83_640, 150.0, _LUT4_ONLY, ECP5),
        Target("ice40-up5k", "ice40", ("--up5k", "--package", "sg48"), 5_280, 24.0, ("-device", "u", "-dsp"), COMPACT),
    )
}


def without_dsp(target: Target) -> Target:
    """The same device with its multipliers left alone."""
    kept = tuple(option for option in target.synthesis if option != "-dsp")
    return replace(target, synthesis=kept if target.family == "ice40" else (*kept, "-nodsp"))


def find(name: str) -> Target:
    """A target by name.

    Raises:
        BittingError: if there is none of this name.
    """
    if name not in TARGETS:
        raise BittingError(f"unknown target {name!r}; allowed: {', '.join(TARGETS)}")
    return TARGETS[name]
