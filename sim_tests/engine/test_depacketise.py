"""The parser against a list of what each word does: random packets, whole and broken, with stalls and without."""

import zlib

import numpy as np
import pytest

from bitting.unit.protocol import ErrorCode, FingerprintCode, LayerFlag, Packet, TileFlag, TransformCode
from bitting_rtl.lib.layouts import layer_layout, tile_layout
from tb.units import SPEC, unit

LAYER, TILE = layer_layout(SPEC), tile_layout(SPEC)
#: What waits for the packet's CRC.
EFFECTS = ("tile_commit", "status_request", "unlock")
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
        scheme = int(rng.choice(list(FingerprintCode))) | int(rng.choice(list(TransformCode))) << 8
        return kind, [scheme, *rng.integers(0, 1 << 32, 4).tolist()]
    return kind, []


class FaultError(Exception):
    """The first mistake: its code, and the number of words taken before the word that has it."""


class ListModel:
    """What the parser does with a list of words: `events` are (number of words before, what happened, operands)."""

    def __init__(self, words):
        self.words, self.at, self.events = words, 0, []
        self.layer: dict[str, int] | None = None
        self.codes = self.clocks = 0

    def run(self):
        """Until the end of the words, or the first mistake, which is returned."""
        try:
            while self.at < len(self.words):
                self.packet()
        except (FaultError, IndexError) as end:  # IndexError: the words end within a packet
            return end.args if isinstance(end, FaultError) else None
        return None

    def event(self, name, *operands):
        self.events.append((self.at, name, *operands))

    def check(self, condition, error):
        if not condition:
            raise FaultError(error, self.at)

    def take(self, *errors, last=False):
        """The next payload word has been looked at: length first, then what is wrong with its fields."""
        self.check(self.left and (not last or self.left == 1), ErrorCode.BAD_LENGTH)
        for condition, error in errors:
            self.check(condition, error)
        self.left -= 1
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
        word = self.words[self.at]
        kind, reserved, self.left = word & 0xFF, word >> 8 & 0xFF, word >> 16
        self.check(kind != Packet.LOCK_NOW or not self.left, ErrorCode.BAD_LENGTH)
        self.check(not reserved, ErrorCode.BAD_FIELD)
        self.check(kind in list(Packet), ErrorCode.BAD_TYPE)
        self.check(kind != Packet.TILE or self.layer, ErrorCode.BAD_ORDER)
        self.at += 1
        {
            Packet.LAYER: self.layer_packet, Packet.TILE: self.tile_packet, Packet.ACTIVATIONS: self.activations,
            Packet.CHALLENGE: self.challenge, Packet.STATUS: self.empty, Packet.UNLOCK: self.empty,
            Packet.LOCK_NOW: lambda: None,
        }[Packet(kind)]()  # fmt: skip
        crc = zlib.crc32(np.array(self.words[start : self.at], "<u4").tobytes())
        right = self.words[self.at] == crc
        self.at += 1
        self.check(right, ErrorCode.BAD_CRC)
        self.check(kind != Packet.LOCK_NOW, ErrorCode.LOCKED)
        self.layer = self.coming if kind == Packet.LAYER else self.layer
        if kind == Packet.TILE:
            self.event("tile_commit", self.fields)
        if kind == Packet.STATUS:
            self.event("status_request")
        if kind == Packet.UNLOCK:
            self.event("unlock")
            self.layer = None
        # Header, wait (none for LOCK_NOW), CRC, comparison, effect; and the payload.
        self.clocks += 5

    def empty(self):
        self.check(not self.left, ErrorCode.BAD_LENGTH)

    def layer_packet(self):
        self.event("layer_begin")
        self.layer = None
        word = self.words[self.at]
        codes, flags, shift = word & 0xFFFF, word >> 16 & 0xFF, word >> 24
        constant, plain = flags & LayerFlag.CONSTANT, flags & LayerFlag.PLAIN_WEIGHTS
        good = codes and shift <= SPEC.max_shift and flags < 16 and not (constant and not plain)
        self.take((good and codes <= SPEC.tile_codes, ErrorCode.BAD_FIELD))
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
        self.event("tile_start")
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
        word = self.words[self.at]
        address, count = word & 0xFFFF, word >> 16
        good_count, room = (count > 0, ErrorCode.BAD_FIELD), (address + count <= MEMORY, ErrorCode.BAD_ADDRESS)
        self.take(good_count, room)
        for vector in range(count):
            words = self.words[self.at : self.at + WORDS_PER_VECTOR]
            for number in range(WORDS_PER_VECTOR):
                end = number == WORDS_PER_VECTOR - 1
                self.words[self.at]  # IndexError if there is none
                if end:
                    lanes = [word >> 8 * i & (1 << SPEC.act_bits) - 1 for word in words for i in range(4)]
                    data = sum(act << SPEC.act_bits * lane for lane, act in enumerate(lanes))
                    self.event("act", (address + vector) % MEMORY, data)
                self.take(last=end and vector == count - 1)
        self.clocks += 1 + count * WORDS_PER_VECTOR

    def challenge(self):
        self.event("challenge")
        self.layer = None
        for number in range(5):
            word = self.words[self.at]
            self.event("absorb", word)
            fingerprint, transform, reserved = word & 0xFF, word >> 8 & 0xFF, word >> 16
            good = fingerprint in list(FingerprintCode) and transform in list(TransformCode) and not reserved
            self.take((number or good, ErrorCode.BAD_FIELD), last=number == 4)
        self.clocks += 5


