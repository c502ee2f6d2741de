"""Affine operations, `x * gain + offset` with constants of the model's own: found, and folded into what stands beside them.

After a product they become part of its weights and bias, as batch normalisation does. Before the first product they become part
of its weights and bias too, if it pads with nothing: padding adds zeros of the *transformed* input, which are no zeros of the
input as it comes. Else, and for all other layers that read the input, the network prepares its input so, and the interface of
what is exported has it: `activation = floor((x * gain + offset) * input_scale + 1/2)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import TensorMetadata

from bitting.conversion.nodes import PASSES, REORDERS, shape_of
from bitting.errors import ConversionError

#: Functions and methods that are affine in one argument, if the other is a constant; in-place ones have an underscore more.
_FUNCTIONS = frozenset(
    (
        "add",
        "iadd",
        "sub",
        "isub",
        "rsub",
        "subtract",
        "mul",
        "imul",
        "multiply",
        "div",
        "divide",
        "true_divide",
        "truediv",
        "itruediv",
        "neg",
        "negative",
    )
)
_DIVISIONS = frozenset(("div", "divide", "true_divide", "truediv", "itruediv"))
#: These give the same numbers, all but permutations in the same order.
_PERMUTATIONS = ("permute", "transpose")
_MOVES = frozenset((*REORDERS, *PASSES, *_PERMUTATIONS))
_MOVE_MODULES = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout)


def name_of(node: fx.Node) -> str:
    """What a function or method is called, without the underscore of those that work in place."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return name.removesuffix("_")


