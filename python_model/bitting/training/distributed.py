"""Training over several processes: each takes its share of every batch, gradients are averaged (DistributedDataParallel).

torchrun --nproc-per-node 2 -m bitting train --data mnist -o model.safetensors
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bitting.errors import BittingError


def active() -> bool:
    """There are at least two processes, and this one is inside `group`."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def leads() -> bool:
    """This process writes files and talks to the user."""
    return not active() or dist.get_rank() == 0


@contextlib.contextmanager
def group() -> Iterator[None]:
    """The process group that `torchrun` describes in the environment; without one, nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def agreed(value: str) -> str:
    """What the leading process has, for all."""
    if not active():
        return value
    shared = [value]
    dist.broadcast_object_list(shared)
    return shared[0]


def share(batch: torch.Tensor) -> torch.Tensor:
    """This process's part of a global batch.

    Raises:
        BittingError: if it can not be shared out evenly: the mean of means would not be the mean.
    """
    if not active():
        return batch
    world = dist.get_world_size()
    if len(batch) % world:
        raise BittingError(f"a batch of {len(batch)} samples can not be shared by {world} processes; choose a multiple")
    return batch.chunk(world)[dist.get_rank()]


def wrap(module: nn.Module) -> nn.Module:
    """The module, its gradients averaged over the processes after each backward pass."""
    return DistributedDataParallel(module) if active() else module
