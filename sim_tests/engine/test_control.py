"""Control and the sweep of memories, each alone, against what a list says."""

import numpy as np
import pytest

from bitting.unit.protocol import ErrorCode
from bitting_rtl.engine.top import BUSY_AFTER_ERROR
from tb.units import SPEC, unit

#: The sweep goes through the largest memory.
ADDRESSES = max(SPEC.scratch_words, SPEC.tile_codes)
#: All that control can be told to do.
REQUESTS = ("send_tile", "send_status", "send_fault")


def test_a_sweep_counts_every_address_once_after_reset_and_after_each_start():
    """A start while it counts begins again at once. The smaller memory's addresses come again and again meanwhile."""
    rng = np.random.default_rng(1)
    expected, completed = 0, 0  # the address that comes next; ADDRESSES: none
    with unit("sweep") as sweep:
        for clock in range(20_000):
            start = int(clock > 2 * ADDRESSES and rng.random() < 0.01)
            sweep.step(start=start)
            assert sweep["active"] == (expected < ADDRESSES)
            address = expected % ADDRESSES
            assert (sweep["item_index"], sweep["act_addr"]) == (address % SPEC.tile_codes, address % SPEC.scratch_words)
            completed += expected == ADDRESSES - 1
            expected = 0 if start else min(expected + 1, ADDRESSES)
    assert completed > 50


class Run:
    """Control, and an engine around it that runs tiles: what is sent, and what is counted."""

    def __init__(self, control, rng):
        self.control, self.rng = control, rng
        self.tiles = self.total = 0  # as they must be
        self.busy = 0  # clocks that the result packet still takes
        control.step(keys_ready=1)
        control.step()

    def clock(self, **inputs):
        """A clock; gives what control asks to be sent in it."""
        self.control.step(results_busy=self.busy > 0, **inputs)
        asked = [name for name in REQUESTS if self.control[name]]
        assert not asked or not self.busy, "while another packet is sent"
        self.busy = int(self.rng.integers(1, 9)) if asked else max(0, self.busy - 1)
        return asked

    def wait(self, output):
        """Until an output is high."""
        for _ in range(50):
            if self.control[output]:
                return
            self.clock()
        raise AssertionError(f"no {output}")

    def tile(self, emits, hold, report, diverted):
        """A tile from its commit to its end."""
        rng, control = self.rng, self.control
        cycles = int(rng.integers(1, 1 << 32))
        self.clock(tile_waits=1, emits=emits, hold=hold, report=report, diverted=diverted)
        self.wait("start")
        for _ in range(int(rng.integers(0, 5))):
            self.clock()
            assert not control["start"] and not control["ended"] and not control["idle"]
        self.clock(done=1)
        asked = self.clock(done=0, cycles=cycles)
        assert control["ended"] and (control["tiles"], control["total_cycles"]) == (self.tiles, self.total)
        sends = emits and not hold
        assert asked == ["send_tile"] * bool(sends or report or diverted)
        assert control["send_sums"] == sends or not asked
        self.tiles, self.total = self.tiles + 1, self.total + cycles
        self.clock(tile_waits=0)
        assert not control["ended"]

    def settle(self):
        """Until it is idle, and what it has counted till then."""
        self.wait("idle")
        assert not self.busy
        return self.control["tiles"], self.control["total_cycles"]


@pytest.mark.parametrize("seed", range(3))
def test_tiles_and_cycles_are_counted_since_reset_or_restart(seed):
    """And what is sent of a tile: its sums if they are final, its count if it is to be reported or goes to the vault."""
    rng = np.random.default_rng(seed)
    with unit("control") as control:
        run = Run(control, rng)
        for _ in range(60):
            for _ in range(int(rng.integers(0, 5))):
                run.tile(*(int(flag) for flag in rng.integers(0, 2, 4)))
            assert run.settle() == (run.tiles, run.total)
            if rng.random() < 0.5:
                assert run.clock(status_request=1) == ["send_status"]
                run.clock(status_request=0)
                assert run.settle() == (run.tiles, run.total)
            if rng.random() < 0.3:
                run.clock(restart=1)
                run.tiles = run.total = 0
                run.clock(restart=0)
                assert run.settle() == (0, 0)


@pytest.mark.parametrize("error", [error for error in ErrorCode if error], ids=lambda error: error.name)
def test_the_first_error_stays_and_is_sent_once_after_the_packet_that_leaves(error):
    """Whatever a tile is doing; no tile starts any more, and one that has just ended is still told of."""
    rng = np.random.default_rng(int(error))
    cause = {ErrorCode.BAD_ADDRESS: {"bad_address": 1}, ErrorCode.LOCKED: {"lock_now": 1}}.get(error, {"packet_error": error})
    told = 0
    for _ in range(200):
        with unit("control") as control:
            run = Run(control, rng)
            for _ in range(int(rng.integers(0, 2))):
                run.tile(1, 0, 0, 0)
            for _ in range(int(rng.integers(0, 15))):
                run.clock(tile_waits=int(rng.integers(2)), emits=1, done=int(rng.random() < 0.3))
            if rng.random() < 0.3:  # a packet leaves that is no tile's
                run.clock(tile_waits=0, done=0)
                run.clock()
                if control["idle"]:
                    assert run.clock(status_request=1) == ["send_status"]
            run.clock(**cause, status_request=0)
            assert not control["halt"] and not control["error"]
            asked = run.clock(packet_error=ErrorCode.BAD_CRC, bad_address=1, lock_now=1)
            for clock in range(40):
                assert control["halt"] and control["error"] == error and not control["start"]
                assert control["busy"] or clock < BUSY_AFTER_ERROR
                asked += run.clock(tile_waits=1, done=0)
            assert asked in (["send_fault"], ["send_tile", "send_fault"])
            told += len(asked) - 1
    assert told, "some tile was"
