"""The sender of results against a list of words: every packet, with a receiver that holds back and with one that does not."""

import zlib

import numpy as np
import pytest

from bitting.unit.protocol import FingerprintCode, Result
from tb.units import SPEC, unit

HALF = 1 << (SPEC.acc_bits - 1)


def random_sources(rng):
    """What packets are made of."""
    return {
        "accs": rng.integers(-HALF, HALF, SPEC.lanes).tolist(),
        "tile_index": int(rng.integers(0, 1 << 32)),
        "cycles": int(rng.integers(0, 1 << 32)),
        "total_cycles": int(rng.integers(0, 1 << 48)),
        "error": int(rng.integers(0, 8)),
        "lock_state": int(rng.integers(0, 16)),
    }


def payload(kind, sums, given):
    """Payload words of a packet."""
    if kind == Result.TILE_DONE:
        return [given["tile_index"], given["cycles"], *[acc & 0xFFFFFFFF for acc in given["accs"] if sums]]
    if kind == Result.STATUS_REPLY:
        low, high = given["total_cycles"] & 0xFFFFFFFF, given["total_cycles"] >> 32
        return [int(SPEC.id, 16) & 0xFFFFFFFF, given["tile_index"], low, high, given["lock_state"]]
    return [given["error"] | given["tile_index"] << 8 & 0xFFFFFFFF]


def packet(kind, sums, given):
    """All words of a packet."""
    words = payload(kind, sums, given)
    words = [kind | len(words) << 16, *words]
    return [*words, zlib.crc32(np.array(words, "<u4").tobytes())]


def drive(results, given, requests):
    """A clock in which a packet is asked for."""
    accs = sum((acc & 2 * HALF - 1) << SPEC.acc_bits * lane for lane, acc in enumerate(given["accs"]))
    results.step(**given | {"accs": accs}, **requests)
    assert not results["busy"]
    return dict.fromkeys(("send_tile", "send_status", "send_fault"), 0)


@pytest.mark.parametrize("stall", [0, 0.4], ids=["no stalls", "stalls"])
def test_every_packet_is_the_list_of_its_words(stall):
    rng = np.random.default_rng(2)
    requests = {"send_tile": Result.TILE_DONE, "send_status": Result.STATUS_REPLY, "send_fault": Result.FAULT}
    with unit("results") as results:
        for _ in range(3000):
            given, request, sums = random_sources(rng), str(rng.choice(list(requests))), bool(rng.random() < 0.5)
            expected = packet(requests[request], sums, given)
            inputs = drive(results, given, {request: 1, "send_sums": sums, "divert": 0, "result__ready": 0})
            words: list[int] = []
            lasts, clocks = [], 0
            while len(words) < len(expected):
                ready = rng.random() >= stall
                results.step(**inputs, result__ready=ready)
                clocks += 1
                assert results["busy"] and results["result__valid"] and not results["absorb__valid"]
                word, last = results["result__payload"] & 0xFFFFFFFF, results["result__payload"] >> 32
                assert word == expected[len(words)], "and held until it is taken"
                if ready:
                    words.append(word)
                    lasts.append(last)
            assert lasts == [0] * (len(expected) - 1) + [1]
            if not stall:
                assert clocks == len(expected), "the header in the clock after the request, then a word a clock"
            results.step(result__ready=1)
            assert not results["busy"] and not results["result__valid"], "not a word too many"


@pytest.mark.parametrize("stall", [0, 0.4], ids=["no stalls", "stalls"])
@pytest.mark.parametrize("fingerprint", list(FingerprintCode))
def test_a_diverted_tile_gives_its_fingerprint_to_the_vault_and_nothing_else(fingerprint, stall):
    rng = np.random.default_rng(3)
    with unit("results") as results:
        for _ in range(1000):
            given, sums = random_sources(rng), bool(rng.random() < 0.5)
            expected = payload(Result.TILE_DONE, sums, given)
            expected = expected[1:2] if fingerprint == FingerprintCode.CLOCK else expected[2:]
            requests = {"send_tile": 1, "send_sums": sums, "divert": 1, "fingerprint": fingerprint, "absorb__ready": 0}
            inputs = drive(results, given, requests)
            words: list[int] = []
            clocks, busy = 0, 1
            while busy:
                ready = rng.random() >= stall
                results.step(**inputs, absorb__ready=ready)
                assert not results["result__valid"]
                busy = results["busy"]
                clocks += busy
                if busy and results["absorb__valid"]:
                    assert results["absorb__payload"] == expected[len(words)], "and held until it is taken"
                    words += [results["absorb__payload"]] * ready
            assert words == expected
            if not stall:
                assert clocks == len(payload(Result.TILE_DONE, sums, given)) + 1, "a clock a word, one more to load the first"


def test_a_request_while_a_packet_is_sent_is_not_taken():
    given = random_sources(np.random.default_rng(4))
    expected = packet(Result.STATUS_REPLY, False, given)
    with unit("results") as results:
        inputs = drive(results, given, {"send_status": 1, "result__ready": 1})
        words = []
        for _ in expected:
            results.step(**inputs | {"send_tile": 1, "send_fault": 1})
            words.append(results["result__payload"] & 0xFFFFFFFF)
        assert words == expected
        results.step(**inputs)
        assert not results["busy"]
