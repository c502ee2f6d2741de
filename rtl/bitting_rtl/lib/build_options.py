"""What may differ between two builds of one engine that answer alike, to the bit and to the cycle."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BuildOptions:
    """A property of a build, not of a spec: packets, tile cycles and artefacts are the same.

    Attributes:
        compact: for slow clocks and small devices: streams without registers at the ports, the bitting table in a block RAM,
            a round of AES in one clock (`bitting_rtl.unlock.aes.Aes128`).
        ecp5: the lanes' adders are carry cells of the ECP5 (`bitting_rtl.engine.accumulate`), which nothing else has, and the
            scratch memory is as deep as one of its block RAMs (`bitting_rtl.engine.scratch`).
    """

    compact: bool = False
    ecp5: bool = False

    @property
    def words(self) -> bool:
        """Arithmetic is written in whole words, which simulators compute fast, not in the stages that take the fewest LUTs."""
        return not (self.compact or self.ecp5)


#: Any FPGA, any simulator.
PORTABLE = BuildOptions()
COMPACT = BuildOptions(compact=True)
ECP5 = BuildOptions(ecp5=True)
