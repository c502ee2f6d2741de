"""Operators of ONNX that move, pool or only say shapes, and the torch graph that all operators become nodes of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from bitting.conversion.onnx_constants import Constants
from bitting.errors import ConversionError

if TYPE_CHECKING:
    from onnx import NodeProto


#: Numbers of any value, a sample: the largest engine holds 2^16 words. What a file asks for may be any size.
MOST_VALUES = 1 << 24

#: How a Resize by whole factors finds what it repeats: the place in the source, rounded down, or its middle.
_REPEATS = (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil"))


class ShapeOperators:
    """A torch graph in the making, each value with a tensor without contents that has its shape.

    Args:
        constants: of the graph; shapes that operators ask for become known.
        given: name of the input.
        sample: a batch of inputs on the device `meta`, which holds no numbers; or None: shapes are unknown.

    Attributes:
        values: name -> node of the torch graph.
        samples: name -> a tensor of that value's shape; empty without `sample`.
        made_by: name -> node of the file.
    """

    def __init__(self, constants: Constants, given: str, sample: torch.Tensor | None):
        self.constants = constants
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.values: dict[str, fx.Node] = {given: self.graph.placeholder("x")}
        self.samples: dict[str, torch.Tensor] = {} if sample is None else {given: sample}
        self.made_by: dict[str, NodeProto] = {}
        self._given = given

    # -- how nodes are made

    def _settings(self, node: NodeProto) -> dict[str, Any]:
        """Attributes of a node."""
        from onnx import helper

        return {item.name: helper.get_attribute_value(item) for item in node.attribute}

    def _listed(self, node: NodeProto, name: str, place: int) -> list[int] | None:
        """Integers that newer versions have as an input, older ones as an attribute; None if neither has them."""
        if len(node.input) > place and node.input[place]:
            return self.constants.numbers(node.input[place])
        found = self._settings(node).get(name)
        return None if found is None else [int(value) for value in found]

    def _value(self, name: str) -> fx.Node:
        if name in self.values:
            return self.values[name]
        if name not in self.constants.known:
            raise ConversionError(f"reads {name}, which nothing gives")
        key = f"constant{len(self.values)}"
        self.root.register_buffer(key, self.constants.tensor(name))
        self.values[name] = self.graph.get_attr(key)
        self.samples[name] = self.constants.tensor(name).to("meta")
        return self.values[name]

    def _emit(self, output: str, module: nn.Module, inputs: Iterable[str]) -> None:
        """A module that reads `inputs`."""
        names = list(inputs)
        key = f"{type(module).__name__.lower()}_{re.sub(r'[^0-9A-Za-z_]', '_', output)}"
        while hasattr(self.root, key):
            key += "_"
        self.root.add_module(key, module.eval())
        self._keep(output, self.graph.call_module(key, tuple(self._value(name) for name in names)), module, names)

    def _call(self, output: str, function: Callable[..., Any], /, *inputs: str, **settings: Any) -> None:
        """A function that reads `inputs`."""
        arguments = tuple(self._value(name) for name in inputs)
        self._keep(output, self.graph.call_function(function, arguments, settings), function, inputs, **settings)

    def _keep(
        self, output: str, node: fx.Node, function: Callable[..., Any], inputs: Iterable[str], /, **settings: Any
    ) -> None:
        self.values[output] = node
        if self._given in self.samples:
            arguments = tuple(self.samples[name] for name in inputs)
            with torch.no_grad():
                if isinstance(function, nn.Module):
                    held = {name: tensor.to("meta") for name, tensor in function.state_dict().items()}
                    self._keep_sample(output, torch.func.functional_call(function, held, arguments))
                else:
                    self._keep_sample(output, function(*arguments, **settings))

    def _keep_sample(self, output: str, sample: torch.Tensor) -> None:
        """Raises ConversionError for a value that no memory would hold."""
        size = sample.numel() // max(1, self.samples[self._given].shape[0])
        if size > MOST_VALUES:
            raise ConversionError(f"gives {size} numbers a sample; allowed are {MOST_VALUES}: make the model smaller")
        self.samples[output] = sample

    def _shape(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Shape of a value. Without a sample `default`, or a ConversionError."""
        self._value(name)
        if name in self.samples:
            return tuple(self.samples[name].shape)
        if default is None:
            raise ConversionError("depends on the size of the input, of which the file does not say all but the first; fix it")
        return default

    # -- what changes nothing

    def _on_identity(self, node: NodeProto) -> None:
        self.values[node.output[0]] = self._value(node.input[0])
        if node.input[0] in self.samples:
            self.samples[node.output[0]] = self.samples[node.input[0]]

    _on_dropout = _on_identity

    def _on_cast(self, node: NodeProto) -> None:
        from onnx import TensorProto

        kinds = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
        if self._settings(node)["to"] not in kinds:
            raise ConversionError("to a type that is no floating point is not supported")
        self._on_identity(node)

    _on_castlike = _on_identity

    # -- shapes

    def _on_shape(self, node: NodeProto) -> None:
        """The shape as a constant: what is computed from it is known, too."""
        settings = self._settings(node)
        shape = self._shape(node.input[0])[settings.get("start", 0) : settings.get("end")]
        self.constants.known[node.output[0]] = np.array(shape, np.int64)

    def _on_size(self, node: NodeProto) -> None:
        self.constants.known[node.output[0]] = np.array(np.prod(self._shape(node.input[0])), np.int64)

    def _on_flatten(self, node: NodeProto) -> None:
        axis = self._settings(node).get("axis", 1)
        if axis != 1:
            raise ConversionError(f"from axis {axis} on; allowed is 1")
        self._emit(node.output[0], nn.Flatten(), node.input)

    def _on_reshape(self, node: NodeProto) -> None:
        wanted = self.constants.numbers(node.input[1])
        repeated = self._repeated(node)
        if node.input[0] not in self.samples:
            if len(wanted) == 2 and (wanted[1] == -1 or wanted[0] in (-1, 0)):
                self._emit(node.output[0], nn.Flatten(), node.input[:1])
                return
            self._shape(node.input[0])
        before = self.samples[node.input[0]].shape
        if not self._settings(node).get("allowzero", 0):
            wanted = [before[axis] if size == 0 else size for axis, size in enumerate(wanted)]
        after = tuple(torch.empty(before, device="meta").reshape(wanted).shape)
        if after[0] != before[0]:
            raise ConversionError(f"of {tuple(before)} to {after}; allowed is to (samples, ...)")
        if repeated:
            source, times, axis = repeated
            self._call(node.output[0], torch.repeat_interleave, source, repeats=times, dim=axis)
        else:
            self._in_shape(node.output[0], node.input[0], after)

    def _in_shape(self, output: str, source: str, shape: tuple[int, ...]) -> None:
        """`shape`: with the samples. Keeps the order."""
        flat = f"{output} flat"
        if len(shape) == 2:
            self._emit(output, nn.Flatten(), [source])
        else:
            self._emit(flat, nn.Flatten(), [source])
            self._emit(output, nn.Unflatten(1, shape[1:]), [flat])

    def _repeated(self, node: NodeProto) -> tuple[str, int, int] | None:
        """(source, times, axis) of Unsqueeze, Expand and this Reshape, as `repeat_interleave` is exported."""
        expand = self.made_by.get(node.input[0])
        unsqueeze = self.made_by.get(expand.input[0]) if expand is not None and expand.op_type == "Expand" else None
        if expand is None or unsqueeze is None or unsqueeze.op_type != "Unsqueeze":
            return None
        before, after = self._shape(expand.input[0]), self._shape(expand.output[0])
        changed = [axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
        if len(changed) != 1 or before[changed[0]] != 1 or changed[0] < 3:
            return None
        source = unsqueeze.input[0]
        axis, times = changed[0] - 1, after[changed[0]]
        wanted = [size * times if place == axis else size for place, size in enumerate(self._shape(source))]
        kept = tuple(after[: axis + 1]) + tuple(after[axis + 2 :]) == self._shape(source)
        asked = torch.empty(after, device="meta").reshape(self.constants.numbers(node.input[1])).shape
        return (source, times, axis) if kept and list(asked) == wanted else None

    def _on_expand(self, node: NodeProto) -> None:
        source = node.input[0]
        shape = torch.broadcast_shapes(self._shape(source), tuple(self.constants.numbers(node.input[1])))
        self._call(node.output[0], torch.Tensor.expand, source, size=shape)

    def _on_squeeze(self, node: NodeProto) -> None:
        shape = self._shape(node.input[0])
        axes = self._listed(node, "axes", 1)
        gone = {axis % len(shape) for axis in axes} if axes is not None else {a for a, size in enumerate(shape) if size == 1}
        if 0 in gone:
            raise ConversionError("of axis 0, the samples, is not supported")
        self._in_shape(node.output[0], node.input[0], tuple(size for axis, size in enumerate(shape) if axis not in gone))

    def _on_unsqueeze(self, node: NodeProto) -> None:
        shape = list(self._shape(node.input[0]))
        axes = self._listed(node, "axes", 1) or []
        rank = len(shape) + len(axes)
        for axis in sorted(axis % rank for axis in axes):
            shape.insert(axis, 1)
        self._in_shape(node.output[0], node.input[0], tuple(shape))

    def _on_transpose(self, node: NodeProto) -> None:
        order = self._settings(node).get("perm") or range(len(self._shape(node.input[0])))[::-1]
        self._call(node.output[0], torch.permute, node.input[0], dims=tuple(int(axis) for axis in order))

    def _on_concat(self, node: NodeProto) -> None:
        axis = int(self._settings(node)["axis"])
        values = [self._value(name) for name in node.input]
        self.values[node.output[0]] = self.graph.call_function(torch.cat, (values, axis))
        if all(name in self.samples for name in node.input):
            self._keep_sample(node.output[0], torch.cat([self.samples[name] for name in node.input], axis))

    def _on_pad(self, node: NodeProto) -> None:
        pads, settings = self._listed(node, "pads", 1), self._settings(node)
        rank = len(self._shape(node.input[0]))
        axes = self.constants.numbers(node.input[3]) if len(node.input) > 3 and node.input[3] else range(rank)
        has_value = len(node.input) > 2 and bool(node.input[2])
        value = float(self.constants.tensor(node.input[2])) if has_value else float(settings.get("value", 0.0))
        mode = settings.get("mode", b"constant").decode()
        if mode != "constant" or pads is None:
            raise ConversionError(f"with mode {mode!r} is not supported; allowed is 'constant'")
        half = len(pads) // 2
        sides = {axis % rank: around for axis, *around in zip(axes, pads[:half], pads[half:], strict=True)}
        ordered = [size for axis in range(rank)[::-1] for size in sides.get(axis, (0, 0))]
        while len(ordered) > 2 and ordered[-2:] == [0, 0]:
            ordered = ordered[:-2]
        self._call(node.output[0], F.pad, node.input[0], pad=ordered, mode="constant", value=value)

    def _on_resize(self, node: NodeProto) -> None:
        settings = self._settings(node)
        mode = settings.get("mode", b"nearest").decode()
        rounding = settings.get("nearest_mode", b"round_prefer_floor").decode()
        shape = self._shape(node.input[0])
        if len(node.input) > 3 and node.input[3]:
            sizes = self.constants.numbers(node.input[3])
        else:
            scales = self.constants.tensor(node.input[2]).tolist()
            sizes = [int(size * scale) for size, scale in zip(shape, scales, strict=True)]
        factors = [new // old for old, new in zip(shape, sizes, strict=True)]
        place = settings.get("coordinate_transformation_mode", b"half_pixel").decode()
        if (
            mode != "nearest"
            or (place, rounding) not in _REPEATS
            or factors[:2] != [1, 1]
            or any(new % old for old, new in zip(shape, sizes, strict=True))
        ):
            raise ConversionError(
                f"of {shape} to {sizes} with mode {mode!r} ({place}, {rounding}); allowed is repetition by whole factors"
            )
        source = node.input[0]
        for axis, times in list(enumerate(factors))[2:]:
            last = axis == len(factors) - 1
            name = node.output[0] if last else f"{node.output[0]} along {axis}"
            self._call(name, torch.repeat_interleave, source, repeats=times, dim=axis)
            source = name

    # -- pooling

    def _on_reducemean(self, node: NodeProto) -> None:
        settings, axes = self._settings(node), self._listed(node, "axes", 1)
        rank = len(self._shape(node.input[0], default=(0, 0, 0, 0)))
        if not axes:
            if settings.get("noop_with_empty_axes", 0):
                self._on_identity(node)
                return
            axes = list(range(rank))
        chosen = sorted(axis % rank for axis in axes)
        if 0 in chosen:
            raise ConversionError(f"over axes {chosen}; allowed is over all but 0, the samples")
        self._call(node.output[0], torch.mean, node.input[0], dim=chosen, keepdim=bool(settings.get("keepdims", 1)))

    def _on_averagepool(self, node: NodeProto) -> None:
        settings = self._settings(node)
        kernel = tuple(int(size) for size in settings["kernel_shape"])
        source, padding = self._padded(node, len(kernel), settings, kernel)
        counted = bool(settings.get("count_include_pad", 0))
        if settings.get("ceil_mode", 0) or (not counted and (any(padding) or source != node.input[0])):
            raise ConversionError("is supported without ceil_mode, and counting its padding, only")
        if any(step != 1 for step in settings.get("dilations", ())) or len(kernel) > 2:
            raise ConversionError("is supported in one and two dimensions, without dilations, only")
        kind: Any = (nn.AvgPool1d, nn.AvgPool2d)[len(kernel) - 1]
        self._emit(node.output[0], kind(kernel, tuple(settings.get("strides", (1,) * len(kernel))), padding), [source])

    def _on_maxpool(self, node: NodeProto) -> None:
        settings = self._settings(node)
        kernel = tuple(int(size) for size in settings["kernel_shape"])
        source, padding = self._padded(node, len(kernel), settings, kernel)
        if settings.get("ceil_mode", 0) or source != node.input[0] or len(kernel) > 2 or len(node.output) > 1:
            raise ConversionError("is supported with symmetric pads, without ceil_mode and indices, only")
        dilations = tuple(settings.get("dilations", (1,) * len(kernel)))
        kind: Any = (nn.MaxPool1d, nn.MaxPool2d)[len(kernel) - 1]
        steps = tuple(settings.get("strides", (1,) * len(kernel)))
        self._emit(node.output[0], kind(kernel, steps, padding, dilations), [source])

    def _on_globalaveragepool(self, node: NodeProto) -> None:
        rank = len(self._shape(node.input[0], default=(0, 0, 0, 0)))
        self._emit(node.output[0], nn.AdaptiveAvgPool1d(1) if rank == 3 else nn.AdaptiveAvgPool2d(1), node.input)

    def _padded(
        self, node: NodeProto, rank: int, settings: dict[str, Any], kernel: Iterable[int]
    ) -> tuple[str, tuple[int, ...]]:
        """What a window is to read, and the padding that is left for it: unequal sides are padded before."""
        begins, ends = self._pads(node, rank, settings, tuple(kernel))
        if begins == ends:
            return node.input[0], begins
        name = f"{node.output[0]} padded"
        pads = [size for sides in list(zip(begins, ends, strict=True))[::-1] for size in sides]
        self._call(name, F.pad, node.input[0], pad=pads)
        return name, (0,) * rank

    def _pads(
        self, node: NodeProto, rank: int, settings: dict[str, Any], kernel: tuple[int, ...]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        automatic = settings.get("auto_pad", b"NOTSET").decode()
        if automatic == "VALID":
            return (0,) * rank, (0,) * rank
        if automatic == "NOTSET":
            pads = tuple(int(size) for size in settings.get("pads", (0,) * (2 * rank)))
            return pads[:rank], pads[rank:]
        steps, spread = settings.get("strides", (1,) * rank), settings.get("dilations", (1,) * rank)
        totals = [
            max(0, (-(-size // step) - 1) * step + far * (window - 1) + 1 - size)
            for size, step, far, window in zip(self._shape(node.input[0])[2:], steps, spread, kernel, strict=True)
        ]
        less, more = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
        return (less, more) if automatic == "SAME_UPPER" else (more, less)
