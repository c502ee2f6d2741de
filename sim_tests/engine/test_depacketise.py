"""The parser behind its intake against a list of what each word does: random packets, whole and broken, stalls or none."""

import zlib

import numpy as np
import pytest

from bitting.unit.protocol import (
    CHALLENGE_WORDS,
    SEALING_TRANSFORMS,
    ErrorCode,
    FingerprintCode,
    LayerFlag,
    Packet,
    TileFlag,
    TransformCode,
)
from bitting_rtl.lib.layouts import layer_layout, tile_layout
from tb.units import SPEC, unit

LAYER, TILE = layer_layout(SPEC), tile_layout(SPEC)
#: What an engine with the vault `aes` knows.
AES_PACKETS = [kind for kind in Packet if kind != Packet.PROGRAM]
AES_TRANSFORMS = [code for code in TransformCode if code not in SEALING_TRANSFORMS]
#: What a packet may go on to do after a mistake, until its end; everything else waits for its CRC.
ITEMS = {
    Packet.LAYER: ("layer", "offset"),
    Packet.TILE: ("code",),
    Packet.ACTIVATIONS: ("act",),
    Packet.CHALLENGE: ("absorb",),
}
#: In the clock in which an error at once shows, the packet may begin.
BEGINS = ("layer_begin", "tile_start", "challenge")
WORDS_PER_VECTOR = SPEC.lanes // 4
MEMORY = SPEC.scratch_words


def framed(kind, payload):
    words = [kind | len(payload) << 16, *payload]
    return [*words, zlib.crc32(np.array(words, "<u4").tobytes())]


def packed(items, bits):
    """Items to words, the first in the low bits."""
    per_word = 32 // bits
    padded = items + [0] * (-len(items) % per_word)
    return [
        sum(item << bits * i for i, item in enumerate(padded[at : at + per_word])) for at in range(0, len(padded), per_word)
    ]


def random_packet(rng, codes):
    """Kind and payload of a packet that is right; `codes`: of the current layer, 0 without one."""
    kinds = [Packet.LAYER, Packet.ACTIVATIONS, Packet.STATUS, Packet.CHALLENGE, Packet.UNLOCK, *[Packet.TILE] * 5 * bool(codes)]
    kind = kinds[int(rng.integers(len(kinds)))]
    pair = lambda low, high: int(rng.integers(low, high)) | int(rng.integers(low, high)) << 16  # noqa: E731
    if kind == Packet.LAYER:
        count = int(rng.integers(1, SPEC.tile_codes + 1))
        flags = int(rng.choice([0, 1, 2, 3, 4, 5, 12, 13, 15]))
        shape = count | flags << 16 | int(rng.integers(0, SPEC.max_shift + 1)) << 24
        positions = 1 | 1 << 16 if flags & LayerFlag.EMIT or rng.random() < 0.5 else pair(1, 9)
        offsets = rng.integers(0, MEMORY, count).tolist()
        return kind, [shape, positions, pair(0, MEMORY), pair(0, MEMORY), *packed(offsets, 16)]
    if kind == Packet.TILE:
        bias = int(rng.integers(0, 1 << 24))
        return kind, [pair(0, MEMORY), bias, *packed(rng.integers(0, 256, codes).tolist(), 8)]
    if kind == Packet.ACTIVATIONS:
        count = int(rng.integers(1, 6))
        vectors = rng.integers(0, 1 << 32, count * WORDS_PER_VECTOR).tolist()
        return kind, [int(rng.integers(0, MEMORY - count + 1)) | count << 16, *vectors]
    if kind == Packet.CHALLENGE:
        scheme = int(rng.choice(list(FingerprintCode))) | int(rng.choice(AES_TRANSFORMS)) << 8
        return kind, [scheme, *rng.integers(0, 1 << 32, 4).tolist()]
    return kind, []


class FaultError(Exception):
    """The first mistake in a packet: its code, and the number of words taken before the word that has it."""


