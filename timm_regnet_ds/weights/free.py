"""Weights that read inputs which are zero anyway: fresh ones, so that gradients reach what makes the inputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .assign import Assigned
from .maps import MEAN, ZERO
from .plan import Plan
from .record import run_hooked

__all__ = ["free_zero_inputs"]

# An input below this share of the largest one is zero.
_ZERO = 1e-7


def free_zero_inputs(
    model: nn.Module, inputs: Sequence[Tensor], plan: Plan, assigned: Assigned, fresh: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights that change: fresh ones for new inputs that are zero on the images.

    Args:
        model: with the assigned weights.
        inputs: images.
        plan: from `trace`.
        assigned: the model's weights.
        fresh: the weights as the class initializes them.
    """
    largest = _largest_inputs(model, inputs)
    changed: dict[str, Tensor] = {}
    for name, maps in assigned.maps.items():
        module, _, leaf = name.rpartition(".")
        axes = plan.input_axes(name)
        if leaf != "weight" or module not in largest or len(axes) != 1:
            continue
        (axis,) = axes
        found = largest[module]
        if len(found) != len(maps[axis].state):  # groups
            continue
        new = maps[axis].where(MEAN, ZERO)
        free = new[(found[new] <= _ZERO * found.max()).numpy()] if len(new) else new
        if len(free):
            weight = assigned.state[name].clone()
            indices = [np.arange(n) for n in weight.shape]
            indices[axis] = free
            weight[np.ix_(*indices)] = fresh[name][np.ix_(*indices)]
            changed[name] = weight
    return changed


def _largest_inputs(model: nn.Module, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """The largest absolute value of each input channel of each convolution and linear layer."""
    found: dict[str, Tensor] = {}
    handles: list[Any] = []
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            continue

        def hook(module: nn.Module, args: Any, name: str = name) -> None:
            x = args[0]
            axis = -1 if isinstance(module, nn.Linear) else 1
            largest = x.detach().abs().movedim(axis, 0).flatten(1).amax(1)
            found[name] = torch.maximum(found[name], largest) if name in found else largest

        handles.append(module.register_forward_pre_hook(hook))
    run_hooked(model, inputs, handles)
    return found
