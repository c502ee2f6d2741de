"""What words of a report mean, for whoever has nothing but the report; docs/glossary.md has more, and where each lives."""

from __future__ import annotations

from bitting.report.blocks import Section, Table

_WORDS = {
    "tile": "the weights of one output of a layer (of a convolution: of a channel), with its bias, sent in one packet",
    "batch": "samples that a device answers at once: one a lane, or one for as many lanes as share a sample (stripes)",
    "code": "a weight as it is stored and sent, a few bits",
    "digit": "a signed power of two of a weight; the unit adds one a clock, so clocks tell how many the codes of a tile have",
    "bitting table": "a device's secret permutation of the codes: which weight each stands for; one for a whole network",
    "root secret": "128 bits in each device; table and keys follow from it",
    "challenge": "a small public program that a device runs to show its timing and its arithmetic",
    "clock, numeric": "fingerprints, what of the challenge's results enters the key: clocks of its tiles, or its sums",
    "vault": "the part of the engine that knows keys: aes, locks of the paper, without integrity; ascon, with sealed programs",
    "sealed, sealed-clocked": (
        "what the vault ascon does: each packet is enciphered and authenticated, in its place; -clocked: the clocks of tiles "
        "that ran enter the keys of those that follow"
    ),
    "table": "codes as the bitting table has them, and no more: no lock by itself",
    "shuffle": "what the vault aes can do: the codes of each tile are moved about, in an order that follows from the key",
    "aes, aes-pre, aes-clocked": (
        "the vault aes, too: weights in clear are enciphered; codes are; or codes, with the clocks of earlier tiles in the key"
    ),
    "soft lock": "a way to train, without a key: right on this unit, useless on hardware that rounds, or that prunes",
    "twin": "the same without the lock: of a network, in floating point; of an engine, without a vault",
    "weak lock, control": "a lock made weak on purpose, which an attack must break before its failure elsewhere counts",
    "gain": (
        "what the attacker got, in the unit that is named; less than 0 is worse than without the file. 0 is nothing, but for "
        "an area under the ROC curve, where 0.5 is, and for Welch's t, where all below 4.5 is"
    ),
    "bytes": (
        "of the file, headers and claims with it: a sealed program is one table of words, where a file in clear has tables for "
        "each layer. What is sent to the device is counted in command words"
    ),
    "counts from": "of fine-tuning: the least mean gain that is surely no chance with this scatter, and half a point at least",
    "mostly seen from": "the gain that four of five such rounds would call sure",
    "sigma": "the standard deviation of the network's weights",
}


def section() -> Section:
    """The last of a report."""
    rows = tuple(_WORDS.items())
    return Section("words", "Words", (Table("Words of this report", ("word", "meaning"), rows),))
