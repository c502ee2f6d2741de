"""Drive the Verilog from Python: a program becomes packets, the Verilated engine takes them, and its answer is read by hand.

    python examples/drive_the_verilog.py

The first run builds the simulation of the family `tiny`; the output is kept in drive_the_verilog.txt, and is always the same.
docs/format.md describes every word.
"""

import struct
import zlib

import numpy as np

import bitting
from bitting.program import packets
from bitting.program.layers import multilayer_perceptron
from bitting.sim.native import NativeEngine, engine_library

spec = bitting.parse_spec("tiny")
device = bitting.Device(spec, bytes(range(16)))  # a known key: this is an example
print(f"{spec.name}: {len(bitting.verilog(spec).splitlines())} lines of Verilog, spec id {spec.id}")

# Two dense layers, 12 inputs to 6 to 3. In a model, codes are value indices.
rng = np.random.default_rng(0)
codes = [rng.integers(0, spec.codes, shape) for shape in ((6, 12), (3, 6))]
model = bitting.Model(multilayer_perceptron(spec, codes, [np.zeros(6), np.arange(3)], shifts=[1, 0]))
artefact = bitting.lock(model, device, "none", "table")  # written in the number format of this device, without a key
samples = rng.integers(spec.act_min, spec.act_max + 1, (spec.lanes, 12))

commands = np.concatenate(
    [packets.activations_packet(spec, address=0, activations=samples), packets.program_packets(artefact.locked_layers())]
)
with NativeEngine(engine_library(spec), device.root) as engine:
    run = engine.run(commands, packets.result_words(artefact.locked_layers()))
print(f"{len(commands)} words in, {len(run.words)} words out after {run.cycles} clocks, error {run.error}")

# By hand: header (type, length), payload, CRC-32.
logits, words = [], run.words
while len(words):
    length = int(words[0]) >> 16
    payload, checksum = words[1 : 1 + length], int(words[1 + length])
    assert int(words[0]) & 0xFF == 0x82, "TILE_DONE"
    assert checksum == zlib.crc32(words[: 1 + length].tobytes())
    sums = struct.unpack(f"<{length - 2}i", payload[2:].tobytes())  # one a lane, if the tile emits
    print(f"tile {payload[0]}: {payload[1]} clocks" + (f", sums {sums}" if sums else ""))
    logits += [sums] if sums else []
    words = words[length + 2 :]

expected = bitting.Emulator(artefact.locked_layers(), device.table())(samples).numpy()
print("equal to the emulator:", np.array_equal(np.array(logits).T, expected))
