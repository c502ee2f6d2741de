"""CRC-32 (ISO-HDLC, as in Ethernet and zlib) of 32-bit words, a word a clock."""

from functools import reduce
from operator import xor

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import WORD_BITS
from bitting_rtl.lib.ports import Port, Ports

#: The generator polynomial, bits reflected.
_POLYNOMIAL = 0xEDB88320
_ONES = (1 << WORD_BITS) - 1


def _after_a_word(register: int) -> int:
    """The register after 32 steps of the bit-serial form, least significant bit first."""
    for _ in range(WORD_BITS):
        register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
    return register


class Crc32(wiring.Component):
    """The CRC of a message, of which a word arrives in every clock with `valid`.

    Register and word have the same width, so the next register is one linear map of their sum. That takes half the logic of
    the general form in `amaranth.lib.crc`, which maps register and word apart.
    """

    def __init__(self) -> None:
        super().__init__(
            Ports(
                {
                    "start": Port(In(1), "the word is the first of a message", "with `valid`"),
                    "valid": Port(In(1), "there is a word"),
                    "data": Port(In(WORD_BITS), "the word", "with `valid`"),
                    "crc": Port(Out(WORD_BITS), "CRC of the message so far", "from a clock after its last word"),
                }
            )
        )

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
