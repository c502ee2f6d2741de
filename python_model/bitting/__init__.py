"""bitting: lock neural networks to the bit-exact, cycle-exact behaviour of one MAC unit.

`import bitting` is fast: what needs torch is loaded when it is first asked for.
"""

from typing import Any

__version__ = "0.1.0"

#: Name -> module of the functions for users' own code.
_FUNCTIONS = {"convert": "conversion", "export": "exporting", "load": "exporting", "from_onnx": "onnx_import"}
__all__ = ["__version__", "convert", "export", "from_onnx", "load"]


def __getattr__(name: str) -> Any:
    """The functions for users' own code: `bitting.convert`, `bitting.export`, `bitting.load`, `bitting.from_onnx`."""
    if name not in _FUNCTIONS:
        raise AttributeError(f"module 'bitting' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"bitting.{_FUNCTIONS[name]}"), name)
