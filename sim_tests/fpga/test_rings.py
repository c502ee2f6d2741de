"""The rings of a PUF after synthesis, place and route: all there, where they were put, on the wires that were named."""

import json
import re
import shutil

import pytest

from bitting.errors import ToolError
from bitting.fpga import flow, rings, targets
from bitting.unit.puf_spec import PufSpec
from bitting_rtl.puf.rings import FAMILIES

TARGETS = [targets.find(name) for name in ("ecp5-25k", "ice40-up5k")]
FEW = PufSpec(pairs=8)
ALL = PufSpec(pairs=256)


@pytest.fixture(scope="module", params=TARGETS, ids=lambda target: target.name)
def placed(request):
    run, folder = rings.implement(request.param, FEW, seed=1)
    return request.param, run, folder


def check(target, puf, folder):
    """Every stage is in the netlist, at its place; the rings of a pair are neighbours, and take the same wires."""
    family = FAMILIES[target.family]
    found = rings.read(folder, target.family)
    assert list(found) == [(pair, second) for pair in range(puf.pairs) for second in range(2)]
    for pair in range(puf.pairs):
        first, second = found[pair, 0], found[pair, 1]
        assert first.luts == second.luts == family.bel
        assert first.tile == family.tile(pair, 0) and second.tile == (first.tile[0], first.tile[1] + 1)
        assert first.wires == second.wires and first.delay_ps == second.delay_ps > 0
        assert [tuple(wire.removeprefix("+0 +0 ") for wire in path) for path in first.wires] == [
            *family.wires,
            family.out_wires,
        ]
    assert len({ring.tile for ring in found.values()}) == 2 * puf.pairs
    assert {int(ring.mhz) for ring in found.values()} == {family.mhz}
    assert rings.check(folder, target.family, puf.pairs) == found


def test_all_rings_are_placed_alike(placed):
    target, _, folder = placed
    check(target, FEW, folder)


def test_counters_follow_the_rings(placed):
    """By nextpnr's slowest corner for both; where silicon is faster, both are."""
    target, run, folder = placed
    (mhz,) = {ring.mhz for ring in rings.read(folder, target.family).values()}
    assert rings.counter_fmax(folder) > 1.4 * mhz
    assert run.fmax > 24


def test_the_critical_path_is_of_the_systems_clock(placed):
    """Though rings make clocks of their own, and what they clock is read by the system's."""
    _, run, _ = placed
    assert run.critical and not any(flow.RING_CLOCK in name for step in run.critical for name in step[2:])


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_512_rings_are_placed_alike(target):
    _, folder = rings.implement(target, ALL, seed=1)
    check(target, ALL, folder)


def test_without_named_wires_rings_differ():
    """What `check` would say of an iCE40 if nextpnr chose: other inputs of LUTs in almost every ring."""
    target = targets.find("ice40-up5k")
    text = re.sub(r"\(\* ROUTING = .*? \*\)", "", rings.verilog(FEW, target.family))
    _, folder = flow.place(target, text, rings.TOP, rings.WRAPPER, 1, netlist=True, rings=True)
    found = rings.read(folder, target.family)
    assert any(found[pair, 0].wires != found[pair, 1].wires for pair in range(FEW.pairs))
    with pytest.raises(AssertionError):
        check(target, FEW, folder)
    with pytest.raises(ToolError, match="takes other wires than those that are named"):
        rings.check(folder, target.family, FEW.pairs)


def test_a_missing_misplaced_or_loaded_stage_is_found(placed, tmp_path):
    target, _, folder = placed
    (name,) = (name for name in cells(json.loads((folder / "routed.json").read_text())) if "ring3_first_lut1" in name)

    def remove(netlist):
        del cells(netlist)[name]

    def move(netlist):
        cells(netlist)[name]["attributes"]["NEXTPNR_BEL"] = re.sub(r"X\d+", "X12", FAMILIES[target.family].place((3, 3), 1))

    def load(netlist):
        (module,) = netlist["modules"].values()
        (net,) = (net for name, net in module["netnames"].items() if name.endswith("rings.ring3_first_1"))
        net["attributes"]["ROUTING"] += ";X9/Y9/somewhere;a switch;1"

    faults = (remove, "LUTs after place and route"), (move, "lies in 2 tiles"), (load, "loaded by more than")
    for fault, message in faults:
        with pytest.raises(ToolError, match=message):
            rings.read(changed(folder, tmp_path / fault.__name__, fault), target.family)
    for pairs in (FEW.pairs - 1, FEW.pairs + 1):
        with pytest.raises(ToolError, match=f"there are 16 rings of {pairs} pairs"):
            rings.check(folder, target.family, pairs)


def cells(netlist):
    (module,) = netlist["modules"].values()
    return module["cells"]


def changed(folder, copy, fault):
    """A folder of place and route with a fault in its netlist."""
    shutil.copytree(folder, copy)
    netlist = json.loads((copy / "routed.json").read_text())
    fault(netlist)
    (copy / "routed.json").write_text(json.dumps(netlist))
    return copy
