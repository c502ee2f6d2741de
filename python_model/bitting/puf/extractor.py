"""A robust fuzzy extractor: a root secret from a response that is never quite the same, and helper data that may be public.

At enrolment the response, B words of a BCH code long, leaves behind its helper data: the syndrome of each word, and a check.
Later a noisy response and the helper data give the same response again, or an error; the root secret is a hash of it.

    syndromes = each word's remainder by the generator polynomial                        bitting.puf.bch
    message   = response || syndromes || spec id || m | t << 8 | blocks << 16            32-bit words, lowest byte first
    check     = CXOF128("btt-pfc", message), 16 bytes
    root      = CXOF128("btt-pfr", message), 16 bytes

How bits lie in words. Bit p of word b of the response (p from 0 to n - 1, the coefficient of x^p) is bit p % 32 of its
32-bit word W b + p // 32, where W is n / 32 rounded up: every word of the code begins a 32-bit word of its own, and
bits that are left over, for n = 255 the last of 8 x 32, are zeros. Syndromes lie in the same way, n - k bits each. The spec id
is two words, as in the device key: its last eight hexadecimal digits first. Helper data are the words of all syndromes,
then the four of the check.

Why it holds, in the random oracle model (the hash is one), for a response of which an attacker misses H bits of min-entropy:

* Syndromes are linear functions of the response, n - k bits a word, so H - B (n - k) bits or more are left once they are
  known (Dodis, Ostrovsky, Reyzin, Smith 2008, lemma 2.2 and the syndrome construction). Errors of several enrolments add
  nothing to that with the same code: the difference of two syndromes is the syndrome of the noise between them.
* The check is a test of guesses without the device. So a root is as strong as the guess of a response is hard:
  H - B (n - k) must be 128 or more, and `require_entropy` says whether it is. Check and root tell nothing else, of the response
  or of one another, to whoever never asks the hash for the response itself (Boyen, Dodis, Katz, Ostrovsky, Smith 2005, the
  robust sketch; Dodis, Kanukurthi, Katz, Reyzin, Smith 2012 do without the oracle, and lose more entropy for it).
* Helper data that were changed are refused. Changed syndromes may lead the decoder to another word, at a difference that the
  attacker chose; but the check covers response and syndromes, and to make the one that fits he must guess the
  response, or be right about 128 bits. So what is accepted is one string only, the one that enrolment gave, and an attacker
  who changes it learns what he knew before: that it is refused. What is left to him is to withhold it, and to count how often
  the right one is refused, which tells how noisy the chip is and not where.
* Whether decoding failed or the check did would tell him how many errors there were, so nothing may show it: one error, with
  one text, and always the same computations: every word is decoded, and both hashes are made, before anything is looked at.
  (Python's own time is not constant to the nanosecond; the decoder in hardware is, to the clock.)

It does not hold against whoever reads the response where it is measured, in the chip, or loads a design of his own onto the
same die.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bitting.errors import PufError
from bitting.locking import ascon
from bitting.locking.device import ROOT_BYTES
from bitting.puf import bch
from bitting.unit.bch import BchCode
from bitting.unit.protocol import PURPOSE_PUF_CHECK, PURPOSE_PUF_ROOT
from bitting.unit.spec import UnitSpec

CHECK_BYTES = 16
#: Bits of min-entropy that must be left of a response when its syndromes are known: as many as the root secret has.
KEY_BITS = 8 * ROOT_BYTES
_MAX_BLOCKS = 255


def entropy_loss(code: BchCode, blocks: int = 1) -> int:
    """Bits of min-entropy that the syndromes of a response of so many words take at most: as many as they have."""
    return blocks * code.check_bits


@dataclass(frozen=True, eq=False)
class Helper:
    """Helper data: public, and worth nothing without the silicon.

    Attributes:
        syndromes: (blocks, n - k) bits.
        check: 16 bytes.
    """

    syndromes: np.ndarray
    check: bytes

    def words(self) -> list[int]:
        """As hardware takes it: 32-bit words, those of the syndromes first."""
        return [*bch.packed(self.syndromes).ravel().tolist(), *np.frombuffer(self.check, bch.WORDS).tolist()]


@dataclass(frozen=True)
class FuzzyExtractor:
    """For the devices of one family.

    Attributes:
        spec: of the unit; its id enters the hash, so another family has another root of the same response.
        code: corrects each word of a response.
        blocks: words of the code that a response consists of, 1 to 255.

    Example:
        >>> import numpy as np
        >>> from bitting.unit.spec import PRESETS
        >>> extractor = FuzzyExtractor(PRESETS["tiny"], BchCode(m=8, t=27), blocks=5)
        >>> response = np.random.default_rng(1).integers(0, 2, extractor.response_bits)
        >>> helper = extractor.enrol(response)
        >>> noisy = response ^ (np.arange(extractor.response_bits) < 27)
        >>> extractor.reproduce(noisy, helper) == extractor.reproduce(response, helper)
        True
    """

    spec: UnitSpec
    code: BchCode
    blocks: int

    def __post_init__(self) -> None:
        if not 1 <= self.blocks <= _MAX_BLOCKS:
            raise PufError(f"a response of {self.blocks} words of a code; allowed: 1 to {_MAX_BLOCKS}")

    @property
    def response_bits(self) -> int:
        """Bits of a response."""
        return self.blocks * self.code.n

    @property
    def helper_words(self) -> int:
        """32-bit words of helper data."""
        return self.blocks * self.code.syndrome_words + CHECK_BYTES // bch.WORDS.itemsize

    def require_entropy(self, bits: float) -> None:
        """Raises PufError if a response with so many bits of min-entropy is too easy to guess once its syndromes are known."""
        loss = entropy_loss(self.code, self.blocks)
        if bits - loss < KEY_BITS:
            raise PufError(
                f"a response of {bits:.1f} bits of min-entropy has {bits - loss:.1f} left beside syndromes of "
                f"{loss} bits; {KEY_BITS} or more are needed: take more blocks, or a code that corrects less"
            )

    def enrol(self, response: np.ndarray) -> Helper:
        """Helper data of a response, (response_bits,) zeros and ones: the most likely one, not just one of many reads.

        Raises:
            PufError: if it has another length, or something in it is no bit.
        """
        words = self._words(response)
        syndromes = bch.syndromes(self.code, words)
        return Helper(syndromes, ascon.cxof(PURPOSE_PUF_CHECK, self._message(words, syndromes), CHECK_BYTES))

    def reproduce(self, noisy: np.ndarray, helper: Helper) -> bytes:
        """The root secret, 16 bytes, from another read of the response.

        Raises:
            PufError: always the same one, if the response is too far from the enrolled one, or of another device, or the
                helper data are not those that enrolment gave. Another one if a shape is wrong, which tells nothing.
        """
        words = self._words(noisy)
        corrected, failed = bch.decode(self.code, words, helper.syndromes)
        message = self._message(corrected, helper.syndromes)
        check, root = ascon.cxof(PURPOSE_PUF_CHECK, message, CHECK_BYTES), ascon.cxof(PURPOSE_PUF_ROOT, message, ROOT_BYTES)
        right = hmac.compare_digest(check, helper.check)
        if failed.any() | (not right):
            raise PufError(
                "the root secret can not be made: the response is not the one that was enrolled, or the helper data are not "
                "those of this device; allowed: the words that enrolment gave. Fetch them again, or measure again"
            )
        return root

    def helper(self, words: Sequence[int]) -> Helper:
        """Helper data from its words.

        Raises:
            PufError: if there are too few or too many, one has no 32 bits, or bits that must be zeros are not.
        """
        if len(words) != self.helper_words:
            raise PufError(
                f"helper data of {len(words)} words; {self.blocks} blocks of BCH({self.code.n}, {self.code.k}) have "
                f"{self.helper_words}: read them again, or name the code that they are of"
            )
        if any(not 0 <= word < 1 << 32 for word in words):
            raise PufError("helper data have a word that is none of 32 bits; allowed: 0 to 4294967295")
        array = np.array(words, bch.WORDS)
        kept = self.blocks * self.code.syndrome_words
        packed = array[:kept].reshape(self.blocks, -1)
        syndromes = bch.unpacked(packed, self.code.check_bits)
        if not np.array_equal(bch.packed(syndromes), packed):
            raise PufError(f"helper data have a bit set behind the {self.code.check_bits} of a syndrome; allowed there: zeros")
        return Helper(syndromes, array[kept:].tobytes())

    def _words(self, response: np.ndarray) -> np.ndarray:
        return bch.checked(np.asarray(response).reshape(1, -1), self.response_bits, "a response").reshape(self.blocks, -1)

    def _message(self, words: np.ndarray, syndromes: np.ndarray) -> bytes:
        parameters = self.code.m | self.code.t << 8 | self.blocks << 16
        bits = bch.packed(words).tobytes() + bch.packed(syndromes).tobytes()
        return bits + bytes.fromhex(self.spec.id)[::-1] + parameters.to_bytes(4, "little")