class RefusedError(Exception):
    """The error: its code, the number of words taken when it shows, and the first mistake, or None.

    Of a mistake: its code, the number of words before the word that has it, and what may happen after it.
    """


class ListModel:
    """What the parser does with a list of words: `events` are (number of words before or None, what happened, operands).

    After the first mistake in a packet its events are not listed any more; what it does to the packet is decided at its end.
    """

    def __init__(self, words):
        self.words, self.at = words, 0
        self.events: list[tuple[int | str | None, ...]] = []
        self.layer: dict[str, int] | None = None
        self.codes = self.clocks = 0

    def run(self):
        """Until the end of the words, or an error: what `RefusedError` has."""
        try:
            while self.at < len(self.words):
                self.packet()
        except RefusedError as end:
            return end.args
        return None, len(self.words), None

    def event(self, name, *operands):
        self.events.append((self.at, name, *operands))

    def check(self, condition, error):
        if not condition:
            raise FaultError(error, self.at)

    def take(self, *errors, last=False, late=()):
        """The next payload word: what is wrong with its fields, then with the length, then what is compared a clock later."""
        self.left -= 1
        for condition, error in (*errors, (last == (not self.left), ErrorCode.BAD_LENGTH), *late):
            self.check(condition, error)
        self.at += 1

    def pair(self, error, *errors):
        """A word of two numbers below the size of the memory."""
        word = self.words[self.at]
        low, high = word & 0xFFFF, word >> 16
        self.take((low < MEMORY and high < MEMORY, error), *[(condition(low, high), kind) for condition, kind in errors])
        return low, high

    def items(self, bits, count, name, limit):
        for number in range(count):
            item = self.words[self.at] >> number % (32 // bits) * bits & (1 << bits) - 1
            self.event(name, number, item & (1 << (SPEC.slot_bits if bits == 8 else SPEC.address_bits)) - 1)
            last = number == count - 1
            if last or number % (32 // bits) == 32 // bits - 1:
                self.take((item < limit, ErrorCode.BAD_ADDRESS), last=last)
            else:
                self.check(item < limit, ErrorCode.BAD_ADDRESS)
        self.clocks += count

    def packet(self):
        start = self.at
        word = self.words[start]
        kind, reserved, self.left = word & 0xFF, word >> 8 & 0xFF, word >> 16
        crc_at = start + 1 + self.left
        self.refuse_at_once(kind, reserved)
        self.at += 1
        # Header, wait, CRC, what that gives, comparison, effect; without payload the wait and the CRC are in the same clock.
        self.clocks += 6 if self.left else 5
        fault = None
        try:
            {
                Packet.LAYER: self.layer_packet, Packet.TILE: self.tile_packet, Packet.ACTIVATIONS: self.activations,
                Packet.CHALLENGE: self.challenge, Packet.STATUS: self.empty, Packet.UNLOCK: self.empty,
                Packet.LOCK_NOW: self.empty,
            }[Packet(kind)]()  # fmt: skip
        except FaultError as first:
            fault = (*first.args, ITEMS.get(kind, ()))
        self.at = crc_at + 1
        if self.words[crc_at] != zlib.crc32(np.array(self.words[start:crc_at], "<u4").tobytes()):
            raise RefusedError(ErrorCode.BAD_CRC, self.at, fault)
        if fault:
            raise RefusedError(fault[0], self.at, fault)
        if kind == Packet.LOCK_NOW:
            raise RefusedError(ErrorCode.LOCKED, self.at, None)
        self.effect(kind)

    def refuse_at_once(self, kind, reserved):
        """What is wrong with a header does not wait for the CRC."""
        for good, error in (
            (not reserved, ErrorCode.BAD_FIELD),
            (kind in AES_PACKETS, ErrorCode.BAD_TYPE),
            (kind != Packet.TILE or self.layer, ErrorCode.BAD_ORDER),
        ):
            if not good:
                raise RefusedError(error, self.at + 1, (error, self.at, BEGINS))

    def effect(self, kind):
        self.layer = self.coming if kind == Packet.LAYER else self.layer
        if kind == Packet.TILE:
            self.event("tile_commit", self.fields)
        if kind == Packet.STATUS:
            self.event("status_request")
        if kind == Packet.UNLOCK:
            self.event("unlock")
            self.layer = None

    def empty(self):
        self.check(not self.left, ErrorCode.BAD_LENGTH)

    def begin(self, name=None):
        if name:
            # While a packet without payload waits, its CRC may be taken already.
            self.events.append((self.at if self.left else None, name))
        self.check(self.left, ErrorCode.BAD_LENGTH)

    def layer_packet(self):
        self.begin("layer_begin")
        self.layer = None
        word = self.words[self.at]
        codes, flags, shift = word & 0xFFFF, word >> 16 & 0xFF, word >> 24
        constant, plain = flags & LayerFlag.CONSTANT, flags & LayerFlag.PLAIN_WEIGHTS
        good = codes and shift <= SPEC.max_shift and flags < 16 and not (constant and not plain)
        self.take((good, ErrorCode.BAD_FIELD), late=[(codes <= SPEC.tile_codes, ErrorCode.BAD_FIELD)])
        emits = flags & LayerFlag.EMIT
        one = lambda x, y: not emits or x == y == 1  # noqa: E731
        x, y = self.pair(ErrorCode.BAD_FIELD, (lambda x, y: x and y, ErrorCode.BAD_FIELD), (one, ErrorCode.BAD_FIELD))
        strides, out_strides = self.pair(ErrorCode.BAD_ADDRESS), self.pair(ErrorCode.BAD_ADDRESS)
        self.coming = {
            "last_code": codes - 1, "last_x": x - 1, "last_y": y - 1, "stride_x": strides[0], "stride_y": strides[1],
            "out_stride_x": out_strides[0], "out_stride_y": out_strides[1], "shift": shift, "emits": bool(emits),
            "plain": bool(plain), "constant": bool(constant), "report": bool(flags & LayerFlag.REPORT),
        }  # fmt: skip
        self.codes = codes
        self.event("layer", LAYER.const(self.coming).as_bits())
        self.items(16, codes, "offset", MEMORY)
        self.clocks += 4

    def tile_packet(self):
        self.begin("tile_start")
        in_base, out_base = self.pair(ErrorCode.BAD_ADDRESS)
        word = self.words[self.at]
        flags = word >> 24
        assert self.layer is not None, "checked before"
        one_position = not (self.layer["last_x"] or self.layer["last_y"])
        self.take((flags < 4 and (not flags or one_position), ErrorCode.BAD_FIELD))
        fields = {
            "in_base": in_base, "out_base": out_base, "bias": word & (1 << SPEC.acc_bits) - 1,
            "hold": bool(flags & TileFlag.HOLD), "resume": bool(flags & TileFlag.RESUME),
        }  # fmt: skip
        self.fields = TILE.const(fields).as_bits()
        self.items(8, self.codes, "code", 256)
        self.clocks += 2

    def activations(self):
        self.begin()
        word = self.words[self.at]
        address, count = word & 0xFFFF, word >> 16
        self.take((count > 0, ErrorCode.BAD_FIELD), late=[(address + count <= MEMORY, ErrorCode.BAD_ADDRESS)])
        for vector in range(count):
            words = self.words[self.at : self.at + WORDS_PER_VECTOR]
            for number in range(WORDS_PER_VECTOR):
                end = number == WORDS_PER_VECTOR - 1
                if end:
                    lanes = [word >> 8 * i & (1 << SPEC.act_bits) - 1 for word in words for i in range(4)]
                    data = sum(act << SPEC.act_bits * lane for lane, act in enumerate(lanes))
                    self.events.append((self.at + 1, "act", address + vector, data))  # a clock after this word
                self.take(last=end and vector == count - 1)
        self.clocks += 1 + count * WORDS_PER_VECTOR

    def challenge(self):
        self.begin("challenge")
        self.layer = None
        for number in range(CHALLENGE_WORDS):
            word = self.words[self.at]
            self.event("absorb", word)
            fingerprint, transform, reserved = word & 0xFF, word >> 8 & 0xFF, word >> 16
            good = fingerprint in list(FingerprintCode) and transform in AES_TRANSFORMS and not reserved
            self.take((number or good, ErrorCode.BAD_FIELD), last=number == CHALLENGE_WORDS - 1)
        self.clocks += CHALLENGE_WORDS


def observed(words, rng, stall):
    """The same of the RTL: events, the error, words taken when it shows, and the clocks until a header is waited for again."""
    free = lambda: int(rng.random() >= stall)  # noqa: E731
    events: list[tuple[int | str, ...]] = []
    at, clocks, error, shown, fresh_layer = 0, 0, None, len(words), False
    offered, waited = 0, 0
    with unit("packets") as parser:
        parser.step(can_unlock=1)
        while (at < len(words) or parser["busy"]) and error is None:
            offered = at < len(words) and (offered or free())
            ready = {"idle": free(), "tile_free": free(), "code_ready": free(), "absorb__ready": free()}
            parser.step(cmd__valid=offered, cmd__payload=words[at] if at < len(words) else 0, **ready)
            clocks += offered or parser["busy"]
            for name in ("layer_begin", "tile_start", "status_request", "challenge", "unlock"):
                if parser[name]:
                    events.append((at, name))
                    fresh_layer |= name == "layer_begin"
            if parser["offset_write"]:
                if fresh_layer:
                    events.append((at, "layer", parser["layer"]))
                fresh_layer = False
                events.append((at, "offset", parser["item_index"], parser["offset_data"]))
            if parser["code_valid"] and ready["code_ready"]:
                events.append((at, "code", parser["item_index"], parser["code_data"]))
            if parser["act_write"]:
                events.append((at, "act", parser["act_addr"], parser["act_data"]))
            if parser["absorb__valid"] and ready["absorb__ready"]:
                events.append((at, "absorb", parser["absorb__payload"]))
            if parser["tile_commit"]:
                events.append((at, "tile_commit", parser["tile"]))
            if parser["error"]:
                error, shown = parser["error"], at
            waited += 1
            assert waited < 1000, "it hangs"
            if offered and parser["cmd__ready"]:
                at, offered, waited = at + 1, 0, 0
        if error is None:  # the one of the last word shows a clock later
            parser.step(cmd__valid=0)
            error = parser["error"] or None
    return events, error, shown, clocks


def random_words(rng, packets):
    words, codes = [], 0
    for _ in range(packets):
        kind, payload = random_packet(rng, codes)
        words += framed(kind, payload)
        codes = payload[0] & 0xFFFF if kind == Packet.LAYER else 0 if kind in (Packet.CHALLENGE, Packet.UNLOCK) else codes
    return words


@pytest.mark.parametrize("stall", [0, 0.3], ids=["no stalls", "stalls"])
def test_right_packets_do_what_the_list_says(stall):
    """Without stalls in the stated number of clocks: a word or an item a clock, six (or five) for what is around them."""
    rng = np.random.default_rng(7)
    for _ in range(40):
        words = random_words(rng, 25)
        model = ListModel(words)
        assert model.run()[0] is None
        events, error, _, clocks = observed(words, rng, stall)
        assert events == model.events and error is None
        if not stall:
            assert clocks == model.clocks


@pytest.mark.parametrize("stall", [0, 0.3], ids=["no stalls", "stalls"])
def test_the_first_mistake_is_named_and_nothing_before_it_is_lost(stall):
    """A bit, a field or a word is wrong, with a CRC that hides it or without. What is wrong later is not looked at.

    An unknown or forbidden packet is refused at once. Every other mistake shows after the CRC, and not if that is wrong too.
    """
    rng = np.random.default_rng(8)
    seen, untold = [], []
    for _ in range(900):
        words = random_words(rng, int(rng.integers(1, 4)))
        codes = next((word & 0xFFFF for word, kind in zip(words[1:], words, strict=False) if kind & 0xFF == Packet.LAYER), 0)
        kind, payload = random_packet(rng, codes)
        words += spoilt(rng, kind, payload)
        model = ListModel([*words, *framed(Packet.STATUS, [])])
        wanted, wanted_at, fault = model.run()
        events, error, shown, _ = observed(model.words, rng, stall)
        seen.append(wanted)
        if fault and wanted == ErrorCode.BAD_CRC:
            untold.append(fault[0])
        assert (error, shown) == (wanted, wanted_at), (wanted, wanted_at, list(map(hex, words)))
        before = len(model.events)
        listed = zip(events, model.events, strict=False)
        assert [(None if known[0] is None else event[0], *event[1:]) for event, known in listed] == model.events
        _, place, allowed = fault or (None, len(model.words), ())
        assert all(event[0] >= place and event[1] in allowed for event in events[before:]), events[before:]
    assert {error for error in ErrorCode if error not in (ErrorCode.NONE, ErrorCode.BAD_TAG)} <= set(seen), (
        "every error comes up"
    )
    assert {ErrorCode.BAD_FIELD, ErrorCode.BAD_ADDRESS, ErrorCode.BAD_LENGTH} <= set(untold), "and none with a wrong CRC"


def spoilt(rng, kind, payload):
    """Words of a packet with something wrong, as a rule."""
    choice = rng.random()
    if choice < 0.1:
        return framed(Packet.LOCK_NOW, [])
    if choice < 0.15 and payload:  # a length, and the CRC tells, too
        return [*framed(kind, payload[:-1])[:-1], 0]
    if choice < 0.35:  # a bit, and the CRC tells
        words = framed(kind, payload)
        at = int(rng.integers(1, min(len(words), 8) if rng.random() < 0.5 else len(words)))
        words[at] ^= 1 << int(rng.integers(0, 32))
        return words
    if choice < 0.45:  # too long or too short, and the CRC says all is well
        if not payload or rng.random() < 0.5:
            return framed(kind, [*payload, 0])
        payload[0] ^= int(rng.random() < 0.3) << int(rng.integers(0, 32))
        return framed(kind, payload[: int(rng.integers(0, len(payload) if rng.random() < 0.5 else 3))])
    if choice < 0.6:
        return framed(int(rng.integers(0, 256)) if rng.random() < 0.5 else kind | 1 << int(rng.integers(8, 16)), payload)
    if payload:  # a bit of a field, or of several, and the CRC says all is well
        for at in rng.integers(0, min(len(payload), 6), rng.integers(1, 5)).tolist():
            payload[at] ^= 1 << int(rng.integers(0, 32))
    return framed(kind, payload)


def test_a_range_beyond_the_memory_is_named_before_the_words_it_lacks():
    """It is compared a clock after it came, in the clock of the packet's last word."""
    words = framed(Packet.ACTIVATIONS, [MEMORY - 1 | 2 << 16, 0])
    assert ListModel(words).run()[0] == ErrorCode.BAD_ADDRESS
    assert observed(words, np.random.default_rng(1), 0)[1] == ErrorCode.BAD_ADDRESS


def test_while_halted_every_word_is_dropped_at_once():
    rng = np.random.default_rng(9)
    with unit("packets") as parser:
        for word in random_words(rng, 30):
            parser.step(halt=1, idle=1, tile_free=1, code_ready=1, cmd__valid=1, cmd__payload=word)
            assert parser["cmd__ready"] and not parser["error"]
            for name in ("offset_write", "code_valid", "act_write", "tile_start", "tile_commit", "unlock", "absorb__valid"):
                assert not parser[name], name
