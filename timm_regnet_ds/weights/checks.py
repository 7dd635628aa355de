"""Checks of a base whose weights are to be inherited."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from timm_regnet_ds.common.state_shapes import describe_differences, shapes_of

__all__ = ["check_finite", "check_state"]


def check_state(name: str, state: Mapping[str, Any], model: nn.Module) -> None:
    """Check the weights of a base.

    Args:
        name: what errors call the base.
        state: its weights.
        model: a model of the base's architecture and arguments.

    Raises:
        ValueError: missing or unknown names, other shapes, or values that are no tensors or not finite. The message
            names the first few.
    """
    for key, value in state.items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise ValueError(f"these are not the weights of {name}: {key} is of type {kind}, not a tensor")
    if differences := describe_differences(shapes_of(state), shapes_of(model.state_dict())):
        raise ValueError(f"these are not the weights of {name}: {differences}")
    check_finite(name, state, {key for key, _ in model.named_parameters(remove_duplicate=False)})


def check_finite(name: str, state: Mapping[str, Tensor], parameters: Collection[str]) -> None:
    """Check that weights are on a device and that they are finite numbers.

    Args:
        name: what errors call the model.
        state: its weights.
        parameters: the names that have to be finite; a buffer may hold an infinite bound.

    Raises:
        ValueError: weights on ``meta``, NaN or infinity.
    """
    for key, value in state.items():
        if value.is_meta:
            raise ValueError(f"the weights of {name} are on the meta device: they have no values ({key})")
        if key in parameters and value.numel() and not _is_finite(value):
            raise ValueError(f"the weights of {name} are not finite: {key} has NaN or infinity")


def _is_finite(value: Tensor) -> bool:
    real = torch.view_as_real(value) if value.is_complex() else value
    return all(bool(torch.isfinite(bound)) for bound in torch.aminmax(real.detach()))  # NaN is the bound of NaN
