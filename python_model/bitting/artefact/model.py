"""What the owner keeps: a trained program in clear, whose codes are value indices. As secret as what it cost to train."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bitting import files
from bitting.artefact import container, interface_format, program_format
from bitting.errors import ArtefactError, missing_extra
from bitting.program.interface import NO_INTERFACE, Interface, of_program
from bitting.program.layers import Program


@dataclass(frozen=True, eq=False)
class Model:
    """An unlocked program and what is claimed of it.

    Attributes:
        program: layers; a code is the index of its weight among `UnitSpec.values`.
        claims: data set, accuracies and how they were measured; of a trained model also the configuration with its seed.
        interface: how a user's inputs become activations, and what the sums say; by default inputs are activations.

    Example:
        >>> import bitting, numpy, tempfile, pathlib
        >>> from bitting.program.layers import multilayer_perceptron
        >>> spec = bitting.parse_spec("tiny")
        >>> weights = numpy.arange(24).reshape(2, 12) % spec.codes
        >>> model = bitting.Model(multilayer_perceptron(spec, [weights], [numpy.zeros(2)], [0]))
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> model.save(path)
        >>> bitting.Model.load(path).program.parameters
        24
    """

    KIND: ClassVar[str] = "model"

    program: Program
    claims: dict[str, Any] = field(default_factory=dict, repr=False)  # a seed is not printed
    interface: Interface = field(default=NO_INTERFACE, repr=False)

    def __post_init__(self) -> None:
        if self.interface is NO_INTERFACE:
            object.__setattr__(self, "interface", of_program(self.program.spec, self.program.sample_words))

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """What the model answers, computed by the exact emulator.

        Args:
            inputs: (samples, *interface.shape), as the data that it was trained on.

        Returns:
            (samples, outputs) float32, see `Interface.values`: numbers in the target's units, or logits.

        Raises:
            ProgramError: if the inputs are not what the program reads.
            ExtraError: without PyTorch.
        """
        return self.interface.values(self.sums(inputs))

    def sums(self, inputs: np.ndarray) -> np.ndarray:
        """The same as the unit's own sums, (samples, outputs) int32: what the methods of `interface` take. Raises as a call."""
        with missing_extra("the emulator"):
            from bitting.emulator.emulate import Emulator
        emulator = Emulator(self.program, range(self.program.spec.codes))
        return np.asarray(emulator(self.interface.activations(inputs)).numpy())

    @property
    def reproducible(self) -> bool:
        """Its training began with a seed that was given: who knows or guesses it trains the same weights again.

        Files of versions that drew no seeds do not say so, but name the seed.
        """
        config = self.claims.get("config")
        return bool(self.claims.get("reproducible", isinstance(config, dict) and config.get("seed") is not None))

    def save(self, path: Path) -> None:
        """Write the file whole or not at all, for nobody else to read (mode 0600)."""
        tensors, fields = program_format.write("", self.program)
        tensors, fields = interface_format.added(self.interface, tensors, fields)
        container.save(path, self.KIND, self.program.spec, {**fields, "claims": self.claims}, tensors, mode=files.PRIVATE)

    @classmethod
    def load(cls, path: Path | str) -> Model:
        """Read and check a file.

        Raises:
            ArtefactError: if it is missing, too large, truncated, corrupted, foreign, an artefact, open to others, or does not
                fit its spec.
            SignatureError: if it was changed after it was signed.
        """
        return cls.of(container.load(path, cls.KIND))

    @classmethod
    def of(cls, contents: container.Contents) -> Model:
        """From a file that was read. Raises as `load`."""
        if files.open_to_others(contents.path):
            raise ArtefactError(
                f"{contents.path} is open to others; a model is secret, and its file has mode 0600: chmod 600 {contents.path}"
            )
        with container.malformed(contents.path):
            spec = contents.spec()
            contents.require_tensors(program_format.tensor_names("", contents.header) | interface_format.names(contents.header))
            program = program_format.read(contents.path, "", spec, contents.header, contents.tensors)
            interface = interface_format.read(contents.header, contents.tensors, spec, program.sample_words, program.outputs)
            return cls(program, dict(contents.header["claims"]), interface)
