"""Operators of a model that move activations, and means: padding, reshapes, permutations, repetition."""

from __future__ import annotations

from typing import Any

from torch import fx

from bitting.conversion.nodes import NodeBuilder, Pair, on_unit, pair, shape_of, spatial
from bitting.errors import ConversionError
from bitting.network.averaging import UnitAveragePool2d
from bitting.network.moving import Flatten, Permute, Repeat, Reshape, UnitChannelMean, ZeroPad

#: Layers of one input that give what they read.
_MOVES = (Flatten, Permute, Repeat, Reshape, ZeroPad)


class MoveConversion(NodeBuilder):
    """Handlers of operators that move, or average."""

    def _behind_moves(self, name: str) -> str:
        """The node, or the input, whose activations a node only moves."""
        while name in self.nodes and isinstance(self.nodes[name].module, _MOVES):
            name = self.nodes[name].inputs[0]
        return name

    def _pad_function(self, node: fx.Node) -> None:
        mode, value = self._argument(node, 2, "mode", "constant"), self._argument(node, 3, "value", None)
        self._pad(node, list(self._argument(node, 1, "pad", ())), mode, value or 0)

    def _pad(self, node: fx.Node, pads: list[Any], mode: str, value: float) -> None:
        """`pads`: (left, right), (left, right, top, bottom), and so on, as torch has them: the last dimension first."""
        rank = len(shape_of(node))
        if mode != "constant" or value != 0:
            what = f"mode {mode!r}" if mode != "constant" else f"value {value:g}"
            raise ConversionError(f"padding with {what} is not supported; allowed is constant padding with 0")
        sides = [(int(first), int(last)) for first, last in zip(pads[::2], pads[1::2], strict=True)]
        if rank < 3 or any(side != (0, 0) for side in sides[rank - 2 :]):
            raise ConversionError(f"padding {pads} of a tensor of shape {shape_of(node)}; allowed is padding rows and columns")
        columns, rows = (sides + [(0, 0)] * 2)[:2]
        if rank == 3:
            rows = (0, 0)
        self._add_padding(node, (rows[0], columns[0]), (rows[1], columns[1]))

    def _add_padding(self, node: fx.Node, before: Pair, after: Pair, suffix: str = "") -> None:
        self._add_node(node, ZeroPad(before, after), (self._inputs(node)[0],), suffix)

    def _average(self, node: fx.Node, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, count_padding: bool) -> None:
        rank = len(shape_of(node))
        pads = spatial(padding, rank, 0)
        if ceil_mode or (not count_padding and any(pads)):
            raise ConversionError("average pooling with ceil_mode, or without counting the padding, is not supported")
        window = spatial(kernel, rank, 1)
        steps = spatial(stride, rank, 1) if stride not in (None, [], ()) else window
        self._add_node(node, UnitAveragePool2d(self.spec, window, steps, pads))

    def _functional_average(self, node: fx.Node) -> None:
        arguments = [self._argument(node, index + 1, name, default) for index, (name, default) in enumerate(
            (("kernel_size", None), ("stride", None), ("padding", 0), ("ceil_mode", False), ("count_include_pad", True))
        )]  # fmt: skip
        self._average(node, *arguments)

    def _adaptive(self, node: fx.Node, wanted: Any) -> None:
        shape = shape_of(node.all_input_nodes[0])
        rank, sizes = len(shape), on_unit(shape)[1:]
        goal = pair(wanted) if rank == 4 else (1, wanted if isinstance(wanted, int) else wanted[0])
        targets = [size if target is None else target for size, target in zip(sizes, goal, strict=True)]
        if any(size % target for size, target in zip(sizes, targets, strict=True)):
            raise ConversionError(f"adaptive pooling of {sizes} to {targets}: windows of unequal size; the sizes must divide")
        kernel = (sizes[0] // targets[0], sizes[1] // targets[1])
        self._add_node(node, UnitAveragePool2d(self.spec, kernel, kernel))

    def _mean(self, node: fx.Node) -> None:
        """Rows and columns first, then channels: two rounded means."""
        shape = shape_of(node.all_input_nodes[0])
        rank = len(shape)
        given = self._argument(node, 1, "dim", None)
        axes = range(rank) if given is None else given if isinstance(given, list | tuple) else [given]
        chosen = {axis % rank for axis in axes}
        if 0 in chosen:
            raise ConversionError(f"mean() over dimensions {sorted(chosen)}; allowed is over all but 0, the samples")
        sizes = on_unit(shape)
        reduced = tuple(size if axis in chosen else 1 for axis, size in zip(range(2, 4), shape[2:], strict=False))
        window = (1, *reduced) if rank == 3 else reduced
        if len(window) == 2 and window != (1, 1):
            self._add_node(node, UnitAveragePool2d(self.spec, pair(window), pair(window)), suffix="_window")
        else:
            self._pass(node)
        if 1 in chosen:
            self._add_node(node, UnitChannelMean(self.spec, sizes[0]), (self.alias[node],))
        if len(shape_of(node)) != rank:
            self._reshape(node, "_flat")

    def _reorder(self, node: fx.Node) -> None:
        """Any reshape that keeps the order: flatten, view, squeeze, ..."""
        source = node.all_input_nodes[0]
        before, after = shape_of(source), shape_of(node)
        if before[0] != after[0]:
            raise ConversionError(f"a reshape of {before} to {after}; allowed is to (samples, ...)")
        self.alias[node] = self.alias[source]
        if on_unit(before) != on_unit(after):
            self._reshape(node, "")

    def _permute(self, node: fx.Node, order: list[int]) -> None:
        rank = len(order)
        order = [axis % rank for axis in order]
        if order[0] != 0 or rank < 3:
            raise ConversionError(f"a permutation of dimensions {order}; allowed is one that keeps 0, the samples")
        # A series has one row, which stays between: channels and length change places.
        axes = [axis - 1 for axis in order[1:]] if rank == 4 else [0, 1, 2] if order == [0, 1, 2] else [2, 1, 0]
        self._add_node(node, Permute((axes[0], axes[1], axes[2])))

    def _permute_function(self, node: fx.Node) -> None:
        given = node.args[1:] or tuple(node.kwargs.values())
        self._permute(node, list(given[0] if isinstance(given[0], list | tuple) else given))  # type: ignore[arg-type]

    def _transpose(self, node: fx.Node) -> None:
        rank = len(shape_of(node))
        first, second = (int(self._argument(node, place, f"dim{place - 1}", 0)) % rank for place in (1, 2))
        order = list(range(rank))
        order[first], order[second] = second, first
        self._permute(node, order)

    def _upsample(self, node: fx.Node, mode: str, scale: Any) -> None:
        before, after = (on_unit(shape_of(each)) for each in (node.all_input_nodes[0], node))
        if mode not in ("nearest", "nearest-exact"):
            raise ConversionError(f"upsampling with mode {mode!r} is not supported; allowed is 'nearest', which repeats")
        scales = scale if isinstance(scale, list | tuple) else [scale or 1]
        if any(new % old for old, new in zip(before, after, strict=True)) or any(each != int(each) for each in scales):
            raise ConversionError(f"upsampling of {before[1:]} to {after[1:]}; allowed are whole factors")
        self._repeat(node, (after[1] // before[1], after[2] // before[2]))

    def _repeat(self, node: fx.Node, factors: Pair) -> None:
        self._add_node(node, Repeat(factors))

    def _repeat_interleave(self, node: fx.Node) -> None:
        rank = len(shape_of(node))
        times, axis = self._argument(node, 1, "repeats", 1), self._argument(node, 2, "dim", None)
        if not isinstance(times, int) or axis is None or axis % rank < 2:
            raise ConversionError("repeat_interleave() is supported by a fixed number, along rows, columns or length")
        self._repeat(node, (times, 1) if rank == 4 and axis % rank == 2 else (1, times))
