"""The JSON beside the Verilog is all a host needs: one that has read nothing else drives the engine."""

import itertools
import json
import zlib

import numpy as np
import pytest

from bitting.locking.device import Device
from bitting.program import packets
from bitting.puf.extractor import Helper
from bitting.sim.native import NativeEngine, engine_library
from bitting.unit import timing
from bitting_rtl.engine.export import sidecar
from bitting_rtl.engine.top import Top
from tb.broken_packets import broken_packets
from tb.families import AES
from tb.programs import random_program
from tb.puf_chips import Chip
from tb.vector import Steps, VectorModel

SPEC = AES["tiny"]
ROOT = bytes(range(5, 21))


class Host:
    """Knows the sidecar's text, and what its words mean; no number of its own."""

    def __init__(self, text):
        described = json.loads(text)
        self.spec, self.packets, self.widths = described["spec"], described["packets"], described["widths"]
        self.spec_id, self.timing, self.fuses = int(described["spec_id"], 16), described["timing"], described.get("fuses")

    def word(self, fields, **values):
        assert values.keys() <= fields.keys()
        return sum(value % (1 << fields[name]["width"]) << fields[name]["low"] for name, value in values.items())

    def read(self, fields, word):
        return {name: word >> field["low"] & (1 << field["width"]) - 1 for name, field in fields.items()}

    def packed(self, items, per_word):
        bits = self.widths["word"] // per_word
        padded = items + [0] * (-len(items) % per_word)
        groups = (padded[at : at + per_word] for at in range(0, len(padded), per_word))
        return [sum(item % (1 << bits) << bits * place for place, item in enumerate(group)) for group in groups]

    def packet(self, name, *fixed, items=(), per_word=1):
        """Fields of each fixed word, then items."""
        layouts = self.packets["command_words"][name]
        payload = [self.word(layout, **values) for layout, values in zip(layouts, fixed, strict=True)]
        payload += self.packed(list(items), per_word)
        words = [self.word(self.packets["header"], type=self.packets["commands"][name], length=len(payload)), *payload]
        return [*words, zlib.crc32(np.array(words, "<u4").tobytes())]

    def flags(self, kind, *names):
        return sum(self.packets[kind][name] for name in names)

    def results(self, words):
        """(name, fields of the fixed words together, other words) of each packet."""
        names, at = {code: name for name, code in self.packets["results"].items()}, 0
        while at < len(words):
            header = self.read(self.packets["header"], words[at])
            end = at + header["length"] + self.packets["frame_words"]
            assert words[end - 1] == zlib.crc32(np.array(words[at : end - 1], "<u4").tobytes())
            layouts, payload = self.packets["result_words"][names[header["type"]]], words[at + 1 : end - 1]
            fields: dict[str, int] = {}
            for layout, word in zip(layouts, payload, strict=False):
                fields |= self.read(layout, word)
            yield names[header["type"]], fields, payload[len(layouts) :]
            at = end


def digits(value):
    """Non-zero digits of the non-adjacent form."""
    count = 0
    while value:
        if value % 2:
            value -= 2 - value % 4
            count += 1
        value //= 2
    return count


