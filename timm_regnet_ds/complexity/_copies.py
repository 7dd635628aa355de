"""Copies of modules, with weights and without."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Copier", "with_values", "without_values"]

_AS_IS = {int, float, str, bool, type(None), type, torch.dtype, torch.device, FunctionType, BuiltinFunctionType}
_HOOKS = frozenset(name for name in vars(nn.Module()) if "hooks" in name)


class Copier:
    """Copies a module without its hooks, with ``tensor(t)`` for every tensor t. ``copy.deepcopy`` is much slower."""

    def __init__(self, tensor: Callable[[Tensor], Tensor]) -> None:
        self.tensor = tensor
        self.memo: dict[int, Any] = {}

    def module(self, root: nn.Module) -> nn.Module:
        root = getattr(root, "_orig_mod", root)  # what torch.compile has wrapped
        new = [m for m in root.modules() if id(m) not in self.memo and "_orig_mod" not in m._modules]
        self.memo.update((id(m), object.__new__(type(m))) for m in new)
        for m in new:
            state = {k: type(v)() if k in _HOOKS else self.value(v) for k, v in vars(m).items()}
            state.pop("_compiled_call_impl", None)
            vars(self.memo[id(m)]).update(state)
        return self.memo[id(root)]

    def value(self, value: Any) -> Any:
        if type(value) in _AS_IS:
            return value
        if id(value) not in self.memo:
            self.memo[id(value)] = self.unseen(value)
        return self.memo[id(value)]

    def unseen(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            new = self.tensor(value)
            return nn.Parameter(new, value.requires_grad) if isinstance(value, nn.Parameter) else new
        if isinstance(value, nn.Module):
            return self.module(value)
        if type(value) in (dict, OrderedDict):
            return type(value)((k, self.value(v)) for k, v in value.items())
        if type(value) in (list, tuple, set):
            return type(value)(map(self.value, value))
        return copy.deepcopy(value, self.memo)


def without_values(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")


def with_values(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()
