"""The codes of a stolen file as a thief reads them: with a table that he guesses, as weights to begin with.

Attacker: thief of the file. In his favour he knows the architecture, with every address and shift, though a sealed program
does not tell it. What he reads of the vault `aes` are the shipped codes, with their biases, which are in clear; of a sealed
program the bytes where the codes of each tile lie. Without the key both are noise, but for a `shuffle`, which keeps the weights
of each tile and moves them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.errors import LockError
from bitting.locking.sealed_program import SealedProgram
from bitting.program.layers import Layer, Program
from bitting.unit.protocol import TAG_WORDS, TILE_FIXED_WORDS, Packet
from bitting.unit.spec import SLOT_BITS


def codes_of(artefact: Artefact, architecture: Program) -> Program:
    """A program of this architecture with the codes that lie in the file.

    Args:
        artefact: what was stolen.
        architecture: of the network; its codes and, if the program is sealed, its biases are not looked at.

    Raises:
        LockError: if the file holds another number of tiles than the architecture has.
    """
    if not isinstance(artefact.program, SealedProgram):
        return artefact.program
    packets = [packet for packet in artefact.program.packets() if int(packet[0]) & 0xFF == Packet.TILE]
    tiles = sum(layer.tiles for layer in architecture.layers)
    if len(packets) != tiles:
        raise LockError(f"the artefact has {len(packets)} tiles, the architecture {tiles}; give the one that it was made of")
    bodies = iter(packets)

    def read(layer: Layer) -> Layer:
        rows = [next(bodies)[1 + TILE_FIXED_WORDS : -TAG_WORDS].view(np.uint8) for _ in range(layer.tiles)]
        if layer.constant:
            return layer
        codes = np.stack([row[: layer.tile_codes] for row in rows]) & np.uint8(architecture.spec.codes - 1)
        return replace(layer, codes=codes, bias=np.zeros_like(layer.bias))

    return replace(architecture, layers=tuple(read(layer) for layer in architecture.layers))


def tables(codes: int, count: int, seed: int) -> Iterator[list[int]]:
    """So many guesses at a bitting table: codes as they are, then permutations at random."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        yield list(range(codes)) if number == 0 else rng.permutation(codes).tolist()


def random_codes(architecture: Program, rng: np.random.Generator, plain: bool = False) -> Program:
    """A network of the same shape, biases and shifts, with codes at random: what a key that opens nothing gives.

    `plain`: with bytes for weights, which not every family has.
    """
    size = 1 << SLOT_BITS if plain else architecture.spec.codes
    return architecture.map_secret(
        lambda layer: replace(layer, codes=rng.integers(0, size, layer.codes.shape).astype(np.uint8), plain=plain)
    )
