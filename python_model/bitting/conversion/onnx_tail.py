"""The end of an ONNX graph: which output answers, and what only says the answer in another way."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bitting.errors import ConversionError

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

#: Of a choice among answers these make a label; before it they mean something else.
_OF_LABELS = (
    "Cast",
    "Reshape",
    "Identity",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "ArrayFeatureExtractor",
    "LabelEncoder",
    "Gather",
)
#: At the end these change no answer.
_LEFT_OUT = ("ZipMap", "Normalizer", "Identity", "Cast")
#: Their answers are scores, and which is the largest.
_CLASSIFIERS = ("LinearClassifier", "TreeEnsembleClassifier", "SVMClassifier")


class Tail(NamedTuple):
    """The value that answers, and what was left out after it."""

    value: str
    notes: list[str]


def answers_of(graph: GraphProto, output: str | None = None) -> Tail:
    """The scores or numbers that a graph's output says, however it says them.

    Args:
        graph: with at least one output.
        output: name of the wanted one; by default all outputs must say the same.

    Raises:
        ConversionError: if there is no such output, or outputs say different things.
    """
    names = [value.name for value in graph.output]
    if output is not None and output not in names:
        raise ConversionError(f"has no output {output!r}; allowed: {', '.join(names)}")
    makers = {name: node for node in graph.node for name in node.output if name}
    tails = {name: _cut(makers, name) for name in ([output] if output is not None else names)}
    values = {tail.value for tail in tails.values()}
    if len(values) > 1:
        raise ConversionError(f"has outputs that say different things ({', '.join(names)}); choose one by its name")
    notes = [note for tail in tails.values() for note in tail.notes]
    return Tail(values.pop(), list(dict.fromkeys(notes)))


def _cut(makers: dict[str, NodeProto], name: str) -> Tail:
    """Back from an output to what it says."""
    notes: list[str] = []
    chosen = _choice(makers, name)
    if chosen is not None:
        notes.append(f"the label that {name} gives is left out: the largest answer is the class")
        name = chosen
    while name in makers:
        node = makers[name]
        scores = makers.get(node.input[0]) if node.op_type == "ArrayFeatureExtractor" else None
        if scores is not None and scores.op_type in _CLASSIFIERS:  # of two classes, yes
            notes.append(f"{node.op_type} ({node.name or name}) is left out: the answers are of both classes")
            name = node.input[0]
        elif node.op_type in _LEFT_OUT and node.input[0] in makers:
            if node.op_type in ("ZipMap", "Normalizer"):
                notes.append(f"{node.op_type} ({node.name or name}) is left out: the answers are what comes before it")
            name = node.input[0]
        elif pair := _second_of_two(makers, node):
            notes.append(f"{node.op_type} ({node.name or name}) of no and yes is left out: the answer is the second, yes")
            name = pair
        else:
            break
    return Tail(name, notes)


def _choice(makers: dict[str, NodeProto], name: str) -> str | None:
    """The answers among which an output says the largest; None if it says none."""
    while name in makers:
        node = makers[name]
        if node.op_type == "ArgMax":
            return node.input[0]
        if node.op_type in _CLASSIFIERS:
            return node.output[1] if name == node.output[0] else None
        if node.op_type not in _OF_LABELS:
            return None
        name = next((source for source in node.input if source in makers and _varies(makers, source)), "")
    return None


def _varies(makers: dict[str, NodeProto], name: str) -> bool:
    """Whether a value may depend on the input: it is made from others."""
    return any(makers[name].input)


def _second_of_two(makers: dict[str, NodeProto], node: NodeProto) -> str | None:
    """p, of a node that gives (1 - p, p)."""
    if node.op_type != "Concat" or len(node.input) != 2:
        return None
    rest = makers.get(node.input[0])
    if rest is not None and rest.op_type == "Sub" and rest.input[1] == node.input[1] and rest.input[0] not in makers:
        return node.input[1]
    return None