def test_a_host_with_nothing_but_the_sidecar_runs_a_program_in_clear():
    """Two outputs over five inputs for every lane, in plain weights, and the state of the locks."""
    host = Host(json.dumps(sidecar(SPEC, baked=False)))
    rng = np.random.default_rng(1)
    lanes, act_bits, bits = host.spec["lanes"], host.widths["activation"], host.widths["plain_weight"]
    x = rng.integers(-(1 << act_bits - 1), 1 << act_bits - 1, (5, lanes))
    largest = min(1 << host.spec["max_exponent"], (1 << bits - 1) - 1)  # beyond, forms are not the non-adjacent ones
    weights = rng.integers(-largest, largest + 1, (2, 5))
    bias = rng.integers(-(1 << host.widths["accumulator"] - 1), 1 << host.widths["accumulator"] - 1, 2)
    flags = host.flags("layer_flags", "EMIT", "PLAIN_WEIGHTS", "CONSTANT")
    one, none = {"x": 1, "y": 1}, {"x": 0, "y": 0}
    words = host.packet(
        "ACTIVATIONS", {"address": 3, "count": 5}, items=x.ravel().tolist(), per_word=host.widths["activations_per_word"]
    )
    layer = {"codes": 5, "flags": flags, "shift": 0}
    words += host.packet("LAYER", layer, one, none, none, items=range(5), per_word=host.widths["offsets_per_word"])
    for row, start in zip(weights.tolist(), bias.tolist(), strict=True):
        fixed = {"in_base": 3, "out_base": 0}, {"bias": start, "flags": 0}
        words += host.packet("TILE", *fixed, items=row, per_word=host.widths["codes_per_word"])
    words += host.packet("STATUS")
    with NativeEngine(engine_library(SPEC), ROOT) as engine:
        run = engine.run(np.array(words, np.uint32), 2 * (4 + lanes) + 7)
    *tiles, status = host.results(run.words.tolist())
    half = 1 << host.widths["accumulator"] - 1
    cycles = [sum(max(1, digits(weight)) for weight in row) + host.timing["tile_overhead"] for row in weights.tolist()]
    for number, (kind, fields, sums) in enumerate(tiles):
        assert (kind, fields) == ("TILE_DONE", {"tile": number, "cycles": cycles[number]})
        expected = (bias[number] + weights[number] @ x + half) % (2 * half) - half
        assert np.array_equal(np.array(sums, np.uint32).astype(np.int32), expected)
    total = {"spec_id": host.spec_id & 0xFFFFFFFF, "tiles": 2, "cycles_low": sum(cycles), "cycles_high": 0}
    locks = {"booted": 1, "challenge": 0, "keyed": 0, "no_locks": 0, "sealed": 0}
    assert status == ("STATUS_REPLY", total | locks, [])


def test_a_host_learns_of_a_fault_and_of_a_challenge():
    host = Host(json.dumps(sidecar(SPEC, baked=False)))
    scheme = {
        "fingerprint": host.packets["fingerprints"]["CLOCK"], "transform": host.packets["transforms"]["AES"],
    }  # fmt: skip
    words = host.packet("CHALLENGE", scheme, *({f"nonce{number}": number} for number in range(4)))
    words += host.packet("STATUS") + host.packet("UNLOCK") + host.packet("STATUS") + host.packet("LOCK_NOW")
    with NativeEngine(engine_library(SPEC), ROOT) as engine:
        run = engine.run(np.array(words, np.uint32), 2 * 7 + 3)
    (_, challenged, _), (_, unlocked, _), fault = host.results(run.words.tolist())
    assert (challenged["challenge"], challenged["keyed"]) == (1, 0) and (unlocked["challenge"], unlocked["keyed"]) == (0, 1)
    assert fault == ("FAULT", {"error": host.packets["errors"]["LOCKED"], "tiles": 0}, [])
    assert run.error == host.packets["errors"]["LOCKED"]


def test_a_host_with_nothing_but_the_sidecar_boots_a_device_with_a_puf():
    """Helper words in their places; an attempt that is refused and one that is not; what the answers say; how long it takes."""
    chip = Chip(SPEC)
    text = json.dumps(sidecar(SPEC, baked=False, puf=chip.design))
    host, described = Host(text), json.loads(text)["puf"]
    helper, _ = chip.enrolled()
    words = helper.words()
    raw = np.array(words, "<u4")
    mask, syndromes, check = (raw[place["word"] :][: place["words"]] for place in described["helper_words"].values())
    assert np.array_equal(np.unpackbits(mask.view(np.uint8), bitorder="little"), helper.mask)
    assert len(syndromes) == chip.design.key.syndrome_words and check.tobytes() == helper.check
    wrong = [*words[:-1], words[-1] ^ 1]
    for attempt, (sent, right) in enumerate(((wrong, 0), (words, 1)), start=1):
        run = chip.send(np.array(host.packet("HELPER", items=sent), np.uint32), expected=4)
        state = {"rooted": right, "sealed": 0, "reserved": 0, "attempts": attempt}
        assert list(host.results(run.words.tolist())) == [
            ("PUF_REPLY", {"spec_id": host.spec_id & 0xFFFFFFFF, **state}, [])
        ]  # fmt: skip
    chip.engine.reset()
    first = np.arange(chip.design.key.pairs) < chip.design.key.bits
    chip.ask(Helper(first.astype(np.uint8), helper.syndromes, helper.check))
    assert described["boot_clocks"] == chip.clocks, "of this mask; others take more or less"
    chip.engine.reset()
    run = chip.send(np.array(host.packet("ENROL"), np.uint32), expected=2 + chip.design.key.pairs)
    ((name, _, sums),) = host.results(run.words.tolist())
    assert name == "SUMS" and len(sums) == described["design"]["pairs"]
    names = {port["name"] for port in json.loads(text)["ports"]}
    assert "sealed" in names and not names & {"fuse_data", "fuse_address"} and host.fuses is None


