"""What is left of a measurement: of two chips that differ in their silicon only, every signal of the RTL is compared."""

import re

import numpy as np
import pytest

from bitting.program import packets
from bitting.sim.native import NativeEngine, library_of
from bitting.unit.protocol import Packet
from bitting_rtl.engine.export import TOP, puf_verilog
from tb.puf_chips import Chip

pytestmark = pytest.mark.slow
#: What stands for silicon itself: the memory of increments, its ports, and what it gave last.
SILICON = re.compile(r"\.(?:load|load_first|load_second|load_address)$|\.maker\.response\.counting\.")
#: Helper data, which are public. And of the vault the register of the table's last draw, of which one bit was used, with what a
#: multiplier makes of it; no port shows them.
KNOWN = re.compile(r"\.maker\.words\[|\.vault\.(?:half\.\[15:0\]|\$\d+\.\[\d+:0\])$")


def values(path):
    """Full name -> value at the end of a VCD."""
    names: dict[str, str] = {}
    scope: list[str] = []
    last: dict[str, str] = {}
    with path.open() as file:
        for line in file:
            parts = line.split()
            if not parts:
                continue
            if parts[0] == "$scope":
                scope.append(parts[2])
            elif parts[0] == "$upscope":
                scope.pop()
            elif parts[0] == "$var":
                names.setdefault(parts[3], ".".join([*scope, *parts[4:-1]]))
            elif parts[0][0] in "01" and len(parts) == 1:
                last[line[1:].strip()] = line[0]
            elif parts[0][0] == "b":
                last[parts[1]] = parts[0][1:]
    return {name: last[code] for code, name in names.items() if code in last}


@pytest.fixture(scope="module")
def chips():
    """Two, with other bits in most pairs, in a build that shows everything."""
    made = [Chip(seed=seed) for seed in (11, 12)]
    library = library_of(puf_verilog(made[0].spec, made[0].design, None), TOP, "vcd")
    for chip in made:
        silicon = chip.differences
        chip.engine = NativeEngine(library)
        chip.become(silicon)
    assert 10 < (made[0].bits != made[1].bits).sum() < 54
    return made


def differing(chips, folder, name):
    found = []
    for number, chip in enumerate(chips):
        path = folder / f"{name}{number}.vcd"
        chip.engine.trace(path)
        chip.send(np.zeros(0, np.uint32), expected=0)
        chip.engine.run(np.zeros(1, np.uint32), 1, quiet_limit=40_000)
        chip.engine.close()
        found.append(values(path))
    one, other = found
    assert one.keys() == other.keys() and len(one) > 500
    return sorted(key for key in one if one[key] != other[key])


def remade(chips):
    """The same chips after a reset, for another waveform."""
    library = chips[0].engine._library._name
    for chip in chips:
        chip.engine = NativeEngine(library)
        chip.become(chip.differences)


def test_nothing_is_left_of_a_failure(chips, tmp_path):
    helper, _ = Chip(seed=13).enrolled()
    for chip in chips:
        assert not chip.ask(helper).rooted
    assert [name for name in differing(chips, tmp_path, "failed") if not SILICON.search(name)] == []
    remade(chips)


def test_after_lock_now_nothing_is_left_of_the_root_secret(chips, tmp_path):
    for chip in chips:
        assert chip.ask(chip.enrolled()[0]).rooted
        chip.send(packets.status_packet(), expected=7)
        chip.send(packets.frame(Packet.LOCK_NOW, np.zeros(0, np.uint32)), expected=3)
    left = [name for name in differing(chips, tmp_path, "locked") if not SILICON.search(name)]
    assert [name for name in left if not KNOWN.search(name)] == []
    remade(chips)


def test_while_a_chip_is_keyed_something_differs(chips, tmp_path):
    """The comparison sees what is there: a table, a key."""
    for chip in chips:
        assert chip.ask(chip.enrolled()[0]).rooted
        chip.send(packets.status_packet(), expected=7)
    left = [name for name in differing(chips, tmp_path, "keyed") if not SILICON.search(name)]
    assert len(left) > 10 and any("vault" in name for name in left)
    remade(chips)
