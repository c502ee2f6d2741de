"""Drive the Verilog from Python: a sealed program's words go in, and what the Verilated engine answers is read by hand.

    python examples/drive_the_verilog.py

The first run builds the simulation of the family `tiny`; the output is kept in drive_the_verilog.txt, and is always the same.
docs/format.md and docs/sealed-programs.md describe every word.
"""

import struct
import zlib

import numpy as np

import bitting
from bitting.locking.sealed_program import SealedProgram
from bitting.program.layers import multilayer_perceptron
from bitting.sim.native import NativeEngine, engine_library
from bitting.unit.protocol import ErrorCode

spec = bitting.parse_spec("tiny")
device = bitting.Device(spec, bytes(range(16)), sealed=True)  # a known key: this is an example
print(f"{spec.name}: {len(bitting.verilog(spec).splitlines())} lines of Verilog, spec id {spec.id}")

# Two dense layers, 12 inputs to 6 to 3. In a model, codes are value indices.
rng = np.random.default_rng(0)
codes = [rng.integers(0, spec.codes, shape) for shape in ((6, 12), (3, 6))]
model = bitting.Model(multilayer_perceptron(spec, codes, [np.zeros(6), np.arange(3)], shifts=[1, 0]))
artefact = bitting.lock(model, device)  # sealed: packets that open on this device only, and in this order only
samples = rng.integers(spec.act_min, spec.act_max + 1, (spec.lanes, 12))

# First the challenge, which makes the device derive the lock's key; then the program, with the input in its place.
program = artefact.program
assert isinstance(program, SealedProgram)
commands = program.commands(artefact.scheme.packets(), samples)
with NativeEngine(engine_library(spec), device.root, device.sealed) as engine:
    run = engine.run(commands, program.result_words)
print(f"{len(commands)} words in, {len(run.words)} words out after {run.cycles} clocks, error {run.error}")

# By hand: header (type, length), payload, CRC-32.
logits: list[tuple[int, ...]] = []
words = run.words
while len(words):
    length = int(words[0]) >> 16
    payload, checksum = words[1 : 1 + length], int(words[1 + length])
    assert int(words[0]) & 0xFF == 0x82, "TILE_DONE"
    assert checksum == zlib.crc32(words[: 1 + length].tobytes())
    assert not payload[:2].any(), "a sealed device tells neither numbers nor cycles of its tiles"
    sums = struct.unpack(f"<{length - 2}i", payload[2:].tobytes())  # one a lane; only tiles that emit are answered
    print(f"answer {len(logits)}: {sums}")
    logits.append(sums)
    words = words[length + 2 :]

expected = bitting.Emulator(model.program, range(spec.codes))(samples).numpy()  # in a model, the table is the identity
print("equal to the emulator:", np.array_equal(np.array(logits).T, expected))

# A single bit of a single word, and nothing comes but a FAULT.
commands[-20] ^= 1
with NativeEngine(engine_library(spec), device.root, device.sealed) as engine:
    run = engine.run(commands, program.result_words)
print(f"one bit changed: {ErrorCode(run.error).name}, {len(run.words)} words out")
