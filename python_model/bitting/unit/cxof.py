"""The small hash of a PUF's boot, as both sides know it: what comes out, and clocks."""

from __future__ import annotations

from dataclasses import dataclass

from bitting.errors import BittingError
from bitting.unit.protocol import WORD_BITS

#: Bytes of a customisation string at most, so that it fills one block with its padding.
MAX_LABEL_BYTES = 7
#: Bits of output.
DIGEST_BITS = 256
#: Clocks of a column of the state in a round of the permutation.
COLUMN_CLOCKS = 16
#: Bits of a block, which are the columns of the state, and rounds of the permutation (SP 800-232, sections 3 and 5.3).
BLOCK_BITS, ROUNDS = 64, 12


@dataclass(frozen=True)
class CxofClocks:
    """Clocks of `bitting_rtl.puf.small_cxof`, exactly, if all words come and go as soon as they may.

    Attributes:
        message: from the clock after `start` to the one that gives the last word of the digest, both counted.
        clear: the state is overwritten, after a digest, a reset or `wipe`.
    """

    message: int
    clear: int

    @classmethod
    def of(cls, words: int) -> CxofClocks:
        """Of a message of so many words, 1 or more; nothing of it depends on what they are.

        Raises:
            BittingError: if there is no word.
        """
        if words < 1:
            raise BittingError(f"a message of {words} words; allowed: 1 or more")
        permutation = ROUNDS * BLOCK_BITS * COLUMN_CLOCKS
        absorbed = words // (BLOCK_BITS // WORD_BITS) + 1  # blocks, with the padding
        return cls(message=(absorbed + DIGEST_BITS // BLOCK_BITS) * permutation, clear=permutation)


def check_label(label: bytes) -> bytes:
    """A customisation string, as it came.

    Raises:
        BittingError: if it does not fit into a block.
    """
    if len(label) > MAX_LABEL_BYTES:
        raise BittingError(
            f"a label of {len(label)} bytes; allowed: up to {MAX_LABEL_BYTES}, which fill a block with the padding. Shorten it"
        )
    return label
