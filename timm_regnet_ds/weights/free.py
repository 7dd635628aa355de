"""Fresh values for weights whose inputs are zero, so that gradients reach the layers that compute these inputs."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .maps import MEAN, ZERO, Map
from .plan import Plan
from .record import run_hooked

__all__ = ["Freed", "free_zero_inputs"]

# An input below this share of the largest one is zero.
_ZERO = 1e-7


class Freed:
    """A part of a weight that was made fresh; `undo` makes it what it was."""

    def __init__(self, weight: Tensor, indices: tuple[Any, ...], fresh: Tensor) -> None:
        self.weight = weight
        self.indices = indices
        self.before = weight[indices]
        weight[indices] = fresh

    @torch.no_grad()
    def undo(self) -> None:
        self.weight[self.indices] = self.before


@torch.no_grad()
def free_zero_inputs(
    model: nn.Module, inputs: Sequence[Tensor], plan: Plan, maps: Mapping[str, list[Map]], fresh: Mapping[str, Tensor]
) -> list[Freed]:
    """Make weights fresh that read new inputs which are zero on the images.

    Args:
        model: with the assigned weights, of which some are changed.
        inputs: images.
        plan: from `trace`.
        maps: of each weight that is partly new, the maps of its axes.
        fresh: the weights as the class initializes them.
    """
    new_inputs = _new_inputs(plan, maps)
    largest = _largest_inputs(model, inputs, {name.rpartition(".")[0] for name in new_inputs}) if new_inputs else {}
    freed: list[Freed] = []
    for name, (axis, new) in new_inputs.items():
        found = largest.get(name.rpartition(".")[0])
        if found is None or len(found) != len(maps[name][axis].state):  # groups
            continue
        free = new[(found[new] <= _ZERO * found.max()).numpy()]
        if len(free):
            weight = model.get_parameter(name)
            at = [slice(None)] * weight.ndim
            at[axis] = torch.from_numpy(free)  # type: ignore[call-overload]
            indices = tuple(at)
            freed.append(Freed(weight, indices, fresh[name].to(weight)[indices]))
    return freed


def _new_inputs(plan: Plan, maps: Mapping[str, list[Map]]) -> dict[str, tuple[int, NDArray[np.int64]]]:
    """Of each weight that reads new channels which are zero or a mean, the axis and their indices."""
    found = {}
    for name, axes_maps in maps.items():
        axes = plan.input_axes(name)
        if name.rpartition(".")[2] != "weight" or len(axes) != 1:
            continue
        (axis,) = axes
        new = axes_maps[axis].where(MEAN, ZERO)
        if len(new):
            found[name] = axis, new
    return found


def _largest_inputs(model: nn.Module, inputs: Sequence[Tensor], layers: Container[str]) -> dict[str, Tensor]:
    """The largest absolute value of each input channel of some convolutions and linear layers."""
    found: dict[str, Tensor] = {}
    handles: list[Any] = []
    for name, module in model.named_modules():
        if name not in layers or not isinstance(module, (nn.Linear, nn.Conv2d)):
            continue

        def hook(module: nn.Module, args: Any, name: str = name) -> None:
            x = args[0]
            axis = -1 if isinstance(module, nn.Linear) else 1
            largest = x.detach().abs().movedim(axis, 0).flatten(1).amax(1)
            found[name] = torch.maximum(found[name], largest) if name in found else largest

        handles.append(module.register_forward_pre_hook(hook))
    run_hooked(model, inputs, handles)
    return found
