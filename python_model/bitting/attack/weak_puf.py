"""Keys from a PUF whose helper data nothing protects: attacks of `bitting.attack.helper_data` are seen to succeed on them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from bitting.errors import PufError
from bitting.puf import bch
from bitting.puf.extractor import FuzzyExtractor, Helper


class Silicon:
    """Bits of which each is read wrong with a probability of its own."""

    def __init__(self, bits: np.ndarray, error_rates: np.ndarray, seed: int):
        self.bits, self.error_rates = bits.astype(np.uint8), error_rates
        self.rng = np.random.default_rng(seed)

    def read(self) -> np.ndarray:
        """(bits,) as they are read now."""
        return self.bits ^ (self.rng.random(len(self.bits)) < self.error_rates)


class ChosenPairs:
    """Helper data name the pair of oscillators that makes each bit of the key, the most reliable ones of this chip."""

    def __init__(self, silicon: Silicon, pairs: int):
        self.silicon = silicon
        self.helper = [int(pair) for pair in np.argsort(silicon.error_rates, kind="stable")[:pairs]]

    def ask(self, words: Sequence[int]) -> bytes | None:
        """What follows from the key."""
        return hashlib.sha256(self.silicon.read()[list(words)].tobytes()).digest()


class Unchecked:
    """The syndrome construction by itself: errors that can not be corrected are reported, all else is taken as the response.

    Which pairs are left out, if any are, is random: it says nothing of their bits.
    """

    def __init__(self, silicon: Silicon, extractor: FuzzyExtractor):
        self.silicon, self.extractor = silicon, extractor
        sizes = np.random.default_rng(0).uniform(1, 2, len(silicon.bits))
        self.helper = extractor.enrol((silicon.bits - 0.5) * sizes).words()

    def ask(self, words: Sequence[int]) -> bytes | None:
        """What follows from the key, or None for an error."""
        try:
            helper: Helper = self.extractor.helper(words)
        except PufError:
            return None
        key = self.extractor.key
        noisy = np.zeros((key.blocks, key.code.n), np.uint8)
        noisy[:, : key.kept] = self.silicon.read()[helper.mask == 1].reshape(key.blocks, -1)
        corrected, failed = bch.decode(key.code, noisy, helper.syndromes)
        return None if failed.any() else hashlib.sha256(corrected.tobytes()).digest()


class Ours(Unchecked):
    """The same with the check: what the product does."""

    def ask(self, words: Sequence[int]) -> bytes | None:
        """What follows from the key, or None for an error."""
        try:
            root = self.extractor.reproduce(self.silicon.read(), self.extractor.helper(words))
        except PufError:
            return None
        return hashlib.sha256(root).digest()