def test_the_timing_law_is_that_of_python():
    described = sidecar(SPEC, baked=False)["timing"]
    assert (described["tile_overhead"], described["tile_gap"]) == (timing.TILE_OVERHEAD, timing.TILE_GAP)


@pytest.fixture(scope="module")
def top():
    return VectorModel(Top(SPEC), clocked=False)


class Fuses:
    """A memory of one word a read, as slow as the sidecar allows (until then there is nothing of use), or without delay."""

    def __init__(self, root=ROOT, sealed=0, slow=True):
        host = Host(json.dumps(sidecar(SPEC, baked=False)))
        described, secret, flags = host.fuses, host.fuses["root_secret"], host.fuses["flags"]
        assert secret["bytes"] == "lowest first"
        size = host.widths["word"] // 8
        words = [int.from_bytes(root[at : at + size], "little") for at in range(0, len(root), size)]
        assert len(words) == secret["words"]
        self.words = [0] * described["words"]
        self.words[secret["address"] : secret["address"] + len(words)] = words
        self.words[flags["address"]] = host.word(flags["fields"], sealed=sealed)
        self.after = described["data_after"] if slow else 0
        self.address, self.kept, self.read = None, 0, []

    def data(self, address):
        """What is on the port in a clock with this address."""
        if address != self.address:
            self.read.append((self.address, self.kept))
            self.address, self.kept = address, 0
        self.kept += 1
        return self.words[address] if self.kept > self.after and address < len(self.words) else 0xDEADBEEF


class Board:
    """The engine with its clock in our hands; `clock` gives what its pins show in a clock."""

    def __init__(self, steps, fuses=None):
        self.steps = steps
        self.fuses = fuses or Fuses()
        self.clock(rst=1, result_ready=1)

    def clock(self, **inputs):
        self.steps.step(clk=0, **inputs)
        names = ("cmd_ready", "busy", "error", "result_valid", "result_data")
        pins = {name: self.steps[name] for name in names}
        self.steps.step(clk=1, fuse_data=self.fuses.data(self.steps["fuse_address"]))
        return pins

    def reset(self, clocks):
        for _ in range(clocks):
            self.clock(rst=1, cmd_valid=0)
        self.clock(rst=0)
        while self.clock()["busy"]:
            pass

    def send(self, words):
        """The pins in each clock until all words have moved and a long time after, and when the first and the last moved."""
        seen, moved = [], []
        for word in words.tolist():
            seen.append(self.clock(cmd_valid=1, cmd_data=word))
            while not seen[-1]["cmd_ready"]:
                seen.append(self.clock())
            moved.append(len(seen) - 1)
        seen += [self.clock(cmd_valid=0) for _ in range(400)]
        return seen, moved


def answer(board, words):
    """Result words of a command."""
    seen, _ = board.send(np.array(words, np.uint32))
    return [pins["result_data"] for pins in seen if pins["result_valid"]]


@pytest.mark.parametrize("slow", [True, False], ids=["slow fuses", "fast fuses"])
@pytest.mark.parametrize("root", [ROOT, bytes(16), bytes(range(240, 256))], ids=["a secret", "unblown", "another"])
def test_fuses_as_the_sidecar_describes_them_make_the_device(top, root, slow):
    """Every code has the weight that this root secret gives it; and after boot other fuses change nothing, until a reset."""
    host, other = Host(json.dumps(sidecar(SPEC, baked=False))), bytes(range(16, 32))
    lanes, one, none = host.spec["lanes"], {"x": 1, "y": 1}, {"x": 0, "y": 0}
    words = host.packet(
        "ACTIVATIONS", {"address": 0, "count": 1}, items=[1] * lanes, per_word=host.widths["activations_per_word"]
    )
    layer = {"codes": 1, "flags": host.flags("layer_flags", "EMIT"), "shift": 0}
    words += host.packet("LAYER", layer, one, none, none, items=[0], per_word=host.widths["offsets_per_word"])
    fixed = {"in_base": 0, "out_base": 0}, {"bias": 0, "flags": 0}
    tiles = [host.packet("TILE", *fixed, items=[code], per_word=host.widths["codes_per_word"]) for code in range(SPEC.codes)]

    def weights():
        found = answer(board, sum(tiles, words))
        return [sums[0] - (sums[0] >> 31 << 32) for _, _, sums in host.results(found)]

    def expected(secret):
        return [SPEC.values[index] for index in Device(SPEC, secret).table()]

    with Steps(top) as steps:
        board = Board(steps, Fuses(root, slow=slow))
        board.reset(host.timing["reset_clocks"])
        board.fuses = Fuses(other, slow=slow)
        assert weights() == expected(root) != expected(other)
        board.reset(host.timing["reset_clocks"])
        assert weights() == expected(other)


