"""Jobs: the parts of attacks that run by themselves, in any order, on any process, with the same result.

A job is named by what it does, and its seed follows from the seed of the run and from that name. So a run that was killed goes
on with the jobs that have no result, and processes and orders leave no trace in what is found. Machines of another kind may,
in what is trained: arithmetic in floating point.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_HASH_DIGITS = 12
_SEED_BITS = 48


def derived(seed: int, *names: str | int) -> int:
    """A seed of 48 bits that follows from another and from names: the first bits of SHA-256 over all of them."""
    text = json.dumps([seed, *names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()) >> (256 - _SEED_BITS)


@dataclass(frozen=True)
class Job:
    """A part of an attack on one case.

    Attributes:
        attack: name of the attack.
        case: id of the case.
        parameters: what the attack's `run` is told; JSON.
        seed: of everything random in it.
    """

    attack: str
    case: str
    parameters: Mapping[str, Any]
    seed: int

    @classmethod
    def of(cls, attack: str, case: str, parameters: Mapping[str, Any], seed: int) -> Job:
        """With its own seed, from that of the run."""
        return cls(attack, case, dict(parameters), derived(seed, attack, case, _text(parameters)))

    @property
    def id(self) -> str:
        """A name for a file: readable, and different for every job of every run."""
        digest = hashlib.sha256(json.dumps([self.attack, self.case, _text(self.parameters), self.seed]).encode()).hexdigest()
        return f"{_slug(self.attack)}.{_slug(self.case)}.{digest[:_HASH_DIGITS]}"


@dataclass(frozen=True)
class Outcome:
    """What a job came to.

    Attributes:
        values: JSON; the same on every machine of one kind with the same tools, whoever runs it.
        measured: what depends on the machine and the moment (rates, times), kept apart.
    """

    values: dict[str, Any]
    measured: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A job's result beside what it was asked. `seconds`: of the processor."""

    parameters: Mapping[str, Any]
    values: Mapping[str, Any]
    measured: Mapping[str, Any]
    seconds: float


def _text(parameters: Mapping[str, Any]) -> str:
    return json.dumps(parameters, sort_keys=True)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
