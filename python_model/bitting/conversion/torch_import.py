"""A PyTorch model named on a command line: a class or function of the user's, and a file of weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bitting.data import own_code
from bitting.errors import ConversionError


def from_torch(name: str, weights: Path | str | None = None) -> nn.Module:
    """Build a model and load its weights.

    Args:
        name: `module:Class`, or `module:function` that gives the model; called without arguments.
        weights: a state dictionary as `torch.save(model.state_dict(), path)` writes it; none: as the model is built.

    Returns:
        The model, on the CPU and in evaluation mode.

    Raises:
        ConversionError: if there is no such model, or the file is no state dictionary of it. Files that hold anything but
            tensors are refused: they could run code.
    """
    if ":" not in name:
        raise ConversionError(f"--torch {name}: allowed is module:Class, or module:function that gives the model")
    model = own_code.call("--torch", name, "module:Class, or module:function that gives the model", ConversionError)
    if not isinstance(model, nn.Module):
        raise ConversionError(f"--torch {name} gives {type(model).__name__}; allowed is a torch.nn.Module")
    if weights is not None:
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise ConversionError(f"--weights {weights} does not exist") from None
        except Exception as error:  # torch and pickle raise many kinds
            what = f"is no file of tensors alone ({type(error).__name__})"
            raise ConversionError(f"--weights {weights} {what}; write one by torch.save(model.state_dict(), path)") from None
        try:
            model.load_state_dict(state)
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ConversionError(f"--weights {weights} does not fit {name}: {reason}") from None
    return model.cpu().eval()