@pytest.mark.slow
@pytest.mark.parametrize("vault", ["aes", "ascon"])
@pytest.mark.parametrize("sealed", [0, 1])
def test_every_word_is_asked_for_as_long_as_the_sidecar_says(vault, sealed):
    """And a vault that knows the fuse `sealed` tells that it is blown; the other has no use for it."""
    host = Host(json.dumps(sidecar(SPEC.replace(vault=vault), baked=False)))
    with Steps(VectorModel(Top(SPEC.replace(vault=vault)), clocked=False)) as steps:
        board = Board(steps)
        for _ in range(host.timing["reset_clocks"] + 1):  # a clock later it is in reset
            board.clock(rst=1)
        board.fuses = Fuses(sealed=sealed)
        board.reset(1)
        read = board.fuses.read[1:]
        ((_, status, _),) = host.results(answer(board, host.packet("STATUS")))
    words = host.fuses["words"] if vault == "ascon" else host.fuses["root_secret"]["words"]
    asked = {address: clocks for address, clocks in reversed(read) if clocks >= host.fuses["address_clocks"]}  # the first time
    assert set(range(words)) <= asked.keys()
    fewest = min(asked[word] for word in range(words))
    assert fewest == (4 if vault == "ascon" else host.fuses["address_clocks"]), "the sidecar tells the least of all vaults"
    assert status["sealed"] == (sealed if vault == "ascon" else 0)


def test_busy_and_error_keep_to_the_sidecars_clocks(top):
    """Over every mistake there is: when the pins first tell of a word, when of an error, and how long busy stays after."""
    described = sidecar(SPEC, baked=False)["timing"]["busy"]
    program = random_program(SPEC, np.random.default_rng(5))
    told, late, rises = [], [], []
    for name, words, error in broken_packets(SPEC, program):
        with Steps(top) as steps:
            board = Board(steps)
            board.reset(2)
            seen, moved = board.send(words)
            told.append(
                next(clock for clock in itertools.count(moved[0]) if seen[clock]["busy"] or seen[clock]["error"]) - moved[0]
            )
            first = next(clock for clock, pins in enumerate(seen) if pins["error"])
            assert {pins["error"] for pins in seen[first:]} == {error}, name
            # For how many clocks before the error `busy` was low: a packet before this one may have ended there, too.
            quiet = next(clock for clock in range(first - 1, -1, -1) if seen[clock]["busy"] or clock < moved[0] + told[-1])
            late.append(first - quiet - 1)
            rises.append(next(clock for clock in itertools.count(first) if seen[clock]["busy"]) - first)
            assert all(pins["busy"] for pins in seen[first + rises[-1] :]), f"{name}: busy until reset"
    assert max(told) == described["after_word"]
    assert max(late) == described["error_after"]
    assert max(rises) == described["after_error"]


def test_a_reset_of_as_many_clocks_as_the_sidecar_says_is_enough(top):
    """From any state: the engine then boots, is idle, and answers."""
    clocks = sidecar(SPEC, baked=False)["timing"]["reset_clocks"]
    program = random_program(SPEC, np.random.default_rng(5))
    with Steps(top) as steps:
        board = Board(steps)
        for _, words, _ in broken_packets(SPEC, program)[::3]:
            board.reset(clocks)
            seen, _ = board.send(packets.status_packet())
            assert not seen[-1]["busy"] and not seen[-1]["error"]
            seen, _ = board.send(words)
            assert seen[-1]["busy"] and seen[-1]["error"]
