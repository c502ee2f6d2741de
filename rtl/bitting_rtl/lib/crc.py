"""CRC-32 (ISO-HDLC, as in Ethernet and zlib) of 32-bit words, a word a clock."""

from functools import reduce
from operator import xor

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import WORD_BITS

#: The generator polynomial, bits reflected.
_POLYNOMIAL = 0xEDB88320
_ONES = (1 << WORD_BITS) - 1


def _after_a_word(register: int) -> int:
    """The register after 32 steps of the bit-serial form, least significant bit first."""
    for _ in range(WORD_BITS):
        register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
    return register


class Crc32(wiring.Component):
    """`crc` is that of all words since `start`, a word counting in every clock with `valid`; `start` comes with the first.

    Register and word have the same width, so the next register is one linear map of their sum: half the logic of the general
    form in `amaranth.lib.crc`, which maps them apart.
    """

    def __init__(self) -> None:
        super().__init__({"start": In(1), "valid": In(1), "data": In(WORD_BITS), "crc": Out(WORD_BITS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        register = Signal(WORD_BITS, init=_ONES)
        mixed = Signal(WORD_BITS)
        columns = [_after_a_word(1 << index) for index in range(WORD_BITS)]
        mapped = Cat(
            reduce(xor, (mixed[index] for index, column in enumerate(columns) if column >> bit & 1)) for bit in range(WORD_BITS)
        )
        m.d.comb += [mixed.eq(Mux(self.start, _ONES, register) ^ self.data), self.crc.eq(~register)]
        with m.If(self.valid):
            m.d.sync += register.eq(mapped)
        return m
