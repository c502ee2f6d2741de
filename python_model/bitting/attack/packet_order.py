"""Packets of the rightful stream again, exchanged, left out, from the middle, or cut short; no bit in them is changed.

Attacker: owner of the chip. The vault `aes` numbers tiles, so most of it gives noise, but the device answers; and a program
that is cut short leaves its hidden activations in the scratch memory, where constant tiles print them in clear. What stops it:
a number in every nonce, and tags on every packet.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.attack.findings import Finding
from bitting.attack.port import FAULT_PACKET, Probe, layer_words, printing, sums_words
from bitting.attack.streams import Stream
from bitting.program import packets
from bitting.program.layers import Program

_OWNER = "owner of the chip"


def reorder(probe: Probe, artefact: Artefact, x: np.ndarray) -> Finding:
    """Count the changed orders that the device answers with anything that it does not say in the rightful one.

    Args:
        probe: the port.
        artefact: of any vault.
        x: (samples, input_words) int8.

    Returns:
        A finding of (orders,) booleans.
    """
    stream = Stream.of(artefact, x)
    rightful = stream.sent(probe).words
    orders = dict(_orders(stream))
    answered = [stream.changed(order).sent(probe, FAULT_PACKET).tells_more_than(rightful) for order in orders.values()]
    names = ", ".join(orders)
    return Finding.of_probe(
        probe, "packet order", _OWNER, "orders answered", sum(answered), len(orders), names, np.array(answered)
    )


def _orders(stream: Stream) -> Iterator[tuple[str, list[np.ndarray]]]:
    given, layers = stream.packets, stream.layers()
    first, last = layers[0], layers[-1]
    second = layers[1] if len(layers) > 1 else len(given)
    tile = first + 1
    yield "a tile again", [*given[: tile + 1], *given[tile:]]
    if tile + 1 < second:
        yield "two tiles exchanged", [*given[:tile], given[tile + 1], given[tile], *given[tile + 2 :]]
        yield "a tile left out", [*given[:tile], *given[tile + 1 :]]
    yield "the last layer again", [*given, *given[last:]]
    if first != last:
        yield "the first layer left out", [*given[:first], *given[second:]]
        yield "begun in the middle", [*given[:second], packets.unlock_packet(), *given[second:]]
        yield "the last layer first", [*given[:first], *given[last:], *given[first:last]]


def cut_short(probe: Probe, artefact: Artefact, x: np.ndarray, addresses: np.ndarray) -> Finding:
    """Stop before the last layer, and print what the layers before it have written.

    Args:
        probe: the port.
        artefact: of any vault, with a hidden layer.
        x: (samples, input_words) int8.
        addresses: (n,) what to print. A sealed program does not say where it writes; who knows the architecture does.

    Returns:
        A finding of (n, L) activations.
    """
    stream = Stream.of(artefact, x)
    printed = printing(probe.spec, addresses)
    words = stream.changed([*stream.packets[: stream.layers()[-1]], *layer_words(printed)])
    lanes = probe.spec.lanes
    expected = sums_words(probe.spec, len(addresses))
    sums = probe.ask([words.head, *words.packets], expected).sums
    note = "the program without its last layer, then constant tiles that print"
    return Finding.of_probe(probe, "cut short", _OWNER, "hidden activations", sums.size, len(addresses) * lanes, note, sums)


def hidden_addresses(program: Program) -> np.ndarray:
    """Scratch words that hidden layers write."""
    written = [layer.written() for layer in program.layers if not layer.emits]
    return np.unique(np.concatenate(written)) if written else np.empty(0, np.int64)
