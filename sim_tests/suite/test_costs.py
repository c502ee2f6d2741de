"""Costs: what is counted exactly, and areas that belong to the engines that there are."""

import hashlib

import numpy as np
import pytest

from bitting.artefact.artefact import Artefact
from bitting.artefact.model import Model
from bitting.fpga import design, targets
from bitting.locking.device import Device
from bitting.program import packets
from bitting.suite import areas
from bitting.unit.spec import parse_spec


@pytest.mark.parametrize("name", ["sealed", "shuffle", "aes-pre"])
def test_bytes_words_and_clocks_are_counted_as_they_are(cases, files, tmp_path, name):
    cost, one = cases[name].cost, files[name]
    model, artefact, device = Model.load(one.model), Artefact.load(one.artefact), Device.load(one.device)
    assert cost.bytes == one.artefact.stat().st_size > cost.bytes_twin
    program, test = model.program, artefact.self_test
    assert test is not None
    twin = Artefact(program, claims=artefact.claims, self_test=test, interface=model.interface)
    twin.save(tmp_path / "twin")
    assert cost.bytes_twin == (tmp_path / "twin").stat().st_size
    inputs = packets.activations_packet(program.spec, 0, np.zeros((program.spec.lanes, program.input_words), np.int8))
    assert cost.words_twin == len(inputs) + len(packets.program_packets(program, report=False))
    assert artefact.scheme.challenge
    asked = sum(map(sum, artefact.scheme.challenge.program.tile_cycles(device.table())))
    assert cost.cycles - cost.cycles_twin == asked > 0
    assert cost.words - cost.words_twin >= len(artefact.scheme.packets())
    assert cost.lut4 > cost.lut4_twin > 1000 and cost.ram_bits > cost.ram_bits_twin


def test_the_area_is_the_vaults_and_not_the_locks(cases):
    one, other, sealed = (cases[name].cost for name in ("shuffle", "aes-pre", "sealed"))
    assert (one.lut4, one.ff, one.ram_bits, one.device) == (other.lut4, other.ff, other.ram_bits, other.device)
    assert sealed.lut4 != one.lut4 and cases["open"].cost is None
    assert areas.area_of(parse_spec("base:lanes=4")) is None


@pytest.mark.slow
def test_areas_are_of_the_engines_that_there_are():
    """Else: commit, and run scripts/areas_report.py."""
    read = areas._file()
    target = targets.find(read["made"]["target"])
    for row in read["engines"]:
        spec = parse_spec(row["spec"])
        assert spec.id == row["spec_id"]
        for locked, suffix in ((True, ""), (False, "_twin")):
            verilog, _ = design.engine(spec, locked, target)
            assert hashlib.sha256(verilog.encode()).hexdigest()[:16] == row[f"verilog{suffix}"], "areas are out of date"
