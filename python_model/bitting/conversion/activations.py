"""Activation functions, max pooling and dropout on the unit."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from bitting.conversion.nodes import shape_of, spatial
from bitting.conversion.products import ProductConversion
from bitting.conversion.tracing import source_location
from bitting.errors import ConversionError
from bitting.network.graph import INPUT
from bitting.network.layers import IntegerDropout
from bitting.network.maximum import UnitMaxPool2d, UnitRectifier
from bitting.unit.spec import UnitSpec

#: The fold takes the place of these: what their functions and methods are called, and their modules.
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "relu6": nn.ReLU6, "leaky_relu": nn.LeakyReLU, "prelu": nn.PReLU, "elu": nn.ELU, "selu": nn.SELU,
    "celu": nn.CELU, "gelu": nn.GELU, "silu": nn.SiLU, "mish": nn.Mish, "hardswish": nn.Hardswish, "softplus": nn.Softplus,
    "tanh": nn.Tanh, "hardtanh": nn.Hardtanh, "sigmoid": nn.Sigmoid, "hardsigmoid": nn.Hardsigmoid,
    "log_sigmoid": nn.LogSigmoid, "softsign": nn.Softsign,
}  # fmt: skip
#: At the end of a model these change no answer.
_OUTPUT_ACTIVATIONS: dict[str, type[nn.Module]] = {"softmax": nn.Softmax, "log_softmax": nn.LogSoftmax}


class ActivationConversion(ProductConversion):
    """What stands between products.

    Attributes:
        keeps: ReLU is kept; else the fold is in the place of every activation function.
        notes: what one might not expect.
        ends_with: activation function that ended the model and was left out, or nothing.
    """

    def __init__(self, spec: UnitSpec, graph: fx.GraphModule, normalise: bool, keeps: bool):
        super().__init__(spec, graph, normalise)
        self.keeps = keeps
        self.notes: list[str] = []
        self.ends_with = ""
        self._rectified: set[fx.Node] = set()  # poolings that have a ReLU to do first

    def _activate(self, node: fx.Node, name: str, module: nn.Module | None = None) -> bool:
        """Convert an activation function, by its function's name or its module; False if it is none."""
        for known, kind in _ACTIVATIONS.items():
            if isinstance(module, kind) if module else name == known:
                self._activation(node, known)
                return True
        for known, kind in _OUTPUT_ACTIVATIONS.items():
            if isinstance(module, kind) if module else name == known:
                self._output_activation(node, known)
                return True
        return False

    def _activation(self, node: fx.Node, kind: str) -> None:
        """The fold that ends every layer stands in its place. None ends the network: its sums leave as they are."""
        (name,) = self._inputs(node)
        if node.users and all(user.op == "output" for user in node.users):
            self.ends_with = kind
            told = {"sigmoid": "the sums are its logits, and a host applies it (Interface.probabilities)"}
            what = told.get(kind, "the answers are what comes before it")
            self.notes.append(f"{node.target} ({source_location(node)}), a {kind}, is left out: {what}")
            self._pass(node)
            return
        folded = self._behind_moves(name)
        if self.keeps:
            self._rectify(node, kind)
            return
        if folded == INPUT:
            raise ConversionError("an activation function of the input itself; put a layer before it")
        self.nodes[folded].module.activated = True  # type: ignore[assignment]
        self.alias[node] = name

    def _rectify(self, node: fx.Node, kind: str) -> None:
        if kind != "relu":
            raise ConversionError(
                f"a {kind}, where activation='relu' keeps ReLU only; activation='fold' puts the fold in its place"
            )
        if len(node.users) == 1 and self._is_max_pool(next(iter(node.users))):
            self._rectified.add(next(iter(node.users)))  # of fewer activations, with the same result
            self._pass(node)
        else:
            self._add_node(node, UnitRectifier())

    def _is_max_pool(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.modules[str(node.target)], nn.MaxPool1d | nn.MaxPool2d)
        return node.op == "call_function" and getattr(node.target, "__name__", "") in ("max_pool1d", "max_pool2d")

    def _functional_largest(self, node: fx.Node) -> None:
        names = (("kernel_size", None), ("stride", None), ("padding", 0), ("dilation", 1), ("ceil_mode", False))
        kernel, stride, padding, dilation, ceil_mode = (
            self._argument(node, index + 1, name, default) for index, (name, default) in enumerate(names)
        )
        self._largest(node, kernel, stride, padding, not ceil_mode and dilation in (1, (1,), (1, 1)))

    def _largest(self, node: fx.Node, kernel: Any, stride: Any, padding: Any, plain: bool) -> None:
        if not plain:
            raise ConversionError("max pooling with ceil_mode, dilation or return_indices is not supported")
        rank = len(shape_of(node))
        window = spatial(kernel, rank, 1)
        steps = spatial(stride, rank, 1) if stride not in (None, [], ()) else window
        self._add_node(node, UnitMaxPool2d(self.spec, window, steps, spatial(padding, rank, 0)))
        if node in self._rectified:
            self._add_node(node, UnitRectifier(), (self.alias[node],), "_relu")

    def _drop_out(self, node: fx.Node, probability: float) -> None:
        """Where the model is kept, there is nothing left to regularise, and 0 is no activation of the value 0."""
        if self.keeps:
            self._pass(node)
        else:
            self._add_node(node, IntegerDropout(probability))

    def _output_activation(self, node: fx.Node, kind: str) -> None:
        if any(user.op != "output" for user in node.users):
            raise ConversionError("a softmax inside the network; only one after the logits can be left out")
        self.ends_with = kind
        self.notes.append(f"{node.target} ({source_location(node)}) is left out: it changes no answer")
        self._pass(node)
