"""A user's model as a graph with shapes, and each node's place in the user's code."""

from __future__ import annotations

import contextlib
import copy
import io
import re

import numpy as np
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from bitting.conversion import no_place
from bitting.errors import ConversionError


def as_floats(values: torch.Tensor | np.ndarray) -> torch.Tensor:
    """Numbers of any kind as float32. Raises ConversionError for what are none."""
    try:
        return torch.as_tensor(values).float()
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConversionError(f"the samples are no array of numbers ({reason}); give a tensor or a numpy array") from None


def check_numbers(model: nn.Module, calibration: torch.Tensor) -> None:
    """Refuse what nothing can be converted from.

    Raises:
        ConversionError: if a parameter, a buffer or a calibration input is not finite, if there are no calibration inputs, or
            if their shape is none of (samples, features), (samples, channels, length) and (samples, channels, H, W).
    """
    tensors = [*model.named_parameters(), *model.named_buffers(), ("the calibration input", calibration)]
    bad = [name for name, tensor in tensors if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())]
    if bad:
        raise ConversionError(
            f"{', '.join(bad)}: not a number, or infinite; train or load the model properly before conversion"
        )
    if calibration.ndim not in (2, 3, 4) or not len(calibration):
        raise ConversionError(
            f"calibration inputs have shape {tuple(calibration.shape)}; allowed are (samples, features), "
            "(samples, channels, length) and (samples, channels, H, W)"
        )


#: Of a kind of which not all have a place.
_HAS_PLACE = (nn.MaxPool1d, nn.MaxPool2d)


class _Tracer(fx.Tracer):
    """Remembers where in the user's code each call stands."""

    record_stack_traces = True


def trace(model: nn.Module, calibration: torch.Tensor) -> fx.GraphModule:
    """The model's graph with the shape of every value.

    Raises:
        ConversionError: if the model's course depends on its data, or it can not be run.
    """
    model = copy.deepcopy(model).cpu().eval()
    tracer = _Tracer()
    if tracer.is_leaf_module(model, ""):  # one layer alone would be traced into its functions
        model = nn.Sequential(model)
    try:
        graph = fx.GraphModule(model, tracer.trace(model))
        with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):  # it prints a traceback of what it raises
            ShapeProp(graph).propagate(calibration[:2].cpu().float())
    except Exception as error:  # tracing runs the user's code, which may raise anything
        modules = [
            (name, type(module).__name__) for name, module in model.named_modules() if not isinstance(module, _HAS_PLACE)
        ]
        if named := [f"{name}: {kind} {no_place.refusal(kind)}" for name, kind in modules if no_place.reason(kind)]:
            raise ConversionError(f"the model has parts with no place on the unit: {'; '.join(named)}") from None
        cause = error.__cause__ or error  # torch names its node first, and what went wrong there last
        reason = str(cause).strip().splitlines()
        raise ConversionError(
            f"the model can not be traced with samples of shape {tuple(calibration.shape)} ({type(cause).__name__}: "
            f"{reason[0] if reason else 'no reason given'}); its forward must take one tensor, and neither its course nor its "
            "shapes may depend on what is in it"
        ) from None
    return graph


def source_location(node: fx.Node) -> str:
    """File and line of the user's code that a node stands for: the innermost outside of torch."""
    calls = re.findall(r'File "([^"]+)", line (\d+)', node.stack_trace or "")
    own = [f"{path}:{line}" for path, line in calls if "/torch/" not in path]
    return own[-1] if own else "unknown place"
