"""CRC-32 (ISO-HDLC, as in Ethernet and zlib), a word or half a word a clock."""

from collections.abc import Iterable
from functools import reduce
from operator import xor

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import WORD_BITS
from bitting_rtl.lib.ports import Port, Ports

#: The generator polynomial, bits reflected.
_POLYNOMIAL = 0xEDB88320
_ONES = (1 << WORD_BITS) - 1
#: CRC of any message with its CRC behind it, the lowest byte first.
CRC_OF_RIGHT = 0x2144DF1C


def _after(register: int, bits: int) -> int:
    """The register after so many steps of the bit-serial form, least significant bit first."""
    for _ in range(bits):
        register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
    return register


def crc_of(words: Iterable[int]) -> int:
    """The CRC of words that are known."""
    return reduce(lambda register, word: _after(register ^ word, WORD_BITS), words, _ONES) ^ _ONES


class Crc32(wiring.Component):
    """The CRC of a message, of which a piece arrives in every clock with `valid`.

    A piece is added to the register's low end, so the next register is one linear map of what that gives. This takes half the
    logic of the general form in `amaranth.lib.crc`, which maps register and piece apart.

    Args:
        bits: of a piece, up to 32. Half of them take half the logic.
    """

    def __init__(self, bits: int = WORD_BITS) -> None:
        super().__init__(
            Ports(
                {
                    "clear": Port(In(1), "another message begins", "not with `valid`"),
                    "valid": Port(In(1), "there is a piece"),
                    "data": Port(In(bits), "the piece; of a word its low half comes first", "with `valid`"),
                    "crc": Port(Out(WORD_BITS), "CRC of the message so far", "from a clock after its last piece"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        register = Signal(WORD_BITS, init=_ONES)
        mixed = Signal(WORD_BITS)
        columns = [_after(1 << index, len(self.data)) for index in range(WORD_BITS)]
        mapped = Cat(
            reduce(xor, (mixed[index] for index, column in enumerate(columns) if column >> bit & 1)) for bit in range(WORD_BITS)
        )
        m.d.comb += [mixed.eq(register ^ self.data), self.crc.eq(~register)]
        with m.If(self.valid):
            m.d.sync += register.eq(mapped)
        with m.If(self.clear):
            m.d.sync += register.eq(_ONES)
        return m
