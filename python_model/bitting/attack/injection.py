"""Activations of the attacker's choice, written between two layers.

Attacker: owner of the chip. Every packet of the program is the rightful one, in its place; but before the last layer its
inputs are overwritten with one-hot vectors, and what it sends then are its weights. What stops it: input is taken only where
and when the program says.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.attack.findings import Finding
from bitting.attack.port import FAULT_PACKET, Probe, value_indices
from bitting.attack.streams import Stream
from bitting.errors import LockError
from bitting.locking.sealed_program import SealedProgram
from bitting.program import packets

#: Places of a sealed program, evenly over it, where activations are tried, beside those near its layers; of more layers than
#: that, near so many. ResNet8 has 197, most of them alike, of its pooling, and each try takes the simulated chip a run.
_SPREAD, _LAYERS = 24, 48


def applies(artefact: Artefact) -> bool:
    """Whether it can be tried: of programs that are not sealed, on a last layer whose tiles read the same words, each once."""
    if isinstance(artefact.program, SealedProgram):
        return True
    layer = artefact.program.layers[-1]
    same = len(np.unique(layer.in_base)) == 1 and layer.parts == 1
    return same and len(np.unique(layer.offsets)) == layer.tile_codes


def inject(probe: Probe, artefact: Artefact, x: np.ndarray) -> Finding:
    """Read the weights of the last layer, or of a sealed program see whether activations are taken anywhere.

    Args:
        probe: the port.
        artefact: its last layer, if it can be looked at, is no chain, and its tiles read the same words, each once.
        x: (samples, input_words) int8.

    Returns:
        A finding of the weights as one row of value indices, -1 where nothing was learnt; of a sealed program (packets,)
        booleans: the device went on after activations behind that packet.

    Raises:
        LockError: if the last layer has another shape.
    """
    if isinstance(artefact.program, SealedProgram):
        return _everywhere(probe, artefact, x)
    program, spec = artefact.program, artefact.program.spec
    layer = program.layers[-1]
    count, lanes = layer.tile_codes, spec.lanes
    if not applies(artefact):
        raise LockError("this attack reads a last layer whose tiles read the same words, each once; the artefact has another")
    stream = Stream.of(artefact, x)
    at = stream.layers()[-1]
    # Where lanes share a sample the attacker has all of them emit, each what it reads itself: no tag covers the layer's flags.
    own = replace(layer, band=(0, 0), edge=0, every_lane=spec.stripes > 1)
    last = [packets.layer_packet(own, report=False), *stream.packets[at + 1 :]]
    weights = np.zeros((layer.tiles, -(-count // lanes) * lanes), np.int64)
    for first in range(0, count, lanes):
        hot = np.zeros((lanes, int(layer.offsets.max()) + 1), np.int8)
        shown = np.arange(first, min(first + lanes, count))
        hot[shown - first, layer.offsets[shown]] = 1
        injected = packets.activations_packet(spec, int(layer.in_base[0]), hot)
        sums = stream.changed([*stream.packets[:at], injected, *last]).sent(probe, layer.tiles * (lanes - spec.samples)).sums
        if len(sums) < layer.tiles:
            break
        weights[:, first : first + lanes] = sums[-layer.tiles :] - layer.bias[:, None]
    indices = value_indices(spec, weights[:, :count].reshape(-1))
    note = "one-hot vectors in the place of the last layer's inputs"
    got = int((indices >= 0).sum())
    return Finding.of_probe(
        probe, "injection", "owner of the chip", "weights of the last layer", got, indices.size, note, indices
    )


def _everywhere(probe: Probe, artefact: Artefact, x: np.ndarray) -> Finding:
    """Activations around LAYER packets and behind others, where the input lies and after it."""
    stream, program = Stream.of(artefact, x), artefact.program
    rightful = stream.sent(probe).words
    beside = min(program.input_base + program.input_words, program.spec.scratch_words - 1)
    hot = np.ones((program.spec.lanes, 1), np.int8)
    injected = [packets.activations_packet(program.spec, address, hot) for address in (program.input_base, beside)]
    places, layers = _places(stream), len(stream.layers())
    answered = []
    for place in places:
        for packet in injected if place > 1 else injected[1:]:  # at its own place the input's first word is no injection
            changed = stream.changed([*stream.packets[:place], packet, *stream.packets[place:]])
            answered.append(changed.sent(probe, FAULT_PACKET).tells_more_than(rightful))
    note = f"activations between the packets, at {len(places)} places, near {min(_LAYERS, layers)} of {layers} layers"
    return Finding.of_probe(
        probe, "injection", "owner of the chip", "injections answered", sum(answered), len(answered), note, np.array(answered)
    )


def _places(stream: Stream) -> list[int]:
    """Before and after each LAYER, or many of them, behind the last packet, and evenly between."""
    count = len(stream.packets)
    near = {place + after for place in stream.some_of(stream.layers(), _LAYERS) for after in (0, 1, 2)} | {1, 2, count}
    spread = range(1, count, -(-count // _SPREAD))
    return sorted(place for place in near | set(spread) if place <= count)
