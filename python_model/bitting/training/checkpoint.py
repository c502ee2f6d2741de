"""Where an interrupted training goes on: one file, written after every epoch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bitting import files
from bitting.errors import BittingError
from bitting.training import distributed, randomness
from bitting.training.recipes import TrainConfig
from bitting.unit.spec import UnitSpec


class Checkpoint:
    """State of both networks in one file, tied to the run that wrote it, and the seed of that run: as secret as the model.

    Attributes:
        state: of each network by its name, as `write` was given it.
        seed: as configured; else that of the run that is resumed, or a new secret one. The same in all processes.

    Raises:
        BittingError: if the file is of another run, or no checkpoint.
    """

    def __init__(self, path: Path | None, spec: UnitSpec, data: str, config: TrainConfig):
        self.path = path
        self.state: dict[str, Any] = {}
        seed = str(randomness.draw() if config.seed is None else config.seed)
        description = json.dumps([spec.id, data, asdict(config)], sort_keys=True)
        self._run = hashlib.sha256(description.encode()).hexdigest()
        if path and path.exists():
            files.require_private(path, "a checkpoint chooses a secret seed")
            try:
                saved = torch.load(path, weights_only=True)
            except Exception as error:  # torch raises many kinds for a file that is not its own
                raise BittingError(f"{path} is no checkpoint ({type(error).__name__}); remove it to start afresh") from None
            if not isinstance(saved, dict) or not isinstance(saved.get("state"), dict):
                raise BittingError(f"{path} is no checkpoint (it lacks the state of networks); remove it to start afresh")
            if saved.get("run") != self._run:
                raise BittingError(f"{path} belongs to another run (spec, data or settings); remove it to start afresh")
            self.state, seed = saved["state"], saved.get("seed", seed)
        self.seed = int(distributed.agreed(seed))

    def write(self, name: str, state: dict[str, Any]) -> None:
        """Keep the state of one network, and write the file if there is to be one."""
        self.state[name] = state
        if self.path and distributed.leads():
            with files.replacing(self.path, files.PRIVATE) as temporary:
                # As a file that is open: torch refuses a name that begins with its only dot, as that of a checkpoint may.
                with temporary.open("wb") as file:
                    torch.save({"run": self._run, "seed": str(self.seed), "state": self.state}, file)

    def remove(self) -> None:
        """The run is done: the file goes."""
        if self.path and distributed.leads():
            self.path.unlink(missing_ok=True)
