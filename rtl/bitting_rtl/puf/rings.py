"""Ring oscillators: a chain of LUTs that inverts an odd number of times and drives itself, once it is enabled.

Each ring lies in one tile, the two of a pair in tiles above one another, the same stage in the same LUT of each, and all take
the same wires and switches of their tiles: what differs between them is, as far as the tools can be asked, the silicon. Every
LUT is an instance that synthesis must keep (`keep`), at a place that is named (`BEL`). The wires are named too (`ROUTING`: so
nextpnr writes what it has routed, and so it reads it again). Left to itself, nextpnr takes other wires in every tile, and other
inputs of LUTs, which on the iCE40 differ by a third of a LUT's delay.

The way out of a ring leads through one more LUT of its tile. So the wires to the counter, which are different for each ring,
load none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from amaranth import C, Cat, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.puf_spec import PufSpec
from bitting_rtl.lib.ports import Port, Ports

#: Pairs in a row of the enables, a power of two: the lower bits of a pair's number are its column. Where a pair lies is
#: another matter (`RingFamily.columns`).
ENABLE_COLUMNS = 16
#: nextpnr's number for wires that its router must not take away.
_LOCKED = 5


@dataclass(frozen=True)
class RingFamily:
    """How rings are made of an FPGA's cells, and where they lie.

    Attributes:
        cell: of a LUT; `inputs` in the order of its table, `output`, `table`: its parameter.
        loop: of each stage the input that the stage before drives. Their number is odd, and below the LUTs of a tile; few are
            fast, and the counters must follow.
        out: the input of the LUT behind the last stage, which leads out.
        bel: nextpnr's name of each stage's LUT in its tile, and of the LUT that leads out.
        wires: of each stage those from its output to the next stage's input, all in the tile.
        out_wires: those from the last stage to the LUT that leads out.
        switch: nextpnr's name of what connects two wires of a tile.
        columns: tiles that hold logic.
        rows: lower one of two neighbouring tiles that hold logic, for each row of pairs.
        mhz: frequency of a ring by nextpnr's slowest corner, rounded down: with the loop's delay both edges go around once.
    """

    cell: str
    inputs: tuple[str, ...]
    output: str
    table: str
    loop: tuple[str, ...]
    out: str
    bel: tuple[str, ...]
    wires: tuple[tuple[str, ...], ...]
    out_wires: tuple[str, ...]
    switch: str
    columns: tuple[int, ...]
    rows: tuple[int, ...]
    mhz: int

    @property
    def most_pairs(self) -> int:
        """For which there is a place."""
        return len(self.columns) * len(self.rows)

    def tile(self, pair: int, second: int) -> tuple[int, int]:
        """Column and row of the first or second (0, 1) ring of a pair."""
        row, column = divmod(pair, len(self.columns))
        return self.columns[column], self.rows[row] + second

    def place(self, tile: tuple[int, int], stage: int) -> str:
        """The attribute `BEL` of a stage, or of the LUT that leads out, which counts as one more."""
        return f"X{tile[0]}/Y{tile[1]}/{self.bel[stage]}"

    def route(self, tile: tuple[int, int], stage: int) -> str:
        """The attribute `ROUTING` of what a stage drives: each wire, what switches it on, and that it stays."""
        x, y = tile
        ways = [self.wires[stage], *[self.out_wires] * (stage == len(self.loop) - 1)]
        switches = {self.wires[stage][0]: ""}
        for driver, driven in (step for way in ways for step in pairwise(way)):
            switches[driven] = self.switch.format(x=x, y=y, driver=driver, driven=driven)
        return ";".join(f"X{x}/Y{y}/{wire};{switch};{_LOCKED}" for wire, switch in switches.items())


#: By the name of `synth_FAMILY`. The smallest device with the logic tiles that all of a family's larger ones have in these
#: places: LFE5U-25F, iCE40UP5K.
FAMILIES = {
    "ecp5": RingFamily(
        cell="LUT4",
        inputs=("A", "B", "C", "D"),
        output="Z",
        table="INIT",
        loop=("C", "D", "B", "D", "B"),
        out="C",
        bel=("SLICEA.K0", "SLICEA.K1", "SLICEB.K0", "SLICEB.K1", "SLICEC.K0", "SLICEC.K1"),
        wires=(
            ("F0_SLICE", "F0", "D1", "D1_SLICE"),
            ("F1_SLICE", "F1", "B2", "B2_SLICE"),
            ("F2_SLICE", "F2", "D3", "D3_SLICE"),
            ("F3_SLICE", "F3", "B4", "B4_SLICE"),
            ("F4_SLICE", "F4", "C0", "C0_SLICE"),
        ),
        out_wires=("F4_SLICE", "F4", "C5", "C5_SLICE"),
        switch="X{x}/Y{y}/0_0_{driver}->0_0_{driven}",
        columns=tuple(range(4, 68)),
        rows=(2, 4, 6, 8, 10),  # row 13 of the LFE5U-25F holds memories
        mhz=153,
    ),
    "ice40": RingFamily(
        cell="SB_LUT4",
        inputs=("I0", "I1", "I2", "I3"),
        output="O",
        table="LUT_INIT",
        loop=("I0", "I0", "I0"),
        out="I0",
        bel=("lc0", "lc1", "lc2", "lc3"),
        wires=(
            ("lutff_0:out", "local_g1_0", "lutff_1:in_0", "lutff_1:in_0_lut"),
            ("lutff_1:out", "local_g3_1", "lutff_2:in_0", "lutff_2:in_0_lut"),
            ("lutff_2:out", "local_g0_2", "lutff_0:in_0", "lutff_0:in_0_lut"),
        ),
        out_wires=("lutff_2:out", "local_g1_2", "lutff_3:in_0", "lutff_3:in_0_lut"),
        switch="X{x}/Y{y}/{x}.{y}.{driver}.->.{x}.{y}.{driven}",
        columns=tuple(column for column in range(1, 25) if column not in (6, 19)),  # those hold memories
        rows=tuple(range(1, 30, 2)),
        mhz=54,
    ),
}


class Rings(wiring.Component):
    """Two rings for each pair, of which at most one pair runs: that with a row and a column enabled.

    A ring that does not run rests at 1, so all first rings come together in a tree of ANDs, without a multiplexer and what
    would select it: the output repeats the one ring that runs. All second rings do the same.
    """

    def __init__(self, puf: PufSpec, family: str):
        """`family`: of `FAMILIES`.

        Raises:
            ValueError: if there is no such family, or no place for so many pairs.
        """
        if family not in FAMILIES:
            raise ValueError(f"there are no rings for {family!r}; allowed: {', '.join(FAMILIES)}")
        self._puf, self._family = puf, FAMILIES[family]
        if puf.pairs > self._family.most_pairs:
            raise ValueError(f"{puf.pairs} pairs of rings; on {family} there are places for {self._family.most_pairs}")
        super().__init__(
            Ports(
                {
                    "row": Port(
                        In(-(-puf.pairs // ENABLE_COLUMNS)), "a bit for each row of pairs: it may run", "without glitches"
                    ),
                    "column": Port(In(ENABLE_COLUMNS), "a bit for each column: it may run", "settled before `row`"),
                    "ring_clock_first": Port(Out(1), "the running pair's first ring", "a clock of its own; 1 while none runs"),
                    "ring_clock_second": Port(Out(1), "its second ring", "as `ring_clock_first`"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for second, output in enumerate((self.ring_clock_first, self.ring_clock_second)):
            rings = Cat(self._ring(m, pair, second) for pair in range(self._puf.pairs))
            m.d.comb += output.eq(rings.all())
        return m

    def _ring(self, m: Module, pair: int, second: int) -> Signal:
        """What leads out of it."""
        row, column = divmod(pair, ENABLE_COLUMNS)
        name = f"ring{pair}_{'second' if second else 'first'}"
        tile = self._family.tile(pair, second)
        stages = range(len(self._family.loop))
        outputs = [
            Signal(name=f"{name}_{stage}", attrs={"keep": 1, "ROUTING": self._family.route(tile, stage)}) for stage in stages
        ]
        for stage, (pin, output) in enumerate(zip(self._family.loop, outputs, strict=True)):
            enables = [] if stage else [self.row[row], self.column[column]]
            lut = self._lut(pin, outputs[stage - 1], enables, True, output, self._family.place(tile, stage))
            m.submodules[f"{name}_lut{stage}"] = lut
        out, last = Signal(name=f"{name}_out"), len(outputs)
        place = self._family.place(tile, last)
        m.submodules[f"{name}_lut{last}"] = self._lut(self._family.out, outputs[-1], [], False, out, place)
        return out

    def _lut(self, pin: str, value: Value, enables: list[Value], inverts: bool, output: Signal, place: str) -> Instance:
        """AND of a value, at this input, and of what enables it, if anything does; or its inverse."""
        family = self._family
        others = [other for other in family.inputs if other != pin]
        pins = {pin: value, **dict(zip(others, enables, strict=False))}
        used = [family.inputs.index(name) for name in pins]
        table = sum((all(row >> index & 1 for index in used) != inverts) << row for row in range(16))
        inputs = {f"i_{name}": pins.get(name, C(0)) for name in family.inputs}
        named = {f"p_{family.table}": C(table, 16), f"o_{family.output}": output, **inputs}
        return Instance(family.cell, a_keep=1, a_BEL=place, **named)
