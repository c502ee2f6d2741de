"""A state machine with a register a state."""

from collections.abc import Sequence

from amaranth import C, Cat, Module, Signal, Value


class OneHot:
    """To know the state takes no logic, which a binary number does wherever it is asked for; it costs a flip-flop a state.

    Call `connect` when all has been said of what happens in which state.

    Attributes:
        at: for each state, whether it is the present one: what happens in it belongs into `m.If(states.at[name])`.
    """

    def __init__(self, m: Module, names: Sequence[str]):
        """`names`: of the states; reset leads to the first one."""
        self._m = m
        self.at = {name: Signal(name=f"in_{name.lower()}", init=name == names[0]) for name in names}
        # Each way from a state to another is a signal of its own. Were they assigned to the registers one after the other,
        # synthesis would put them in order, for it can not know that no two are taken at once.
        self._out: dict[str, list[Value]] = {name: [] for name in names}
        self._in: dict[str, list[Value]] = {name: [] for name in names}

    def go(self, here: str, there: str, instead: Value | None = None, other: str = "") -> None:
        """From one state to another in the next clock; where `instead` is high, to `other`."""
        self._way(here, there, C(1, 1) if instead is None else ~instead)
        if instead is not None:
            self._way(here, other, instead)

    def _way(self, here: str, there: str, taken: Value) -> None:
        way = Signal(name=f"{here.lower()}_to_{there.lower()}")
        self._m.d.comb += way.eq(taken)
        self._out[here].append(way)
        self._in[there].append(way)

    def connect(self, forced: Value = C(0, 1), there: str = "") -> None:
        """Let the states follow each other. `forced`: from any state to `there`."""
        for name, state in self.at.items():
            self._m.d.sync += state.eq((state & ~Cat(self._out[name]).any()) | Cat(self._in[name]).any())
        if there:
            with self._m.If(forced):
                self._m.d.sync += [state.eq(name == there) for name, state in self.at.items()]
