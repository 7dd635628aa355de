"""Checks of a base whose weights are to be inherited."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["check_finite", "check_state"]

# Names listed in an error message.
_LISTED = 3


def check_state(name: str, state: Mapping[str, Any], model: nn.Module) -> None:
    """Check the weights of a base.

    Args:
        name: what errors call the base.
        state: its weights.
        model: a model of the base's architecture and arguments.

    Raises:
        ValueError: missing or unknown names, other shapes, or values that are not finite. The message names the first
            few.
    """
    expected = model.state_dict()
    missing = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in expected]
    if missing or unknown:
        parts = [f"{what} {_listed(keys)}" for what, keys in (("lacks", missing), ("has besides", unknown)) if keys]
        raise ValueError(f"these are not the weights of {name}: the base {' and '.join(parts)}")
    differing = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if state[key].shape != value.shape
    ]
    if differing:
        raise ValueError(f"these are not the weights of {name}: {_listed(differing)}")
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


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
