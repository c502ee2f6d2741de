"""How many lanes should share a sample: what each number costs in memory, clocks and idle lanes, and which is chosen.

More lanes a sample answer one sample sooner, and need less of the scratch memory; fewer samples are computed together. Where a
network leaves its bands (`bitting.program.banding`), one lane of a sample works and the others idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bitting.errors import ProgramError
from bitting.program import latency
from bitting.program.bands import Shape
from bitting.program.lowering import Operation, left_bands, lower
from bitting.unit.spec import ADDRESS_FIELD_BITS, UnitSpec

#: Instead of a number: the one that `chosen` finds.
AUTO = "auto"

#: A larger number is chosen only if it takes less than this part of the clocks.
_WORTH = 0.9


@dataclass(frozen=True)
class Choice:
    """What a number of stripes means for a network.

    Attributes:
        stripes: lanes that share a sample.
        words: scratch words that the network needs.
        clocks: from the first layer to the last, about (`bitting.program.latency`), with average codes.
        samples: computed in them.
        busy: of all lanes' clocks, the share in which they work on an answer; 1 if each has a sample.
        leaves: the first operation that does not stay in bands, and why; empty if there is none.
        refused: why the number is not possible; empty if it is.
    """

    stripes: int
    words: int = 0
    clocks: int = 0
    samples: int = 0
    busy: float = 0.0
    leaves: str = ""
    refused: str = ""


def choices(spec: UnitSpec, input_shape: Shape, operations: Sequence[Operation]) -> list[Choice]:
    """One for each number of stripes that the lanes of a spec allow; arguments as of `lower`."""
    found: list[Choice] = []
    for stripes in (1 << power for power in range(spec.lanes.bit_length())):
        if spec.lanes % stripes:
            continue
        words = 1 << (ADDRESS_FIELD_BITS - (stripes > 1))
        roomy = replace(spec, stripes=stripes, scratch_words=words)
        try:
            program = lower(roomy, input_shape, operations)
        except ProgramError as error:
            found.append(Choice(stripes, refused=str(error)))
            continue
        clocks = latency.clocks(program, program.tile_cycles(range(spec.codes)))
        alone = found[0].clocks if found else clocks
        busy = alone / (clocks * stripes) if found and not found[0].refused else 1.0
        leaves = left_bands(roomy, input_shape, operations) if stripes > 1 else ""
        found.append(Choice(stripes, program.reach, clocks, program.samples, min(1.0, busy), leaves))
    return found


def fitting(spec: UnitSpec, found: Sequence[Choice]) -> list[Choice]:
    """Those that are possible, and fit the scratch memory of the spec."""
    room = {1: spec.scratch_words}
    most = 1 << (ADDRESS_FIELD_BITS - 1)
    return [each for each in found if not each.refused and each.words <= room.get(each.stripes, min(spec.scratch_words, most))]


def chosen(spec: UnitSpec, found: Sequence[Choice]) -> Choice:
    """The one that answers one sample soonest; of those that take about as long the one with the fewest stripes.

    Raises:
        ProgramError: if none fits.
    """
    fit = fitting(spec, found)
    if not fit:
        needs = ", ".join(f"{each.words} with stripes = {each.stripes}" for each in found if not each.refused)
        raise ProgramError(
            f"no number of stripes fits: scratch_words = {spec.scratch_words} of spec {spec.name!r}, and the network needs "
            f"{needs or 'more than any has'}; enlarge it"
        )
    best = fit[0]
    for each in fit[1:]:
        if each.clocks < _WORTH * best.clocks:
            best = each
    return best


def why(spec: UnitSpec, choice: Choice, found: Sequence[Choice]) -> str:
    """A sentence for people: why this number."""
    others = [
        f"{each.stripes}: {each.refused}" if each.refused else f"{each.stripes}: {each.clocks} clocks, {each.words} words"
        for each in found
        if each != choice
    ]
    ends = f"; {choice.leaves}" if choice.leaves else ""
    return (
        f"stripes = {choice.stripes}: about {choice.clocks} clocks for {choice.samples} samples, {choice.words} of "
        f"{spec.scratch_words} scratch words, lanes busy {100 * choice.busy:.0f}%{ends} (others: {'; '.join(others) or 'none'})"
    )
