"""What a simulated engine runs to be profiled: a public device, a public program, both drawn from nothing but the spec.

Counts of branches can tell of keys, and builds lie in the cache; so no device's secret ever enters one.
"""

from __future__ import annotations

import numpy as np

from bitting.errors import LockError
from bitting.locking.chip import ChipModel
from bitting.locking.device import ROOT_BYTES, Device
from bitting.locking.kinds import Fingerprint, default_transform
from bitting.locking.scheme import NONCE_BYTES, LockScheme
from bitting.locking.transform import lock_program, seal_for
from bitting.program import packets
from bitting.program.layers import Program, multilayer_perceptron
from bitting.unit.protocol import fuse_words
from bitting.unit.spec import UnitSpec, VaultKind

_ROOT = bytes(range(ROOT_BYTES))
_INPUTS, _HIDDEN, _OUTPUTS = 256, 128, 10


def training_run(spec: UnitSpec, locks: bool = True) -> bytes:
    """One batch of random samples through a random network, locked as most are, in the form that harness/train.cpp reads.

    Args:
        spec: of the unit.
        locks: the engine has a vault; else it is an unlocked twin.

    Raises:
        LockError: if engines of this spec are too small for a challenge.
    """
    clear = _network(spec)
    x = np.random.default_rng(1).integers(spec.act_min, spec.act_max + 1, (spec.lanes, clear.input_words)).astype(np.int8)
    inputs = packets.activations_packet(spec, clear.input_base, x)
    expected, sealed = packets.result_words(clear), False
    if not locks:
        commands = np.concatenate([inputs, packets.program_packets(clear)])
    elif spec.vault == VaultKind.ASCON:
        scheme, sealed = _scheme(spec), True
        program = seal_for(clear, ChipModel.of(Device(spec, _ROOT, sealed=True)), scheme, reports=True)
        commands = program.commands(scheme.packets(), x)
    else:
        scheme = _scheme(spec)
        locked = lock_program(clear, Device(spec, _ROOT), scheme)
        commands = np.concatenate([scheme.packets(), inputs, packets.program_packets(locked)])
    head = np.array([*fuse_words(_ROOT, sealed), expected], packets.WORDS)
    return np.concatenate([head, commands]).astype("<u4").tobytes()


def can_train(spec: UnitSpec) -> bool:
    """Whether engines of this spec can run a challenge, as every training run of an engine with locks begins."""
    try:
        _scheme(spec)
    except LockError:
        return False
    return True


def _scheme(spec: UnitSpec) -> LockScheme:
    return LockScheme.new(spec, Fingerprint.CLOCK, default_transform(spec.vault), nonce=bytes(NONCE_BYTES))


def _network(spec: UnitSpec) -> Program:
    rng = np.random.default_rng(0)
    inputs = min(_INPUTS, spec.tile_codes, spec.scratch_words // 2)
    sizes = (inputs, min(_HIDDEN, spec.tile_codes, spec.scratch_words - inputs), _OUTPUTS)
    weights = [rng.integers(0, spec.codes, (o, i)) for i, o in zip(sizes, sizes[1:], strict=False)]
    return multilayer_perceptron(spec, weights, [np.zeros(len(w)) for w in weights], [0, 0])
