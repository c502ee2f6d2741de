"""The registers of `bitting_axi`, said once: the wrapper, SystemRDL, C header and tests are made from what stands here."""

from dataclasses import dataclass
from enum import IntEnum

from bitting.unit.protocol import WORD_BITS, ErrorCode
from bitting.unit.spec import ARCHITECTURE, UnitSpec

#: What register ID reads: "BITT".
ID = int.from_bytes(b"BITT")


class Register(IntEnum):
    """Byte addresses of the registers, 32 bits each."""

    ID = 0x00
    ARCHITECTURE = 0x04
    SPEC = 0x08
    STATUS = 0x0C
    CONTROL = 0x10
    COMMANDS = 0x14
    RESULTS = 0x18
    CLOCKS = 0x1C


class Control(IntEnum):
    """Bits of CONTROL."""

    RESET = 1
    LOCK_NOW = 2


@dataclass(frozen=True)
class Field:
    """Neighbouring bits of a register.

    Attributes:
        name: capital letters.
        low, width: its lowest bit, and how many.
        meaning: a sentence.
        names: of its values, if they have any.
    """

    name: str
    low: int
    width: int
    meaning: str
    names: type[IntEnum] | None = None

    @property
    def mask(self) -> int:
        """Its bits in the register."""
        return ((1 << self.width) - 1) << self.low


@dataclass(frozen=True)
class Description:
    """What a register is for; bits outside its fields read 0.

    Attributes:
        meaning: a sentence.
        fields: lowest first.
        pulses: writing 1 to a field does something once, and the register reads 0. Else it can only be read.
    """

    meaning: str
    fields: tuple[Field, ...]
    pulses: bool = False


def _whole(meaning: str) -> Description:
    return Description(meaning, (Field("VALUE", 0, WORD_BITS, meaning),))


#: Every register, by address.
REGISTERS = {
    Register.ID: _whole('"BITT" in ASCII, B uppermost'),
    Register.ARCHITECTURE: _whole("version of packets, timing law and arithmetic"),
    Register.SPEC: _whole("low 32 bits of the spec id: which family the engine is of"),
    Register.STATUS: Description(
        "what the engine does",
        (
            Field("BUSY", 0, 1, "a packet, a tile or a result is in progress, or there is an error"),
            Field("RESETTING", 1, 1, "a reset by CONTROL is under way"),
            Field("ERROR", 4, 4, "the first error; only a reset clears it", ErrorCode),
        ),
    ),
    Register.CONTROL: Description(
        "write 1 to act",
        (
            Field("RESET", 0, 1, "reset the engine and the counters, not the buses"),
            Field("LOCK_NOW", 1, 1, "wipe all keys and stop with error LOCKED"),
        ),
        pulses=True,
    ),
    Register.COMMANDS: _whole("command words taken since reset"),
    Register.RESULTS: _whole("result words given since reset"),
    Register.CLOCKS: _whole("clocks since reset in which the engine was busy"),
}


def constants(spec: UnitSpec) -> dict[Register, int]:
    """What registers read that never change."""
    return {Register.ID: ID, Register.ARCHITECTURE: ARCHITECTURE, Register.SPEC: spec.id_word}
