"""From a name or a module to a model that can be measured, and its complexity."""

import pickle
from collections.abc import Mapping
from typing import Any

import torch
from timm.models import create_model
from torch import nn

from timm_regnet_ds.complexity import Complexity, check_name, measure

__all__ = ["label_of", "load_model", "load_pickled", "pickle_model"]


def load_model(
    model_or_name: str | nn.Module, model_args: Mapping[str, Any], input_size: Any, seed: int, dtype: str = "fp32"
) -> tuple[nn.Module, Complexity]:
    """Build a model by its name, or take a module as it is, and measure its complexity.

    Args:
        model_or_name: name of a timm model, or a module.
        model_args: arguments of ``timm.create_model``, for a name.
        input_size: as in `Setting`.
        seed: seed of the weights, for a name.
        dtype: the number format in which bytes are counted.

    Raises:
        ValueError: an unknown name, arguments or an image size that the model refuses, or arguments for a module.
        TypeError: neither a name nor a module.
    """
    if not isinstance(model_or_name, str):
        if model_args:
            raise ValueError("model_args go with a model's name: the module is built already")
        return model_or_name, measure(model_or_name, input_size, dtype=dtype)
    check_name(model_or_name)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = create_model(model_or_name, **model_args)
    return model, measure(model, input_size, dtype=dtype)


def pickle_model(model: nn.Module) -> bytes:
    """Pickle a module for `load_pickled`.

    Raises:
        ValueError: the module cannot be pickled.
    """
    try:
        return pickle.dumps(model)
    except Exception as error:
        raise ValueError(_NOT_PORTABLE.format(type(model).__name__, error)) from error


def load_pickled(pickled: bytes, input_size: Any) -> tuple[nn.Module, Complexity]:
    """`load_model` of a module of another process.

    Raises:
        ValueError: the module's class cannot be imported in this process.
    """
    try:
        model = pickle.loads(pickled)
    except Exception as error:
        raise ValueError(_NOT_PORTABLE.format("the module", error)) from error
    return load_model(model, {}, input_size, seed=0)


_NOT_PORTABLE = (
    "batch_size 'max' on the CPU tries batches in other processes, and {} cannot be sent to them ({}): give a number"
)


def label_of(model: str, model_args: Mapping[str, Any]) -> str:
    """The name with its arguments, such as ``scaled(base=resnet50, factor=2.0)``."""
    return f"{model}({', '.join(f'{k}={v}' for k, v in model_args.items())})" if model_args else model
