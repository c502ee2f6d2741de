"""What the extraction of weights does, tried on a sealed program; and edits of any artefact at random.

Attacker: owner of the chip. Whoever can change a bias, a base or a flag of a packet, or send a layer of his own behind it,
reads weights (`bitting.attack.extraction`). What stops him: the tag, which covers every word of a packet and its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.attack.findings import Finding
from bitting.attack.port import FAULT_PACKET, Probe, Reply, layer_words, printing
from bitting.attack.streams import Stream
from bitting.locking.sealed_program import SealedProgram
from bitting.program import packets
from bitting.unit.protocol import MAX_PAYLOAD_WORDS, TAG_WORDS, Packet
from bitting.unit.spec import UnitSpec

#: Called with (edits done, edits).
Progress = Callable[[int, int], None]

_OWNER = "owner of the chip"
#: Places at which a program is changed one way after another. ResNet8 has 394, most of them alike, of its pooling, and each
#: change takes the simulated chip a run.
_PLACES = 96


def tamper(probe: Probe, artefact: Artefact, x: np.ndarray) -> Finding:
    """Change a sealed program as the extraction would have to, one change at a time.

    Returns:
        A finding of (changes,) booleans: the device said more than it does to the rightful stream.
    """
    stream = Stream.of(artefact, x)
    rightful = stream.sent(probe).words
    changes = list(_changes(probe.spec, stream))
    answered = [stream.changed(order).sent(probe, FAULT_PACKET).tells_more_than(rightful) for order in changes]
    note = (
        f"at {len(_chosen(stream))} of {len(_places(stream))} places: bits of biases, bases, codes, offsets, flags flipped; "
        "constant tiles put in; begun again in the middle"
    )
    return Finding.of_probe(
        probe, "weight extraction", _OWNER, "changes answered", sum(answered), len(changes), note, np.array(answered)
    )


def _changes(spec: UnitSpec, stream: Stream) -> Iterator[list[np.ndarray]]:
    """Orders of packets, each with one thing changed."""
    given, prints = stream.packets, printing(spec, [0])
    for place in _chosen(stream):
        for word in (1, 2, 3, len(given[place]) - TAG_WORDS - 1):
            for bit in (0, 16):
                flipped = given[place].copy()
                flipped[word] ^= 1 << bit
                yield [*given[:place], flipped, *given[place + 1 :]]
        yield [*given[:place], *layer_words(prints), *given[place:]]
        for tag in (np.zeros(TAG_WORDS, packets.WORDS), given[place][-TAG_WORDS:]):
            own = [np.concatenate([packet[:-1], tag]) for packet in layer_words(prints)]
            yield [*given[:place], *own, *given[place:]]
        yield [*given[: place + 1], packets.unlock_packet(), *given[place:]]


def _places(stream: Stream) -> list[int]:
    """Each LAYER, and the first TILE after it."""
    kinds = stream.kinds()
    return [n for n, kind in enumerate(kinds) if kind == Packet.LAYER or (kind == Packet.TILE and kinds[n - 1] != Packet.TILE)]


def _chosen(stream: Stream) -> list[int]:
    return stream.some_of(_places(stream), _PLACES)


def edit(
    probe: Probe, artefact: Artefact, x: np.ndarray, count: int, *, seed: int = 0, progress: Progress | None = None
) -> Finding:
    """Send the rightful stream with one random edit of its program, so many times.

    A CRC, which anyone can compute, is put right after an edit; a tag can not be. The stream ends soon after the edit, or goes
    on to its end if the device does.

    Returns:
        A finding of (count,) booleans: the device did not refuse the edit, or told more than in the rightful stream.
    """
    stream = Stream.of(artefact, x)
    rightful = stream.sent(probe).words
    sealed = isinstance(artefact.program, SealedProgram)
    rng = np.random.default_rng(seed)
    passed = []
    for number in range(count):
        place, changed = _edited(stream, rng, sealed)
        passed.append(_goes_through(probe, stream, place, changed, rightful))
        if progress:
            progress(number + 1, count)
    note = f"random edits of {sum(map(len, stream.packets))} words in {len(stream.packets)} packets"
    return Finding.of_probe(probe, "random edits", _OWNER, "edits answered", sum(passed), count, note, np.array(passed))


def _edited(stream: Stream, rng: np.random.Generator, sealed: bool) -> tuple[int, list[np.ndarray]]:
    """Place of the first packet that is edited, and all packets from there on; never the same as before."""
    given = stream.packets
    sizes = np.array([0 if kind == Packet.ACTIVATIONS else len(p) for p, kind in zip(given, stream.kinds(), strict=True)])
    while True:
        place = int(rng.choice(len(given), p=sizes / sizes.sum()))
        rest = given[place:]
        kind = rng.choice(("word", "packet"), p=(0.75, 0.25))
        changed = [_word_edit(rest[0], rng, sealed), *rest[1:]] if kind == "word" else _packet_edit(rest, rng)
        before, after = np.concatenate(rest), np.concatenate([*changed, np.empty(0, packets.WORDS)])
        if not np.array_equal(before, after):
            return place, changed


def _word_edit(packet: np.ndarray, rng: np.random.Generator, sealed: bool) -> np.ndarray:
    """One bit, a whole word, two words exchanged, a word left out, or put in; header and tag among them."""
    end = len(packet) if sealed else len(packet) - 1
    changed = packet[:end].copy()
    at, other = rng.integers(0, end, 2)
    match rng.integers(5):
        case 0:
            changed[at] ^= np.uint32(1 << int(rng.integers(32)))
        case 1:
            changed[at] = rng.integers(0, 1 << 32)
        case 2:
            changed[[at, other]] = changed[[other, at]]
        case 3:
            changed = np.delete(changed, at)
        case _:
            changed = np.insert(changed, at, rng.integers(0, 1 << 32, dtype=np.uint32))
    if sealed:
        return changed
    return np.append(changed, np.uint32(packets.crc32(changed)))


def _packet_edit(rest: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """The first packet left out, sent twice, exchanged with the next, or in the place of one that comes later."""
    first, *others = rest
    match rng.integers(4):
        case 0:
            return others
        case 1:
            return [first, first, *others]
        case 2:
            return [*others[:1], first, *others[1:]]
        case _:
            later = int(rng.integers(0, len(rest)))
            return [rest[later], *others]


def _goes_through(probe: Probe, stream: Stream, place: int, changed: list[np.ndarray], rightful: np.ndarray) -> bool:
    """The device does not refuse it, or tells more than it should."""
    reply = probe.ask([stream.head, *stream.packets[:place], *changed[:2]], FAULT_PACKET)
    words = reply.words
    if not reply.error:
        # It may still wait for words of a packet that is longer now, or be about to answer.
        padding = np.zeros(MAX_PAYLOAD_WORDS + TAG_WORDS, packets.WORDS)
        expected = stream.result_words + FAULT_PACKET
        reply = probe.ask([*changed[2:], padding], expected, reset=False)
        words = np.concatenate([words, reply.words])
    return not reply.error or Reply.of(words, reply.error).tells_more_than(rightful)
