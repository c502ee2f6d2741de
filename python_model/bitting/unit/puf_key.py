"""How the bits of a PUF become a key: which of them are kept, and by which code errors in them are corrected.

Public, and the same on every device of a family; *which* pairs a device keeps is part of its helper data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bitting.errors import BittingError, SpecError
from bitting.unit.bch import BchCode
from bitting.unit.protocol import PUF_CHECK_WORDS, WORD_BITS
from bitting.unit.puf_spec import MAX_PAIRS, PufSpec
from bitting.unit.spec import UnitSpec

#: Words of a code at most, that a response fills.
MAX_BLOCKS = 255


@dataclass(frozen=True)
class PufKey:
    """Of the bits that all pairs of oscillators give, a mask keeps some, and they fill words of a code.

    Kept bits lie in the order of their pairs, `kept` of them in each word, from bit 0 on; the bits above them, if the code is
    longer, are zeros on both sides: it is *shortened*, and corrects as many errors.

    Attributes:
        code: corrects each word.
        blocks: words of it, 1 to 255.
        kept: bits of the response in each word, more than the code's check bits and up to all of its n; 0: all of them.
        pairs: of oscillators, as many as bits are kept or more, up to 4096; 0: as many.

    Raises:
        SpecError: if one is out of range.

    Example:
        >>> key = PufKey(BchCode(m=8, t=4), blocks=1, kept=204, pairs=256)
        >>> key.bits, key.mask_words, key.helper_words
        (204, 8, 13)
    """

    code: BchCode
    blocks: int = 1
    kept: int = 0
    pairs: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.blocks <= MAX_BLOCKS:
            raise SpecError(f"a response of {self.blocks} words of a code; allowed: 1 to {MAX_BLOCKS}")
        object.__setattr__(self, "kept", self.kept or self.code.n)
        if not self.code.check_bits < self.kept <= self.code.n:
            raise SpecError(
                f"{self.kept} bits of a response in a word of BCH({self.code.n}, {self.code.k}); allowed: "
                f"{self.code.check_bits + 1} to {self.code.n}, for a syndrome tells {self.code.check_bits} of them"
            )
        object.__setattr__(self, "pairs", self.pairs or self.bits)
        if not self.bits <= self.pairs <= MAX_PAIRS:
            raise SpecError(
                f"{self.pairs} pairs of oscillators, of which {self.bits} are kept; allowed: {self.bits} to {MAX_PAIRS}"
            )

    @property
    def bits(self) -> int:
        """Bits of the response that are kept, of all words together."""
        return self.blocks * self.kept

    @property
    def entropy_loss(self) -> int:
        """Bits of min-entropy that the syndromes take at most: as many as they have."""
        return self.blocks * self.code.check_bits

    @property
    def mask_words(self) -> int:
        """32-bit words of the mask: bit i % 32 of word i // 32 is 1 if pair i is kept; bits behind the last pair are zeros."""
        return -(-self.pairs // WORD_BITS)

    @property
    def syndrome_words(self) -> int:
        """32-bit words of all syndromes: each begins a word of its own."""
        return self.blocks * self.code.syndrome_words

    @property
    def helper_words(self) -> int:
        """32-bit words of helper data: mask, syndromes, check."""
        return self.mask_words + self.syndrome_words + PUF_CHECK_WORDS

    @property
    def message_words(self) -> int:
        """32-bit words that are hashed: `prefix`, mask, syndromes, and all words of the code."""
        return PREFIX_WORDS + self.mask_words + self.syndrome_words + self.blocks * self.code.word_words

    def prefix(self, spec: UnitSpec) -> tuple[int, ...]:
        """What the hash begins with, `PREFIX_WORDS` words: the two of the spec's id, its last digits first; then the sizes."""
        number = int(spec.id, 16)
        return (
            number & 0xFFFFFFFF,
            number >> WORD_BITS,
            self.code.m | self.code.t << 8 | self.blocks << 16,
            self.kept | self.pairs << 16,
        )


@dataclass(frozen=True)
class PufDesign:
    """All of a PUF that is the same on every device: what is measured, against what, and how it becomes a key.

    Attributes:
        key: as its helper data are.
        measured: as many pairs, and how they are read.
        constants: of each pair, in counts of all reads (`bitting.puf.counting.constant`); none: zeros.

    Raises:
        SpecError: if they do not fit each other.
    """

    key: PufKey
    measured: PufSpec
    constants: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.key.pairs != self.measured.pairs:
            raise SpecError(
                f"{self.measured.pairs} pairs are measured, and the key is made of {self.key.pairs}; allowed: as many"
            )
        if self.constants:
            self.measured.check_constants(self.constants)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON."""
        key, measured = self.key, self.measured
        numbers = {"m": key.code.m, "t": key.code.t, "blocks": key.blocks, "kept": key.kept, "pairs": key.pairs}
        return {
            **numbers,
            **{name: getattr(measured, name) for name in _MEASURED},
            "constants": list(self.constants),
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> PufDesign:
        """The design that `to_dict` gave.

        Raises:
            SpecError: if something lacks, is too much, is no integer, or is out of range.
        """
        names = {"m", "t", "blocks", "kept", "pairs", "constants", *_MEASURED}
        if not isinstance(fields, dict) or set(fields) != names:
            raise SpecError(f"a PUF has the fields {', '.join(sorted(names))}; found {sorted(fields) if fields else fields!r}")
        numbers = {name: value for name, value in fields.items() if name != "constants"}
        constants = fields["constants"]
        if not isinstance(constants, list) or any(type(value) is not int for value in (*numbers.values(), *constants)):
            raise SpecError("a number of a PUF is no integer; allowed are integers, and a list of them for `constants`")
        try:
            code = BchCode(fields["m"], fields["t"])
        except SpecError:
            raise
        except BittingError as error:
            raise SpecError(str(error)) from None
        key = PufKey(code, fields["blocks"], fields["kept"], fields["pairs"])
        return cls(key, PufSpec(fields["pairs"], **{name: fields[name] for name in _MEASURED}), tuple(constants))


#: What docs/puf.md chooses, of 576 oscillators. Rings on a chip have no constants until boards have been measured.
DEFAULT_KEY = PufKey(BchCode(m=8, t=6), kept=230, pairs=288)
#: Reads of a pair in a boot.
DEFAULT_READS = 64
#: For any system clock that is at most 2.1 times as fast as the rings; where the clock is known, a shorter window may do
#: (`PufSpec.suited`).
DEFAULT_DESIGN = PufDesign(DEFAULT_KEY, PufSpec(DEFAULT_KEY.pairs, reads=DEFAULT_READS))
#: Fields of a measurement beside the number of pairs.
_MEASURED = ("window", "reads", "settle", "fastest")
#: Words of `PufKey.prefix`: whole blocks of the hash, so that hardware begins with the state that follows them.
PREFIX_WORDS = 4
