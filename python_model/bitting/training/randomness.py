"""Where every random choice of training comes from: one seed, of which no bit goes unused.

Whoever knows the seed, the data and the settings trains the same weights again. So a seed of 128 bits is drawn in secret, and
initial weights, drawn histograms, the order of samples and dropout follow from all of them. `torch.manual_seed` would not do:
its generator for the CPU takes 32 bits of what it is given, which is soon tried through. So SHAKE-256 of the whole seed fills
the generator's state of 624 words, and a numpy generator's pool of 256 bits.

Seeds below 2^32 are for experiments that others are to repeat. They go to the generators as they are, and so give what they
always gave.
"""

from __future__ import annotations

import hashlib
import secrets

import numpy as np
import torch

from bitting.errors import BittingError

#: Bits of a seed that nobody gave.
DRAWN_BITS = 128
#: Seeds below this are given to the generators as they are.
_SMALL = 1 << 32
#: torch's state of a CPU generator: words that count, the Mersenne Twister's 624 (a uint64 each), then a spare normal sample.
_TWISTER, _TWISTER_WORDS = 24, 624
#: What torch had to be seeded with, epoch by epoch, for the results that it gave before.
_EPOCHS = 100_003


def draw() -> int:
    """A secret seed."""
    return secrets.randbits(DRAWN_BITS)


def torch_generator(seed: int, epoch: int | None = None) -> torch.Generator:
    """A generator whose whole state follows from the seed, and from the epoch if there is one.

    Raises:
        BittingError: if this torch has another kind of generator.
    """
    generator = torch.Generator()
    if seed < _SMALL:
        return generator.manual_seed(seed if epoch is None else seed * _EPOCHS + epoch)
    state = generator.manual_seed(1).get_state()
    words = state.numpy()[_TWISTER : _TWISTER + 8 * _TWISTER_WORDS].view(np.uint64)
    if len(words) != _TWISTER_WORDS or words[0] != 1:
        raise BittingError(
            f"torch {torch.__version__} keeps the state of its generator in another way than torch 2 does; install torch 2"
        )
    words[:] = _words(seed, _TWISTER_WORDS, "torch", "start" if epoch is None else epoch)
    return generator.set_state(state)


def seed_torch(seed: int, epoch: int | None = None) -> None:
    """Seed torch's own generator, which layers begin with and dropout draws from.

    Torch itself takes 32 bits of a seed, which can be tried through: before training a model that is to be locked with a loop
    of your own, call `seed_torch(draw())`.
    """
    torch.default_generator.set_state(torch_generator(seed, epoch).get_state())


def numpy_generator(seed: int, *purpose: int) -> np.random.Generator:
    """A generator for a purpose that has numbers, as the shape of a matrix."""
    if seed < _SMALL:
        return np.random.default_rng([seed, *purpose])
    words = _words(seed, 8, "numpy", *purpose)
    return np.random.default_rng(np.random.SeedSequence(words.tolist(), pool_size=8))


def _words(seed: int, count: int, *purpose: str | int) -> np.ndarray:
    """32-bit words from SHAKE-256 of the seed and what they are for."""
    text = " ".join(map(str, ("bitting training", *purpose, seed)))
    return np.frombuffer(hashlib.shake_256(text.encode()).digest(4 * count), "<u4")
