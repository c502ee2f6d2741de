"""The bitting table, read through the port: an emitting tile of each code, with activation 1, before any CHALLENGE.

Attacker: owner of the chip. What stops it: the fuse `sealed`, which ends clear execution.
"""

from __future__ import annotations

import numpy as np

from bitting.attack.findings import Finding
from bitting.attack.port import Probe, Reply, clear_layer, layer_words, sums_words, value_indices
from bitting.locking.transform import seal_with_zeros
from bitting.program import packets
from bitting.program.layers import Layer, Program
from bitting.unit.spec import VaultKind


def read_table(probe: Probe) -> Finding:
    """Ask for the weight of every code.

    With the vault `ascon` the layer is sent twice: in clear, and sealed with zeros as an unsealed device takes it.

    Returns:
        A finding of (2^b,) value indices, code -> value index; -1 where nothing was learnt.
    """
    spec = probe.spec
    layer = clear_layer(spec, np.arange(spec.codes)[:, None], reads=np.zeros(spec.codes), plain=False)
    inputs = packets.activations_packet(spec, 0, np.ones((spec.lanes, 1), np.int8))
    reply = probe.ask([inputs, *layer_words(layer)], sums_words(spec, spec.codes))
    how = "a tile of each code, in clear, before CHALLENGE"
    if spec.vault == VaultKind.ASCON:
        reply = max(reply, _sealed_with_zeros(probe, layer, inputs), key=lambda one: len(one.tiles))
        how += ", and sealed with zeros"
    table = np.full(spec.codes, -1)
    table[: len(reply.sums)] = value_indices(spec, reply.sums.reshape(-1, spec.lanes)[:, 0])
    got = int((table >= 0).sum())
    return Finding.of_probe(
        probe, "table read-out", "owner of the chip", "entries of the bitting table", got, spec.codes, how, table
    )


def _sealed_with_zeros(probe: Probe, layer: Layer, inputs: np.ndarray) -> Reply:
    spec = probe.spec
    sealed = seal_with_zeros(Program(spec, (layer,), 0, 1))
    return probe.ask([sealed.head, inputs, sealed.body], sealed.result_words)
