"""What ships: one safetensors file with codes, layer program, spec, lock description and accuracy claims. No secret, no pickle.

Two kinds share the format: a *model* (unlocked: its codes are value indices; the owner's secret) and an *artefact* (locked).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from bitting import files
from bitting.errors import ArtefactError, BittingError
from bitting.program import Layer, Program
from bitting.spec import UnitSpec

_FORMAT = "bitting 1"
KINDS = ("model", "artefact")
#: Larger files are refused before they are read: the largest program of the largest spec stays far below.
MAX_BYTES = 1 << 30
_LAYER_TENSORS = {"codes": np.uint8, "bias": np.int32, "offsets": np.int32, "in_base": np.int32, "out_base": np.int32}
_LAYER_FIELDS = {"positions", "strides", "shift", "linear"}


@dataclass(frozen=True, eq=False)
class Artefact:
    """A program and what is claimed of it.

    Attributes:
        kind: "model" (unlocked) or "artefact" (locked).
        program: layers; the codes of a locked one mean nothing without the device.
        lock: description of the lock ({} for a model).
        claims: data set, accuracies and how they were measured.
    """

    kind: str
    program: Program
    lock: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        tensors: dict[str, np.ndarray] = {}
        layers = []
        for index, layer in enumerate(self.program.layers):
            for name, dtype in _LAYER_TENSORS.items():
                tensors[f"layer{index}.{name}"] = np.ascontiguousarray(getattr(layer, name), dtype)
            layers.append({name: getattr(layer, name) for name in sorted(_LAYER_FIELDS)})
        header = {
            "format": _FORMAT,
            "kind": self.kind,
            "spec": self.program.spec.to_dict(),
            "spec_id": self.program.spec.id,
            "layers": layers,
            "input_base": self.program.input_base,
            "input_words": self.program.input_words,
            "lock": self.lock,
            "claims": self.claims,
        }
        files.write_bytes(path, safetensors.numpy.save(tensors, {"bitting": json.dumps(header, sort_keys=True)}))

    @classmethod
    def load(cls, path: Path, kind: str | None = None) -> Artefact:
        """Read and check a file.

        Args:
            kind: insist on "model" or "artefact".

        Raises:
            ArtefactError: if the file is missing, too large, truncated, corrupted, foreign, of the other kind, or does not
                fit the spec it names.
        """
        header, tensors = _read(path)
        if header.get("format") != _FORMAT:
            raise ArtefactError(f"{path} has format {header.get('format')!r}; this version of bitting reads {_FORMAT!r}")
        try:
            spec = UnitSpec.from_dict(header["spec"])
            if spec.id != header["spec_id"]:
                raise ArtefactError(
                    f"{path} was made for spec {header['spec_id']}, but its parameters give {spec.id} in this version"
                )
            expected = {f"layer{i}.{name}" for i in range(len(header["layers"])) for name in _LAYER_TENSORS}
            if set(tensors) != expected:
                raise ArtefactError(f"{path} lacks or adds tensors: {', '.join(sorted(set(tensors) ^ expected)[:3])}")
            layers = tuple(_layer(path, i, fields, tensors) for i, fields in enumerate(header["layers"]))
            program = Program(spec, layers, int(header["input_base"]), int(header["input_words"]))
            program.validate()
            loaded = cls(header["kind"], program, dict(header["lock"]), dict(header["claims"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{path} has a malformed header ({type(error).__name__}: {error})") from None
        except ArtefactError:
            raise
        except BittingError as error:
            raise ArtefactError(f"{path}: {error}") from None
        if loaded.kind not in KINDS or (kind and loaded.kind != kind):
            remedy = {"model": "give the model that `bitting train` wrote", "artefact": "lock it first with `bitting lock`"}
            raise ArtefactError(
                f"{path} is of kind {loaded.kind!r}, {kind or 'model or artefact'!r} is needed; {remedy.get(kind or '', '')}"
            )
        return loaded


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and tensors of any safetensors file of ours, unchecked."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ArtefactError(f"{path} has {size} bytes; allowed are {MAX_BYTES}")
        with safetensors.safe_open(path, framework="numpy") as handle:  # type: ignore[no-untyped-call]
            metadata = handle.metadata() or {}
            if "bitting" not in metadata:
                raise ArtefactError(f"{path} is a safetensors file, but not of bitting; make one with `bitting train`")
            header = json.loads(metadata["bitting"])
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a mapping)
    except OSError as error:
        raise ArtefactError(f"can not read {path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise ArtefactError(f"{path} is truncated, corrupted or no safetensors file ({error})") from None
    except ValueError:
        raise ArtefactError(f"{path} has a header that is not JSON") from None
    if not isinstance(header, dict):
        raise ArtefactError(f"{path} has a header that is no JSON object")
    return header, tensors


def _layer(path: Path, index: int, fields: dict[str, Any], tensors: dict[str, np.ndarray]) -> Layer:
    if set(fields) != _LAYER_FIELDS:
        raise ArtefactError(f"{path}: layer {index} has fields {sorted(fields)}; allowed {sorted(_LAYER_FIELDS)}")
    arrays = {}
    for name, dtype in _LAYER_TENSORS.items():
        array = tensors[f"layer{index}.{name}"]
        if array.dtype != dtype or array.ndim != (2 if name == "codes" else 1) or array.size == 0:
            raise ArtefactError(f"{path}: layer{index}.{name} is {array.dtype} of shape {array.shape}; not what a layer holds")
        arrays[name] = array
    (rows, columns), (row_stride, column_stride) = fields["positions"], fields["strides"]
    return Layer(
        **arrays,
        positions=(int(rows), int(columns)),
        strides=(int(row_stride), int(column_stride)),
        shift=int(fields["shift"]),
        linear=bool(fields["linear"]),
    )
