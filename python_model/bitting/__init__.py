"""bitting: lock neural networks to the bit-exact, cycle-exact behaviour of one MAC unit.

Everything below is loaded when it is first asked for, so `import bitting` is fast and needs neither torch nor a simulator.
What a function needs beyond the base package comes with an extra (`pip install 'bitting[train]'`), and the error names it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bitting.errors import missing_extra

if TYPE_CHECKING:
    from bitting.artefact.artefact import Artefact, load, lock, unlock
    from bitting.artefact.model import Model
    from bitting.check.verification import verify
    from bitting.conversion.converter import convert
    from bitting.conversion.exporting import export
    from bitting.conversion.onnx_import import from_onnx
    from bitting.emulator.emulate import Emulator
    from bitting.locking.device import Device
    from bitting.locking.scheme import LockScheme
    from bitting.training.finetuning import finetune
    from bitting.training.loop import train
    from bitting.unit.spec import UnitSpec, parse_spec
    from bitting_rtl.engine.export import engine_verilog as verilog

__version__ = "0.1.0"

__all__ = [
    "Artefact", "Device", "Emulator", "LockScheme", "Model", "UnitSpec", "__version__", "convert", "export", "finetune",
    "from_onnx", "load", "lock", "parse_spec", "train", "unlock", "verify", "verilog",
]  # fmt: skip

#: Public name -> its module, and its name there if it is another.
_HOMES = {
    "Artefact": "bitting.artefact.artefact",
    "Device": "bitting.locking.device",
    "Emulator": "bitting.emulator.emulate",
    "LockScheme": "bitting.locking.scheme",
    "Model": "bitting.artefact.model",
    "UnitSpec": "bitting.unit.spec",
    "convert": "bitting.conversion.converter",
    "export": "bitting.conversion.exporting",
    "finetune": "bitting.training.finetuning",
    "from_onnx": "bitting.conversion.onnx_import",
    "load": "bitting.artefact.artefact",
    "lock": "bitting.artefact.artefact",
    "parse_spec": "bitting.unit.spec",
    "train": "bitting.training.loop",
    "unlock": "bitting.artefact.artefact",
    "verify": "bitting.check.verification",
    "verilog": "bitting_rtl.engine.export:engine_verilog",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bitting' has no attribute {name!r}")
    module, _, inside = _HOMES[name].partition(":")
    with missing_extra(f"bitting.{name}"):
        return getattr(importlib.import_module(module), inside or name)


def __dir__() -> list[str]:
    return sorted(__all__)
