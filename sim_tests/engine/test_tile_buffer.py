"""The double buffer against two Python lists: tiles in order and shuffled, with stalls and without."""

import numpy as np
import pytest

from bitting_rtl.lib.layouts import tile_layout
from tb.units import SPEC, unit

TILE_BITS = tile_layout(SPEC).as_shape().width
#: Clocks from the last write to the commit, and from the last reading of a code to the release, at the least.
SETTLE_WRITE, SETTLE_READ = 2, 1


def random_tile(rng, shuffled):
    """Codes as they come, the place of each, and the codes as they must lie in the end."""
    count = int(rng.integers(1, SPEC.tile_codes + 1))
    codes = rng.integers(0, 1 << SPEC.slot_bits, count).tolist()
    # Often the place of one of the codes just before, which have not reached the memories yet.
    near = rng.random(count) < 0.5
    places = [int(rng.integers(max(0, i - 3) if near[i] else 0, i + 1)) if shuffled else i for i in range(count)]
    stored: list[int] = []
    for index, (code, place) in enumerate(zip(codes, places, strict=True)):
        stored.append(stored[place] if place < index else code)
        stored[place] = code
    return codes, places, stored, int(rng.integers(0, 1 << TILE_BITS))


def writer(rng, tiles, stall):
    """Inputs of the write side, a clock each. It is told whether there is room in the next clock."""
    free = True
    for codes, places, _, fields in tiles:
        while not free:
            free = yield {}
        for index, (code, place) in enumerate(zip(codes, places, strict=True)):
            while rng.random() < stall:
                yield {}
            yield {"write": 1, "write_index": index, "write_place": place, "write_code": code}
        for _ in range(SETTLE_WRITE - 1 + int(3 * stall * rng.random())):
            yield {}
        free = yield {"commit": 1, "write_tile": fields}
    while True:
        yield {}


def reader(rng, tiles, stall):
    """Inputs of the read side, every tile some times over. It is told whether there is a tile in the next clock."""
    full = False
    for codes, *_ in tiles:
        while not full:
            full = yield {}
        passes = int(rng.integers(1, 4))
        for number in range(passes):
            for index in range(len(codes)):
                while rng.random() < stall:
                    yield {}
                yield {"read_step": 1, "read_index": index, "read_final": number == passes - 1}
        for _ in range(SETTLE_READ - 1):
            yield {}
        full = yield {"release": 1}


@pytest.mark.parametrize("stall", [0, 0.3], ids=["no stalls", "stalls"])
@pytest.mark.parametrize("name", ["in_order", "shuffled"])
def test_tiles_are_read_as_the_lists_have_them(name, stall):
    rng = np.random.default_rng(1)
    tiles = [random_tile(rng, name == "shuffled") for _ in range(1000)]
    write, read = writer(rng, tiles, stall), reader(rng, tiles, stall)
    committed = released = read_codes = 0  # tiles, tiles, codes
    last_code = None
    with unit(name) as buffer:
        buffer.step()
        while not buffer["free"]:  # the sweep after reset
            buffer.step()
        inputs = next(write) | next(read)
        while released < len(tiles):
            buffer.step(**{"write": 0, "commit": 0, "read_step": 0, "release": 0} | inputs)
            assert buffer["full"] == (committed > released) and buffer["free"] == (committed - released < 2)
            if committed > released:
                _, _, stored, fields = tiles[released]
                assert buffer["tile"] == fields, f"tile {released}"
            if last_code is not None:
                assert buffer["read_code"] == last_code, f"tile {released}, code read before {inputs}"
            if "read_step" in inputs:
                last_code = stored[inputs["read_index"]]
                read_codes += 1
            if "release" in inputs:
                last_code = None
                released += 1
            committed += "commit" in inputs
            if released < len(tiles):
                # What is decided now takes effect in the next clock, so it is told of the state that one begins with.
                inputs = write.send(committed - released < 2) | read.send(committed > released)
    assert read_codes > 15 * len(tiles)


def test_a_tile_can_be_written_after_as_many_clocks_as_it_has_codes():
    """Reset: the shuffled half sweeps its places first; one in order is ready at once."""
    for name, clocks in (("in_order", 0), ("shuffled", SPEC.tile_codes)):
        with unit(name) as buffer:
            buffer.step()
            waited = 0
            while not buffer["free"]:
                buffer.step()
                waited += 1
            assert waited == clocks


@pytest.mark.parametrize("name", ["in_order", "shuffled"])
def test_a_code_is_read_one_clock_later_and_held(name):
    with unit(name) as buffer:
        for _ in range(SPEC.tile_codes + 1):
            buffer.step()
        for index, code in enumerate((3, 9)):
            buffer.step(write=1, write_index=index, write_place=index, write_code=code)
        buffer.step(write=0)
        buffer.step(commit=1)
        buffer.step(commit=0, read_step=1, read_index=1)
        buffer.step(read_step=0, read_index=0)
        assert buffer["read_code"] == 9
        buffer.step()
        assert buffer["read_code"] == 9, "held while nothing is read"
        buffer.step(read_step=1)
        buffer.step()
        assert buffer["read_code"] == 3


def test_a_sweep_writes_zeros_over_every_code_of_both_halves_and_nothing_else():
    """Whatever else is asked for in its clocks; the tiles stay, and so does which half is read and which is filled."""
    rng = np.random.default_rng(3)
    full = range(SPEC.tile_codes)
    with unit("in_order") as buffer:
        for tiles in (0, 1, 2):  # how many of the halves are occupied, and which is read, when the sweep comes
            fields = [int(rng.integers(0, 1 << TILE_BITS)) for _ in range(2)]
            for number in range(2):
                for index in full:
                    code = int(rng.integers(1, 1 << SPEC.slot_bits))
                    buffer.step(write=1, write_index=index, write_place=index, write_code=code)
                if number < tiles:
                    buffer.step(write=0, commit=1, write_tile=fields[number])
                buffer.step(write=0, commit=0)
            for index in full:
                assert (buffer["full"], buffer["free"]) == (tiles > 0, tiles < 2)
                code, step, other = rng.integers(0, (1 << SPEC.slot_bits, 2, SPEC.tile_codes)).tolist()
                buffer.step(sweep=1, write_index=index, write_code=code, read_step=step, read_index=other)
            buffer.step(sweep=0, read_step=0)
            for number in range(2):
                if number >= tiles:
                    buffer.step(commit=1, write_tile=fields[number])
                    buffer.step(commit=0)
            for number in range(2):
                assert buffer["full"] and buffer["tile"] == fields[number]
                for index in full:
                    buffer.step(read_step=1, read_index=index)
                    buffer.step(read_step=0)
                    assert buffer["read_code"] == 0, (tiles, number, index)
                buffer.step(release=1)
                buffer.step(release=0)
            assert not buffer["full"]