@dataclass(frozen=True)
class Affine:
    """`x * gain + offset`; both float64 of shape (1, *shape of a sample)."""

    gain: torch.Tensor
    offset: torch.Tensor

    @property
    def is_identity(self) -> bool:
        """It changes nothing."""
        return bool((self.gain == 1).all() and (self.offset == 0).all())

    @property
    def loss(self) -> float:
        """How many times fewer activations some feature gets if all have one scale before this, instead of after it.

        What comes out is taken to lie within 3 of 0, as standardised features do.
        """
        gain = self.gain.abs().clamp(min=1e-30)
        return float(gain.max() * ((self.offset.abs() + 3) / gain).max() / 3)

    def after(self, first: Affine) -> Affine:
        """This one, applied to what `first` gives."""
        return Affine(self.gain * first.gain, self.gain * first.offset + self.offset)

    def before(self, last: Affine) -> Affine:
        """What takes the answers of this one to those of `last`. The gain must have no 0."""
        gain = last.gain / self.gain
        return Affine(gain, last.offset - gain * self.offset)

    def of_channels(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(channels,) gain and offset, if each channel has one of each."""
        parts = []
        for values in (self.gain, self.offset):
            flat = values[0].reshape(values.shape[1], -1)
            if bool((flat != flat[:, :1]).any()):
                return None
            parts.append(flat[:, 0])
        return parts[0], parts[1]

    def is_uniform(self) -> bool:
        """All numbers have one gain and one offset, wherever they are."""
        return bool((self.gain == self.gain.reshape(-1)[0]).all() and (self.offset == self.offset.reshape(-1)[0]).all())


class AffineAnalysis:
    """Which nodes of a traced model are constants, and which are affine in what they read.

    Attributes:
        constants: node -> its value.
        of_input: node -> how it follows from the model's input, for nodes that are affine in that.
    """

    def __init__(self, graph: fx.GraphModule):
        self._run = fx.Interpreter(graph)
        self._modules = dict(graph.named_modules())
        self.constants: dict[fx.Node, Any] = {}
        self.of_input: dict[fx.Node, Affine] = {}
        self._moved: set[fx.Node] = set()
        with torch.no_grad():
            for node in graph.graph.nodes:
                self._visit(node)

    def _visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if not self.of_input:
                shape = (1, *shape_of(node)[1:])
                self.of_input[node] = Affine(torch.ones(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64))
        elif node.op == "get_attr" or (node.op.startswith("call") and all(n in self.constants for n in node.all_input_nodes)):
            self.constants[node] = self._value(node, {})
        elif (source := self._source(node)) in self.of_input:
            first = self.of_input[source]
            if self._is_move(node, source):
                self.of_input[node] = Affine(*(self._move(node, source, part) for part in (first.gain, first.offset)))
                if source in self._moved or name_of(node) in _PERMUTATIONS or shape_of(node) != shape_of(source):
                    self._moved.add(node)
            elif found := self.step(node):
                self.of_input[node] = found.after(first)
                self._moved |= {node} if source in self._moved else set()

    @torch.no_grad()
    def step(self, node: fx.Node) -> Affine | None:
        """What a node does to the one value that it reads, if that is affine and keeps the shape; its gain and offset."""
        source = self._source(node)
        if source is None or not self._is_affine(node, source):
            return None
        shape = (1, *shape_of(source)[1:])
        kind = torch.float32 if node.op == "call_module" else torch.float64
        try:
            nothing, one = (self._value(node, {source: torch.full(shape, float(x), dtype=kind)}).double() for x in (0, 1))
        except (RuntimeError, TypeError):  # a constant that has the size of the batch
            return None
        if nothing.shape != shape:
            return None
        return Affine(one - nothing, nothing)

    def preparation(self, folds: dict[fx.Node, bool]) -> Affine | None:
        """How the network's input is to follow from the model's; None: it is the model's.

        Args:
            folds: reader of an affine value of the input -> whether its weights can take it in.
        """
        needing = (source for reader, can in folds.items() if not can for source in self.sources_of_input(reader))
        for source in needing:
            if self.of_input[source].is_identity:
                continue
            found = self.of_input[source]
            if source in self._moved:
                if not found.is_uniform():
                    raise ConversionError("scales its input after moving it; scale it first, as it comes")
                shape = next(iter(self.of_input.values())).gain.shape
                found = Affine(*(part.reshape(-1)[0].expand(shape) for part in (found.gain, found.offset)))
            if bool((found.gain == 0).any()):
                raise ConversionError("multiplies its input by 0 somewhere; leave that feature out")
            return found
        return None

    def sources_of_input(self, node: fx.Node) -> list[fx.Node]:
        """What a reader reads that is affine in the input; nothing if the node is affine itself."""
        return [] if node in self.of_input else [source for source in node.all_input_nodes if source in self.of_input]

    def relative(self, node: fx.Node, preparation: Affine | None) -> Affine:
        """How an affine value of the input follows from the network's input, which is prepared already."""
        found = self.of_input[node]
        if preparation is None:
            return found
        if node in self._moved and preparation.is_uniform():
            gain, offset = (part.reshape(-1)[0].expand(found.gain.shape) for part in (preparation.gain, preparation.offset))
            return Affine(gain, offset).before(found)
        return preparation.before(found) if preparation.gain.shape == found.gain.shape else found

    def _source(self, node: fx.Node) -> fx.Node | None:
        """The one input that is no constant."""
        tensors = [source for source in node.all_input_nodes if isinstance(source.meta.get("tensor_meta"), TensorMetadata)]
        variable = [source for source in tensors if source not in self.constants]
        return variable[0] if len(variable) == 1 else None

    def _is_affine(self, node: fx.Node, source: fx.Node) -> bool:
        if node.op == "call_module":
            module = self._modules[str(node.target)]
            return isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None
        if node.op not in ("call_function", "call_method") or name_of(node) not in _FUNCTIONS:
            return False
        operands = [*node.args, *node.kwargs.values()]
        if operands.count(source) != 1 or (name_of(node) in _DIVISIONS and node.args[0] is not source):
            return False
        return "rounding_mode" not in node.kwargs

    def _is_move(self, node: fx.Node, source: fx.Node) -> bool:
        if not isinstance(node.meta.get("tensor_meta"), TensorMetadata) or shape_of(node)[:1] != shape_of(source)[:1]:
            return False
        if node.op == "call_module":
            return isinstance(self._modules[str(node.target)], _MOVE_MODULES)
        return node.op in ("call_function", "call_method") and name_of(node) in _MOVES

    def _move(self, node: fx.Node, source: fx.Node, values: torch.Tensor) -> torch.Tensor:
        """What a move makes of (1, ...) values. A reshape may read sizes of the batch that was traced."""
        if name_of(node) in _PERMUTATIONS:
            return torch.as_tensor(self._value(node, {source: values}))
        return values.reshape(1, *shape_of(node)[1:])

    def _value(self, node: fx.Node, known: dict[fx.Node, torch.Tensor]) -> Any:
        self._run.env = {**self.constants, **known}
        return self._run.run_node(node)


def into_weights(weight: torch.Tensor, bias: torch.Tensor, affine: Affine) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and bias of a product that reads x, of one that reads what `affine` makes of x.

    Args:
        weight: (outputs, inputs), or (outputs, inputs / groups, rows, columns) of a convolution whose channels have one gain
            and one offset each.
        bias: (outputs,).
        affine: of the values that the product reads.
    """
    if weight.ndim == 2:
        gain, offset = (part.reshape(1, -1) for part in (affine.gain, affine.offset))
    else:
        channels = affine.of_channels()
        assert channels
        groups = len(channels[0]) // weight.shape[1]
        each = len(weight) // groups
        gain, offset = (part.reshape(groups, 1, -1).expand(-1, each, -1).reshape(len(weight), -1, 1, 1) for part in channels)
    wide = weight.double()
    more = (wide * offset).flatten(1).sum(1)
    return (wide * gain).to(weight.dtype), (bias.double() + more).to(bias.dtype)
