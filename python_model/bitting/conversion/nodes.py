"""What every handler of the conversion needs: the nodes of the network so far, and which of them a value of the model is.

Values of the model have these shapes on the unit: (samples, features) as they are; (samples, channels, length) as images of one
row; images as they are.
"""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from bitting.conversion.tracing import source_location
from bitting.errors import ConversionError
from bitting.network.graph import Node
from bitting.network.moving import Flatten, Reshape
from bitting.unit.spec import UnitSpec

Pair = tuple[int, int]

#: Functions and methods that keep the order of a sample's numbers, and those that change nothing.
REORDERS = ("flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten")
PASSES = ("contiguous", "float", "to", "clone", "detach")


class NodeBuilder:
    """Collects nodes of the unit, or what is in the way.

    Attributes:
        nodes: of the network, in order.
        alias: value of the model -> node of the network that has it.
        locations: node of the network -> its place in the user's code.
        problems: what has no place, each with its place in the user's code.
    """

    def __init__(self, spec: UnitSpec):
        self.spec = spec
        self.nodes: dict[str, Node] = {}
        self.alias: dict[fx.Node, str] = {}
        self.locations: dict[str, str] = {}
        self.problems: list[str] = []

    def _problem(self, node: fx.Node, reason: str) -> None:
        self.problems.append(f"{node.target} ({source_location(node)}): {reason}")

    def _argument(self, node: fx.Node, position: int, name: str, default: Any) -> Any:
        return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)

    def _inputs(self, node: fx.Node) -> tuple[str, ...]:
        return tuple(self.alias[source] for source in node.all_input_nodes if source in self.alias)

    def _pass(self, node: fx.Node) -> None:
        self.alias[node] = self._inputs(node)[0]

    def _add_node(self, node: fx.Node, module: nn.Module, inputs: tuple[str, ...] | None = None, suffix: str = "") -> None:
        """A module that has the value from now on. `inputs`: by default what the model's node reads."""
        name = node.name + suffix
        self.nodes[name] = Node(name, inputs or self._inputs(node), module)
        self.alias[node] = name
        self.locations[name] = source_location(node)

    def _reshape(self, node: fx.Node, suffix: str, shape: tuple[int, ...] | None = None) -> None:
        """The value in the shape that it has on the unit: `shape`, or that of the model. Keeps the order."""
        wanted = on_unit(shape_of(node)) if shape is None else shape
        module = Flatten() if len(wanted) == 1 else Reshape(wanted)
        self._add_node(node, module, (self.alias[node],), suffix)


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Shape of a value of the model, samples first."""
    return tuple(node.meta["tensor_meta"].shape)


def on_unit(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a sample on the unit, of a value of the model. Raises ConversionError if it has none."""
    match shape[1:]:
        case (features,):
            return (features,)
        case (channels, length):
            return (channels, 1, length)
        case (channels, rows, columns):
            return (channels, rows, columns)
    raise ConversionError(
        f"gives a tensor of shape {shape}; allowed are (samples, features), (samples, channels, length) and "
        "(samples, channels, H, W)"
    )


def pair(value: Any) -> Pair:
    """A number for rows and columns, or for each."""
    first, second = (value, value) if isinstance(value, int) else tuple(value)
    return int(first), int(second)


def spatial(value: Any, rank: int, along_rows: int) -> Pair:
    """A setting of a window in (rows, columns). A series (values of rank 3) has one row, where it is `along_rows`."""
    if rank == 4:
        return pair(value)
    (column,) = (value,) if isinstance(value, int) else tuple(value)
    return along_rows, int(column)
