"""Code -> value index (the device's bitting table) -> signed digits (the family's public ROM)."""

from collections.abc import Sequence

from amaranth import Module, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting.spec import UnitSpec
from bitting_rtl.layouts import digits_layout


def digits_rom(spec: UnitSpec) -> list[data.Const]:
    """Contents of the family ROM: the digits of each value index, least significant first."""
    layout = digits_layout(spec)
    blank = {"exponent": 0, "negative": 0}
    return [
        layout.const(
            {
                "digits": [{"exponent": d.exponent, "negative": d.negative} for d in form]
                + [blank] * (spec.max_digits - len(form)),
                "last": max(1, len(form)) - 1,
                "zero": not form,
            }
        )
        for form in spec.value_digits
    ]


class Decode(wiring.Component):
    """Digits of a code: `digits = rom[table[code]]`.

    Latency: two clocks in which `step` is high. Throughput: one code a clock. While `step` is low everything is held.
    """

    def __init__(self, spec: UnitSpec, table: Sequence[int]):
        """`table`: permutation of the 2^b codes, code -> value index."""
        if sorted(table) != list(range(spec.codes)):
            raise ValueError(f"table must be a permutation of 0..{spec.codes - 1}")
        self.spec = spec
        self._table = list(table)
        super().__init__(
            {
                "code": In(unsigned(spec.code_bits)),
                "step": In(1),
                "digits": Out(digits_layout(spec)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.table = table = Memory(shape=unsigned(self.spec.code_bits), depth=self.spec.codes, init=self._table)
        m.submodules.rom = rom = Memory(shape=digits_layout(self.spec), depth=self.spec.codes, init=digits_rom(self.spec))
        table_read = table.read_port()
        rom_read = rom.read_port()
        m.d.comb += [
            table_read.addr.eq(self.code),
            table_read.en.eq(self.step),
            rom_read.addr.eq(table_read.data),
            rom_read.en.eq(self.step),
            self.digits.eq(rom_read.data),
        ]
        return m
