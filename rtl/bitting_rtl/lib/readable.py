r"""Exported Verilog with names that people can read. The logic stays: names are replaced one by one, equal modules become one.

Yosys keeps names apart by numbers (`\busy$278 `), names what has none `\$11 `, and writes a module for each instance. Here no
name is escaped, ports keep the names of the component, and each component is one module, under what its class says of itself.
"""

import inspect
import itertools
import re
import textwrap
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from amaranth.hdl import Elaboratable, Fragment
from amaranth.lib import wiring

from bitting_rtl.lib.ports import EVERY_CLOCK, Port, Ports

_NAME = r"\\\S+|[A-Za-z_][\w$]*"
_MODULE = re.compile(rf"^module ({_NAME}) ?\((.*?)\);\n(.*?)^endmodule\n", re.MULTILINE | re.DOTALL)
_DECLARATION = re.compile(rf"^  (input|output|wire|reg|integer) (?:signed )?(?:\[\d+:\d+\] )?({_NAME})")
_INSTANCE = re.compile(rf"^  ({_NAME}) +({_NAME}) +\($")
_CONNECTION = re.compile(rf"^    \.({_NAME}) ?\((.*)$")
#: Attributes and numbers are no names; the space that ends an escaped name goes with it.
_TOKEN = re.compile(r"\(\* .*? \*\)|\d+'\w+|\$\w+|\\\S+ |[A-Za-z_][\w$]*")
_WIDTH = 120


@dataclass(frozen=True)
class _Module:
    """A module as Yosys wrote it: its ports and the lines between header and end."""

    ports: list[str]
    lines: list[str]

    def instances(self) -> Iterator[tuple[str, str]]:
        """(module, instance) of each."""
        yield from ((found[1], found[2]) for line in self.lines if (found := _INSTANCE.match(line)))

    def names(self, modules: "Mapping[str, _Module]", reserved: Collection[str]) -> dict[str, str]:
        """Name -> the readable one, none of `reserved`. Ports have the first choice, then instances."""
        declared = (found[2] for line in self.lines if (found := _DECLARATION.match(line)))
        # A port with the name of its instance would hide it.
        hidden = {instance: modules[inner].ports for inner, instance in self.instances() if inner in modules}
        chosen: dict[str, str] = {}
        for name in (*self.ports, *(instance for _, instance in self.instances()), *declared):
            if name not in chosen:
                ports = {_readable(port, reserved) for port in hidden.get(name, ())}
                chosen[name] = _free(_readable(name, reserved), {*chosen.values(), *ports})
        return chosen


def readable(text: str, component: wiring.Component, name: str) -> str:
    """Rewrite the Verilog of a component.

    Args:
        text: from `bitting_rtl.lib.verilog.to_verilog`, perhaps with comments before it.
        component: another object of the same kind, which says what each module is.
        name: of the top module, which keeps it and its ports.
    """
    modules = {found[1]: _Module(re.findall(_NAME, found[2]), found[3].splitlines()) for found in _MODULE.finditer(text)}
    # What Yosys escapes though it need not be is a word of Verilog or SystemVerilog.
    reserved = set(re.findall(r"\\([A-Za-z_]\w*) ", text))
    names = {path: module.names(modules, reserved) for path, module in modules.items()}
    kinds = dict(_kinds(Fragment.get(component, None), name))
    final: dict[str, str] = {}  # path -> name of the module
    written: dict[tuple[str, ...], str] = {}  # what is in it -> the same
    texts: dict[str, str] = {}
    # What is inside comes first: two modules are equal if all that they are made of is.
    for path in sorted(modules, key=lambda path: -path.count(".")):
        kind = kinds[_unnumbered(path).removeprefix("\\")]
        ports = [names[path][port] for port in modules[path].ports]
        lines = _renamed(modules[path].lines, names, path, final)
        content = (type(kind).__name__, *ports, *lines)
        if content not in written:
            wanted = name if path == name else f"{name}_{_snake(type(kind).__name__)}"
            written[content] = _free(wanted, written.values())
            texts[path] = _module(written[content], ports, lines, kind)
        final[path] = written[content]
    return text[: text.index("module ")] + "\n".join(texts[path] for path in modules if path in texts)


def _kinds(fragment: Fragment, path: str) -> Iterator[tuple[str, Elaboratable]]:
    """Every module by its path, with the object of ours that it was made from."""
    ours = [origin for origin in fragment.origins or () if type(origin).__module__.startswith("bitting_rtl.")]
    if ours:
        yield path, ours[0]
    for inner, name, _ in fragment.subfragments:
        yield from _kinds(inner, f"{path}.{name}")


def _renamed(lines: list[str], names: dict[str, dict[str, str]], path: str, final: dict[str, str]) -> list[str]:
    """The lines of a module with readable names; those inside it have theirs already."""
    own, inner = names[path], ""

    def replaced(found: re.Match[str]) -> str:
        token = found[0].rstrip(" ")
        return own.get(token, token) + (found[0][len(token) :] if token not in own else "")

    done = []
    for line in lines:
        if instance := _INSTANCE.match(line):
            inner = instance[1]
            line = f"  {final.get(inner, inner)} {own[instance[2]]} ("
        elif connection := _CONNECTION.match(line):
            port = names.get(inner, {}).get(connection[1], connection[1])
            line = f"    .{port}({_TOKEN.sub(replaced, connection[2])}"
        else:
            line = _TOKEN.sub(replaced, line)
        done.append(line)
    return done


def _module(name: str, ports: list[str], lines: list[str], kind: Elaboratable) -> str:
    """A module under the first line of its class's docstring, each port beside what it is for."""
    signature = getattr(kind, "signature", None)
    meanings = signature.ports if isinstance(signature, Ports) else {}
    summary = (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")
    head = textwrap.wrap(f"{type(kind).__name__}: {summary}", _WIDTH, initial_indent="// ", subsequent_indent="// ")
    listed = textwrap.wrap(", ".join(ports), _WIDTH, initial_indent="  ", subsequent_indent="  ")
    body = [line + _meaning(line, meanings) for line in lines]
    return "\n".join([*head, f"module {name} (", *listed, ");", *body, "endmodule", ""])


def _meaning(line: str, meanings: Mapping[str, Port]) -> str:
    found = _DECLARATION.match(line)
    if not found or found[1] not in ("input", "output"):
        return ""
    port = meanings.get(found[2]) or meanings.get(re.sub("_(payload|valid|ready)$", "", found[2]))
    if not port:
        return ""
    return f"  // {port.meaning}{'' if port.timing == EVERY_CLOCK else '; ' + port.timing}"


def _readable(name: str, reserved: Collection[str]) -> str:
    """Without escape, numbers that only keep names apart, and double underscores."""
    base = re.sub(r"\W+|__+", "_", _unnumbered(name.removeprefix("\\"))).strip("_")
    if not base or base.isdecimal():
        return "net"  # of an expression that has no name
    return f"{base}_" if base in reserved else base


def _unnumbered(name: str) -> str:
    return re.sub(r"\$\d+", "", name)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _free(wanted: str, taken: Collection[str]) -> str:
    """The name itself, or with the lowest number from 2 on that nobody has."""
    choices = (f"{wanted}_{number}" for number in itertools.count(2))
    return wanted if wanted not in taken else next(choice for choice in choices if choice not in taken)
