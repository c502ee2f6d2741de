"""The ports of a component, written once: its signature, the tables of docs/rtl-ports.md and the JSON beside the Verilog.

`python -m bitting_rtl.lib.ports` prints docs/rtl-ports.md. It looks for components in every room, but only when it is run:
this module itself imports none of them.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import EnumType

from amaranth.hdl import Shape, ShapeLike, unsigned
from amaranth.lib import data, stream, wiring

import bitting_rtl
from bitting.unit.bch import DEFAULT_CODE
from bitting.unit.protocol import WORD_BITS
from bitting.unit.puf_key import PufDesign, PufKey
from bitting.unit.puf_spec import PufSpec
from bitting.unit.spec import PRESETS, UnitSpec, VaultKind

#: The family whose widths the page shows.
EXAMPLE = PRESETS["base"]
#: The same with the other vault, and with lanes that share samples: some ports are there with one of them only.
OTHERS = {
    f"the vault `{VaultKind.AES.value}`": EXAMPLE.replace(vault=VaultKind.AES),
    "`stripes` of 4": EXAMPLE.replace(stripes=4),
}

#: What a component is made with for the page, by the name of its constructor's parameter; parameters with a default keep it.
_ARGUMENTS: dict[str, object] = {
    "spec": None,  # as `example` is told
    "puf": PufSpec(),
    "design": PufDesign(PufKey(DEFAULT_CODE), PufSpec()),
    "family": "ecp5",
    "divisor": 100,
    "root": bytes(16),
    "fused": True,
    "shape": unsigned(WORD_BITS),
    "width": WORD_BITS,
    "depth": 16,
    "label": b"",
}

#: When a port counts of which nothing else is said.
EVERY_CLOCK = "every clock"


@dataclass(frozen=True)
class Port:
    """One port, or one stream of them.

    Attributes:
        member: direction and shape, as in any signature of Amaranth: `In(1)`, `Out(stream.Signature(8))`.
        meaning: what it says, in a sentence.
        timing: in which clocks it counts. Left out, it counts in every clock.
    """

    member: wiring.Member
    meaning: str
    timing: str = EVERY_CLOCK

    @property
    def direction(self) -> str:
        """`in` or `out`; of a stream, the way its payload goes."""
        return "in" if self.member.flow is wiring.In else "out"

    @property
    def width(self) -> int:
        """Bits of the port; of a stream, of its payload."""
        return Shape.cast(self._shape).width

    @property
    def shape(self) -> str:
        """The shape in words."""
        words = describe(self._shape)
        return f"stream of {words}" if self.member.is_signature else words

    @property
    def _shape(self) -> ShapeLike:
        if not self.member.is_signature:
            return self.member.shape
        if not isinstance(self.member.signature, stream.Signature):
            raise TypeError(f"a port is a value or a stream, not {self.member.signature!r}; list its members one by one")
        return self.member.signature.members["payload"].shape


class Ports(wiring.Signature):
    """The signature of a component whose ports say what they are for.

    Example:
        >>> from amaranth.lib.wiring import In, Out
        >>> Ports({"x": Port(In(1), "the input"), "y": Port(Out(4), "the output", "a clock later")}).ports["y"].width
        4
    """

    def __init__(self, ports: Mapping[str, Port]):
        self.ports = dict(ports)
        super().__init__({name: port.member for name, port in ports.items()})

    def table(self) -> str:
        """The ports as a table in Markdown."""
        rows = [
            f"| `{name}` | {port.direction} | {port.shape} | {port.meaning} | {port.timing} |"
            for name, port in self.ports.items()
        ]
        return "\n".join(["| port | direction | shape | meaning | timing |", "|---|---|---|---|---|", *rows])


def describe(shape: ShapeLike) -> str:
    """A shape in words, with the fields of a structure.

    Example:
        >>> describe(unsigned(8)), describe(data.StructLayout({"data": 4, "last": 1}))
        ('8', 'data 4, last 1')
    """
    if isinstance(shape, data.StructLayout):
        return ", ".join(f"{name} {_in_brackets(field.shape)}" for name, field in shape)
    if isinstance(shape, data.ArrayLayout):
        return f"{shape.length} x {_in_brackets(shape.elem_shape)}"
    if isinstance(shape, EnumType):
        return f"{shape.__name__} {Shape.cast(shape).width}"
    plain = Shape.cast(shape)
    return f"signed {plain.width}" if plain.signed else str(plain.width)


def _in_brackets(shape: ShapeLike) -> str:
    words = describe(shape)
    return f"({words})" if isinstance(shape, data.StructLayout | data.ArrayLayout) else words


def components() -> Iterator[type[wiring.Component]]:
    """Every component of `bitting_rtl`, by module and place in it."""
    for module in sorted(pkgutil.walk_packages(bitting_rtl.__path__, "bitting_rtl."), key=lambda found: found.name):
        for kind in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(kind) and issubclass(kind, wiring.Component) and kind.__module__ == module.name:
                yield kind


def example(kind: type[wiring.Component], spec: UnitSpec = EXAMPLE) -> wiring.Component:
    """A component as the page shows it.

    Args:
        kind: its class.
        spec: of the unit, if it wants one.

    Raises:
        TypeError: for a component that is made with a parameter this module does not know.
    """
    needed = [
        name for name, parameter in inspect.signature(kind).parameters.items() if parameter.default is inspect.Parameter.empty
    ]
    if unknown := sorted(set(needed) - set(_ARGUMENTS)):
        raise TypeError(f"{kind.__name__} wants {', '.join(unknown)}: add an example of it to bitting_rtl.lib.ports._ARGUMENTS")
    arguments = _ARGUMENTS | {"spec": spec}
    return kind(**{name: arguments[name] for name in needed})


def page() -> str:
    """The text of docs/rtl-ports.md."""
    parts = [_HEAD.format(spec=EXAMPLE.name)]
    for kind in components():
        summary = (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")
        parts.append(f"## {kind.__name__}\n\n`{kind.__module__}`: {summary}")
        parent = kind.__mro__[1]
        if parent is not wiring.Component:
            parts.append(f"Its ports are those of {parent.__name__}.")
            continue
        signature = example(kind).signature
        assert isinstance(signature, Ports), f"{kind.__name__} has ports without a meaning: build its signature from Ports"
        parts.append(signature.table())
        for where, spec in OTHERS.items():
            parts += _elsewhere(kind, signature, where, spec)
    return "\n\n".join(parts) + "\n"


def _elsewhere(kind: type[wiring.Component], signature: Ports, where: str, spec: UnitSpec) -> list[str]:
    """What is different in an engine of another spec; nothing, as a rule."""
    other = example(kind, spec).signature
    assert isinstance(other, Ports)
    added = {name: port for name, port in other.ports.items() if signature.ports.get(name) != port}
    gone = [f"`{name}`" for name in signature.ports if name not in other.ports]
    if not added and not gone:
        return []
    without = f" there is no {', '.join(gone)}, but" if gone else ""
    return [f"With {where}{without} there are:", Ports(added).table()]


_HEAD = """# Ports of every component

<!-- Made from the sources. Do not edit: change the component, then run: python -m bitting_rtl.lib.ports > docs/rtl-ports.md -->

What each component of `rtl/bitting_rtl` takes and gives. Widths are those of spec `{spec}`; a number alone is that many bits,
unsigned. Every component works on the rising edge of one clock and has a synchronous reset, unless it says otherwise. A stream
is a payload with `valid` (driven by the sender) and `ready` (by the receiver); a word moves in a clock in which both are high,
and the sender holds `valid` and the payload until then."""


if __name__ == "__main__":
    # By its own name, or the classes of this module would be there twice.
    print(importlib.import_module("bitting_rtl.lib.ports").page(), end="")
