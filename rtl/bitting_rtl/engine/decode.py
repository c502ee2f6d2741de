"""Code -> value index (the device's bitting table) -> signed digits (the family's public ROM).

Plain weights in two's complement skip the table; their digits lie in the upper half of the ROM.
"""

from collections.abc import Sequence

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.layouts import digits_layout
from bitting_rtl.lib.ports import Port, Ports

#: Latency from a code to its digits: this many clocks with `step`.
LATENCY = 4


def digits_rom(spec: UnitSpec) -> list[data.Const]:
    """Contents of the family ROM: the digits of each value index, least significant first; then of each plain weight."""
    layout = digits_layout(spec)
    blank = {"exponent": 0, "negative": 0}
    forms = [*spec.value_digits, *((),) * (_plain_base(spec) - spec.codes), *spec.plain_digits]
    return [
        layout.const(
            {
                "digits": [{"exponent": d.exponent, "negative": d.negative} for d in form]
                + [blank] * (spec.slot_digits - len(form)),
                "last": max(1, len(form)) - 1,
                "zero": not form,
            }
        )
        for form in forms
    ]


def _plain_base(spec: UnitSpec) -> int:
    """Where the plain weights begin in the ROM."""
    return 1 << spec.slot_bits


class Decode(wiring.Component):
    """Digits of a code, `rom[table[code]]`, or of a plain weight.

    Latency: `LATENCY` clocks in which `step` is high. Throughput: one code a clock. While `step` is low everything is held.
    The table is a memory, which the vault reads and writes while `owned` is high.

    Args:
        spec: of the unit.
        table: permutation of the 2^b codes, code -> value index, for an engine that is not to derive it at boot.
        compact: the table in a block RAM, however small. From there to the ROM is the longest path on an ECP5.

    Raises:
        ValueError: if the table is not a permutation.
    """

    def __init__(self, spec: UnitSpec, table: Sequence[int] | None = None, compact: bool = False):
        if table is not None and sorted(table) != list(range(spec.codes)):
            raise ValueError(f"table must be a permutation of 0..{spec.codes - 1}")
        self.spec = spec
        self._table = list(table or ())
        self._compact = compact and table is None
        index = unsigned(spec.code_bits)
        super().__init__(
            Ports(
                {
                    "code": Port(In(unsigned(spec.slot_bits)), "the code, or a plain weight", "with `step`"),
                    "plain": Port(In(1), "codes are plain weights", "constant while codes are under way"),
                    "step": Port(In(1), "everything moves on"),
                    "digits": Port(Out(digits_layout(spec)), "digits of the code", f"{LATENCY} clocks with `step` later"),
                    "owned": Port(In(1), "the vault has the bitting table: no code is decoded"),
                    "addr": Port(In(index), "entry of the table to read", "while `owned`"),
                    "index": Port(Out(index), "that entry", "a clock later"),
                    "write": Port(In(1), "write an entry of the table", "while `owned`"),
                    "write_addr": Port(In(index), "which entry", "with `write`"),
                    "write_data": Port(In(index), "its new content, a value index", "with `write`"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        attrs = {"ram_style": "block"} if self._compact else {}
        m.submodules.table = table = Memory(
            shape=unsigned(self.spec.code_bits), depth=self.spec.codes, init=self._table, attrs=attrs
        )
        contents = digits_rom(self.spec)
        m.submodules.rom = rom = Memory(shape=digits_layout(self.spec), depth=len(contents), init=contents)
        table_read = table.read_port()
        table_write = table.write_port()
        rom_read = rom.read_port()
        code = Signal.like(self.code)
        weight = Signal(self.spec.plain_bits)
        with m.If(self.step):
            m.d.sync += [code.eq(self.code), weight.eq(code), self.digits.eq(rom_read.data)]
        index = Mux(self.plain, weight | _plain_base(self.spec), table_read.data)
        m.d.comb += [
            table_read.addr.eq(Mux(self.owned, self.addr, code)),
            table_read.en.eq(self.step | self.owned),
            self.index.eq(table_read.data),
            table_write.addr.eq(self.write_addr),
            table_write.data.eq(self.write_data),
            table_write.en.eq(self.write),
            rom_read.addr.eq(index),
            rom_read.en.eq(self.step),
        ]
        return m
