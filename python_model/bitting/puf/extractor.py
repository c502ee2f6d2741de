"""A robust fuzzy extractor: a root secret from a response that is never quite the same, and helper data that may be public.

At enrolment the response leaves behind its helper data: a mask, which says which pairs of oscillators differ enough to be
kept; the syndrome of each word of a BCH code that the kept bits fill; and a check. Later a noisy response and the helper data
give the same bits again, or an error; the root secret is a hash of them (`bitting.unit.puf_key` has the sizes):

    words     = kept bits, in the order of their pairs
    syndromes = each word's remainder by the generator polynomial                        bitting.puf.bch
    message   = prefix || mask || syndromes || words                                     32-bit words, lowest byte first
    digest    = CXOF128("btt-puf", message), 32 bytes: the check, then the root secret

How bits lie in words. Bit p of word b of the code (p from 0 to n - 1, the coefficient of x^p) is bit p % 32 of its
32-bit word W b + p // 32, where W is n / 32 rounded up: every word of the code begins a 32-bit word of its own, and
bits that are left over are zeros. Syndromes lie in the same way, n - k bits each, and the mask, a bit for each pair.
Helper data are the words of the mask, of all syndromes, and the four of the check.

Why it holds, in the random oracle model (the hash is one), for kept bits of which an attacker who knows the mask misses H
bits of min-entropy:

* Syndromes are linear functions of the bits, n - k bits a word, so H - B (n - k) bits or more are left once they are
  known (Dodis, Ostrovsky, Reyzin, Smith 2008, lemma 2.2 and the syndrome construction). Errors of several enrolments add
  nothing to that with the same code and mask: the difference of two syndromes is the syndrome of the noise between them.
  (Another mask is another set of bits: a device is enrolled once.)
* The mask tells which differences are small, and that says nothing of their signs, as far as a difference is symmetric about
  its constant. How far it is, is measured: H is estimated with masks as they are (docs/puf.md).
* The check is a test of guesses without the device. So a root is as strong as the guess of a response is hard:
  H - B (n - k) must be 128 or more, and `require_entropy` says whether it is. Check and root tell nothing else, of the response
  or of one another, to whoever never asks the hash for the response itself (Boyen, Dodis, Katz, Ostrovsky, Smith 2005, the
  robust sketch; Dodis, Kanukurthi, Katz, Reyzin, Smith 2012 do without the oracle, and lose more entropy for it).
* Helper data that were changed are refused. A changed mask chooses other pairs, a changed syndrome leads the decoder to another
  word, and published attacks read keys that way; but the check covers mask, syndromes and bits, and to make the one that fits
  an attacker must guess the bits, or be right about 128 bits. So what is accepted is one string only, the one that enrolment
  gave, and whoever changes it learns what he knew before: that it is refused. What is left to him is to withhold it, and to
  count how often the right one is refused, which tells how noisy the chip is and not where.
* Whether decoding failed or the check did would tell him how many errors there were, so nothing may show it: one error, with
  one text, and always the same computations: every word is decoded, and the hash is made, before anything is looked at.
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
from bitting.unit.protocol import PUF_CHECK_WORDS, PURPOSE_PUF
from bitting.unit.puf_key import PufKey
from bitting.unit.spec import UnitSpec

CHECK_BYTES = PUF_CHECK_WORDS * bch.WORDS.itemsize
#: Bits of min-entropy that must be left of a response when its syndromes are known: as many as the root secret has.
KEY_BITS = 8 * ROOT_BYTES


@dataclass(frozen=True, eq=False)
class Helper:
    """Helper data: public, and worth nothing without the silicon.

    Attributes:
        mask: (pairs,) 1 for each pair that is kept.
        syndromes: (blocks, n - k) bits.
        check: 16 bytes.
    """

    mask: np.ndarray
    syndromes: np.ndarray
    check: bytes

    def words(self) -> list[int]:
        """As hardware takes it: 32-bit words of mask, syndromes and check."""
        return [*_public(self.mask, self.syndromes).tolist(), *np.frombuffer(self.check, bch.WORDS).tolist()]


@dataclass(frozen=True)
class FuzzyExtractor:
    """For the devices of one family.

    Attributes:
        spec: of the unit; its id enters the hash, so another family has another root of the same response.
        key: which bits are kept, and how their errors are corrected.

    Example:
        >>> import numpy as np
        >>> from bitting.unit.bch import BchCode
        >>> from bitting.unit.spec import PRESETS
        >>> extractor = FuzzyExtractor(PRESETS["tiny"], PufKey(BchCode(m=8, t=4), kept=204, pairs=256))
        >>> differences = np.random.default_rng(1).normal(size=256)
        >>> helper = extractor.enrol(differences)
        >>> noisy = (differences > 0) ^ (abs(differences) < np.sort(abs(differences))[52 + 4])
        >>> extractor.reproduce(noisy, helper) == extractor.reproduce(differences > 0, helper)
        True
    """

    spec: UnitSpec
    key: PufKey

    def require_entropy(self, bits: float) -> None:
        """Raises PufError if kept bits with so much min-entropy are too easy to guess once their syndromes are known."""
        loss = self.key.entropy_loss
        if bits - loss < KEY_BITS:
            raise PufError(
                f"a response of {bits:.1f} bits of min-entropy has {bits - loss:.1f} left beside syndromes of "
                f"{loss} bits; {KEY_BITS} or more are needed: keep more pairs, or take a code that corrects less"
            )

    def enrol(self, differences: np.ndarray) -> Helper:
        """Helper data of a chip; the pairs that differ most are kept.

        Args:
            differences: (pairs,) of each pair, less its constant: the mean of many reads, for what is kept is what is far
                from zero in the long run. Where it is positive, the bit is 1.

        Raises:
            PufError: if there are more or fewer, or one is no finite number.
        """
        values = np.asarray(differences, float)
        if values.shape != (self.key.pairs,) or not np.isfinite(values).all():
            raise PufError(f"a chip has {self.key.pairs} differences, finite numbers; found {values.shape}")
        mask = np.zeros(self.key.pairs, np.uint8)
        mask[np.argsort(-np.abs(values), kind="stable")[: self.key.bits]] = 1
        words = self._words(values > 0, mask)
        syndromes = bch.syndromes(self.key.code, words)
        return Helper(mask, syndromes, self._digest(words, mask, syndromes)[:CHECK_BYTES])

    def reproduce(self, noisy: np.ndarray, helper: Helper) -> bytes:
        """The root secret, 16 bytes, from another read.

        Args:
            noisy: (pairs,) bits, of those that are not kept too.
            helper: of the chip.

        Raises:
            PufError: always the same one, if the response is too far from the enrolled one, or of another device, or the
                helper data are not those that enrolment gave. Another one if a shape is wrong, which tells nothing.
        """
        words = self._words(noisy, helper.mask)
        corrected, failed = bch.decode(self.key.code, words, helper.syndromes)
        digest = self._digest(corrected, helper.mask, helper.syndromes)
        right = hmac.compare_digest(digest[:CHECK_BYTES], helper.check)
        if failed.any() | (not right):
            raise PufError(
                "the root secret can not be made: the response is not the one that was enrolled, or the helper data are not "
                "those of this device; allowed: the words that enrolment gave. Fetch them again, or measure again"
            )
        return digest[CHECK_BYTES:]

    def helper(self, words: Sequence[int]) -> Helper:
        """Helper data from its words.

        Raises:
            PufError: if there are too few or too many, one has no 32 bits, bits that must be zeros are not, or the mask keeps
                more or fewer pairs than the key has bits.
        """
        key = self.key
        if len(words) != key.helper_words:
            raise PufError(
                f"helper data of {len(words)} words; {key.blocks} blocks of BCH({key.code.n}, {key.code.k}) and {key.pairs} "
                f"pairs have {key.helper_words}: read them again, or name the code that they are of"
            )
        if any(not 0 <= word < 1 << 32 for word in words):
            raise PufError("helper data have a word that is none of 32 bits; allowed: 0 to 4294967295")
        array = np.array(words, bch.WORDS)
        ends = key.mask_words, key.mask_words + key.syndrome_words
        mask = bch.unpacked(array[None, : ends[0]], key.pairs)[0]
        syndromes = bch.unpacked(array[ends[0] : ends[1]].reshape(key.blocks, -1), key.code.check_bits)
        if not np.array_equal(_public(mask, syndromes), array[: ends[1]]):
            raise PufError(
                f"helper data have a bit set behind the {key.pairs} of the mask or the {key.code.check_bits} of a syndrome; "
                "allowed there: zeros"
            )
        if mask.sum() != key.bits:
            raise PufError(f"helper data keep {mask.sum()} pairs of {key.pairs}; allowed: {key.bits}. Read them again")
        return Helper(mask, syndromes, array[ends[1] :].tobytes())

    def _words(self, bits: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """(blocks, n): the kept ones of (pairs,) bits, zeros behind them."""
        bits = bch.checked(np.asarray(bits).reshape(1, -1), self.key.pairs, "a response")[0]
        words = np.zeros((self.key.blocks, self.key.code.n), np.uint8)
        words[:, : self.key.kept] = bits[mask == 1].reshape(self.key.blocks, -1)
        return words

    def _digest(self, words: np.ndarray, mask: np.ndarray, syndromes: np.ndarray) -> bytes:
        message = [np.array(self.key.prefix(self.spec), bch.WORDS), _public(mask, syndromes), bch.packed(words).ravel()]
        return ascon.cxof(PURPOSE_PUF, np.concatenate(message).tobytes(), CHECK_BYTES + ROOT_BYTES)


def _public(mask: np.ndarray, syndromes: np.ndarray) -> np.ndarray:
    """Words of what the check covers of the helper data."""
    return np.concatenate([bch.packed(mask[None]).ravel(), bch.packed(syndromes).ravel()])
