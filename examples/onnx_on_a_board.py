"""An ONNX regressor on a board: the host in C asks the locked chip over a serial line, in the user's units.

    python examples/onnx_on_a_board.py

It needs skl2onnx (to write the file), gcc and a POSIX machine. No board is needed: the board's top is simulated, and plays its
serial line bit by bit. One run's output is kept in onnx_on_a_board.txt.
"""

import argparse
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bitting
from bitting.sim.serial_port import SimulatedPort
from bitting.sim.terminal import terminal

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--samples", type=int, default=24, help="how many the board is asked")
samples = parser.parse_args().samples

# Your regressor, as a file that any framework could have written. Age, blood pressure and so on, as they were measured, say how
# far diabetes has gone a year later. There is no random_state: whoever knows the seed and the data has the weights.
table = load_diabetes(scaled=False)
x, test_x, y, test_y = train_test_split(table.data.astype("float32"), table.target, test_size=0.25, random_state=0)
layers = MLPRegressor(hidden_layer_sizes=(16,), solver="lbfgs", alpha=1000, max_iter=1000)
regressor = make_pipeline(StandardScaler(), layers).fit(x, y)
print(f"scikit-learn: R2 {regressor.score(test_x, test_y):.3f} on {len(test_y)} test samples")

folder = tempfile.TemporaryDirectory()
file, model_file, artefact_file, inputs = (Path(folder.name) / name for name in ("net.onnx", "model", "artefact", "inputs"))
file.write_bytes(to_onnx(regressor, x[:1]).SerializeToString())

# The file's network on the unit, with its ReLUs kept; what the pipeline's scaler does becomes part of the interface.
network = bitting.convert(bitting.from_onnx(file), "base", x, activation="relu")
bitting.export(network, x, model_file)
model = bitting.Model.load(model_file)  # as bitting.load does, which reads artefacts too
print(f"on the unit's arithmetic: R2 {r2_score(test_y, model(test_x)):.3f}")
device = bitting.Device.new(network.spec)
bitting.lock(model, device).save(artefact_file)

# What a host without Python needs: the words to send, and a program in C99. Nothing of it is secret.
command = [sys.executable, "-m", "bitting", "packets", "artefact", "--allow-unsigned", "-o", "words.bin", "--c-host", "host"]
print(subprocess.run(command, cwd=folder.name, check=True, capture_output=True, text=True).stdout, end="")
sources = [f"host/{name}.c" for name in ("example", "bitting_host", "bitting_units")]
subprocess.run(["gcc", "-std=c99", "-O2", *sources, "-o", "ask"], cwd=folder.name, check=True)

# The host asks, as a shell would have it: ./ask /dev/ttyUSB1 words.bin inputs floats. In place of the board's port it opens a
# terminal, at whose other end the simulated board is. From a shell: bitting board simulated --device A.key.
test_x[:samples].tofile(inputs)
with closing(SimulatedPort(device)) as board, terminal(board) as port:
    command = ["./ask", port, "words.bin", "inputs", "floats"]
    asking = subprocess.run(command, cwd=folder.name, stdout=subprocess.PIPE)
if asking.returncode:  # the host has said why
    sys.exit(asking.returncode)
answers = np.array([line.split() for line in asking.stdout.splitlines()], np.float32)
for answer, target in zip(answers[:3, 0], test_y, strict=False):
    print(f"the board says {answer:.1f}; measured was {target:.0f}")
print(f"{len(answers)} answers equal to the loaded model's, to the bit: {np.array_equal(answers, model(test_x[:samples]))}")