def observed(words, rng, stall):
    """The same of the RTL: events, the error, and the clocks until it waits for a header again."""
    free = lambda: int(rng.random() >= stall)  # noqa: E731
    events: list[tuple[int | str, ...]] = []
    at, clocks, error, fresh_layer = 0, 0, None, False
    offered = 0
    with unit("depacketise") as parser:
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
                error = parser["error"]
            if offered and parser["cmd__ready"]:
                at, offered = at + 1, 0
        if error is None:  # the one of the last word shows a clock later
            parser.step(cmd__valid=0)
            error = parser["error"] or None
    return events, error, clocks


def random_words(rng, packets):
    words, codes = [], 0
    for _ in range(packets):
        kind, payload = random_packet(rng, codes)
        words += framed(kind, payload)
        codes = payload[0] & 0xFFFF if kind == Packet.LAYER else 0 if kind in (Packet.CHALLENGE, Packet.UNLOCK) else codes
    return words


@pytest.mark.parametrize("stall", [0, 0.3], ids=["no stalls", "stalls"])
def test_right_packets_do_what_the_list_says(stall):
    """Without stalls in the stated number of clocks: a word a clock, an item a clock, five for what is around them."""
    rng = np.random.default_rng(7)
    for _ in range(40):
        words = random_words(rng, 25)
        model = ListModel(words)
        assert model.run() is None
        events, error, clocks = observed(words, rng, stall)
        assert events == model.events and error is None
        if not stall:
            assert clocks == model.clocks


@pytest.mark.parametrize("stall", [0, 0.3], ids=["no stalls", "stalls"])
def test_the_first_mistake_is_named_and_nothing_before_it_is_lost(stall):
    """A bit, a field or a word is wrong, with a CRC that hides it or without. What is wrong later is not looked at."""
    rng = np.random.default_rng(8)
    seen = []
    for _ in range(900):
        words = random_words(rng, int(rng.integers(1, 4)))
        codes = next((word & 0xFFFF for word, kind in zip(words[1:], words, strict=False) if kind & 0xFF == Packet.LAYER), 0)
        kind, payload = random_packet(rng, codes)
        words += spoilt(rng, kind, payload)
        model = ListModel([*words, *framed(Packet.STATUS, [])])
        fault = model.run()
        events, error, _ = observed(model.words, rng, stall)
        wanted, place = fault or (None, len(model.words))
        seen.append(wanted)
        assert error == wanted, (wanted, place, list(map(hex, words)))
        before = [event for event in model.events if event[0] <= place]
        assert events[: len(before)] == before
        # The mistake shows a clock later. Till then an item may leave, or a packet's fields may begin; no packet takes effect.
        assert all(event[0] >= place and event[1] not in EFFECTS for event in events[len(before) :]), events[len(before) :]
    assert {error for error in ErrorCode if error} <= set(seen), "every error comes up"


def spoilt(rng, kind, payload):
    """Words of a packet with something wrong, as a rule."""
    choice = rng.random()
    if choice < 0.1:
        return framed(Packet.LOCK_NOW, [])
    if choice < 0.3:  # a bit, and the CRC tells
        words = framed(kind, payload)
        at = int(rng.integers(1, len(words)))
        words[at] ^= 1 << int(rng.integers(0, 32))
        return words
    if choice < 0.45:  # too long or too short, and the CRC says all is well
        return framed(kind, payload[:-1] if payload and rng.random() < 0.5 else [*payload, 0])
    if choice < 0.6:
        return framed(int(rng.integers(0, 256)), payload)
    if payload:  # a bit of a field, and the CRC says all is well
        at = int(rng.integers(0, min(len(payload), 6)))
        payload[at] ^= 1 << int(rng.integers(0, 32))
    return framed(kind, payload)


def test_while_halted_every_word_is_dropped_at_once():
    rng = np.random.default_rng(9)
    with unit("depacketise") as parser:
        for word in random_words(rng, 30):
            parser.step(halt=1, idle=1, tile_free=1, code_ready=1, cmd__valid=1, cmd__payload=word)
            assert parser["cmd__ready"] and not parser["error"]
            for name in ("offset_write", "code_valid", "act_write", "tile_start", "tile_commit", "unlock", "absorb__valid"):
                assert not parser[name], name
