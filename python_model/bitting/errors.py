"""The errors a user can cause, each of one line: what is wrong, what was found, what is allowed, what to do."""

from __future__ import annotations


class BittingError(Exception):
    """A mistake outside the program (bad input, missing tool, wrong device): shown without a traceback."""


class SpecError(BittingError):
    """A unit specification that violates a range, or two specifications that differ where they must agree."""


class DeviceError(BittingError):
    """A device key file that is missing, malformed, readable by others, or for another family."""


class ArtefactError(BittingError):
    """A model or artefact file that is truncated, corrupted, foreign, or too large for its specification."""


class ProgramError(BittingError):
    """A layer program that the specification can not hold."""


class ConversionError(BittingError):
    """A model that has no place on the unit: what can not be mapped, each with its place in the user's code."""


class LockError(BittingError):
    """A lock that does not exist, or that a specification can not hold."""


class SignatureError(BittingError):
    """An artefact that is unsigned, signed by someone else, or changed after it was signed."""


class DatasetError(BittingError):
    """A data set that is unknown, missing, or fails its checksum."""


class ToolError(BittingError):
    """An external tool (compiler, simulator) that is missing or failed."""


class SimulationError(BittingError):
    """The simulated engine stopped, reported an error, or sent something that is not a result."""
