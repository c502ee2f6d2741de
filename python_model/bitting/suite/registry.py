"""All attacks of the suite, in the order in which they are run: what decides most first, for a run may have a budget."""

from __future__ import annotations

from bitting.errors import SuiteError
from bitting.suite.attack import Attack
from bitting.suite.chapters.counterfeits import Clone, Counterfeits
from bitting.suite.chapters.files_alone import Retraining, TwoFiles
from bitting.suite.chapters.fine_tuning import FineTuning
from bitting.suite.chapters.helper_data import HelperData
from bitting.suite.chapters.key_search import Exhaustive, HillClimbing, PartialKeys
from bitting.suite.chapters.leakage import InputsByTime, TableByTime, WeightsByCycles
from bitting.suite.chapters.ports import Ports, Residue
from bitting.suite.chapters.questions import Questions
from bitting.suite.chapters.relaxed_keys import FreeTable
from bitting.suite.chapters.screening import Screening
from bitting.suite.chapters.shuffle import Alignment, TwoCopies
from bitting.suite.chapters.soft_locks import Repair
from bitting.suite.chapters.wrong_keys import WrongKeys

ATTACKS: tuple[Attack, ...] = (
    FineTuning(), WrongKeys(), Screening(), FreeTable(), HillClimbing(), PartialKeys(), Exhaustive(), Alignment(), TwoCopies(),
    Repair(), TwoFiles(), Retraining(), WeightsByCycles(), TableByTime(), InputsByTime(), Ports(), Residue(),
    Counterfeits(), Clone(), HelperData(), Questions(),
)  # fmt: skip
_BY_NAME = {attack.name: attack for attack in ATTACKS}


def attack_named(name: str) -> Attack:
    """One of `ATTACKS`. Raises SuiteError if there is none of this name."""
    if name not in _BY_NAME:
        raise SuiteError(f"unknown attack {name!r}; allowed: {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def chosen(names: list[str]) -> tuple[Attack, ...]:
    """The attacks of these names, in the order of `ATTACKS`; all for no name. Raises SuiteError as `attack_named`."""
    wanted = {attack_named(name).name for name in names}
    return tuple(attack for attack in ATTACKS if not wanted or attack.name in wanted)
