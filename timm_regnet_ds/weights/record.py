"""The operators that a model's forward calls, in order, as the dispatcher sees them. No tensor is kept."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["Op", "Recording", "Ref", "record", "refs", "run_hooked", "tensors"]


@dataclass(frozen=True)
class Ref:
    """A tensor that an operator read or wrote.

    Attributes:
        id: a number of its own within its recording.
        shape: its shape when the operator had run.
        is_bool: whether it is a mask.
    """

    id: int
    shape: tuple[int, ...]
    is_bool: bool


@dataclass(frozen=True)
class Op:
    """A call of an operator. Tensors among its arguments are `Ref`s.

    Attributes:
        name: its name without namespace and overload: ``convolution``.
        args: all arguments by their names in the schema, with defaults.
        out: what it returned.
        module: the innermost module in whose forward it was called.
    """

    name: str
    args: dict[str, Any]
    out: Any
    module: str


@dataclass(frozen=True)
class Recording:
    """A forward.

    Attributes:
        ops: the operators in order, without those inside of added modules.
        out: what the model returned, tensors as `Ref`s.
        parameters: name to `Ref`, for parameters and buffers.
        added: of each added module that ran, the `Ref`s that it took and that it returned.
    """

    ops: list[Op]
    out: Any
    parameters: dict[str, Ref]
    added: dict[str, tuple[list[Ref], list[Ref]]]


# Operators that return their argument, and operators that return no tensor. One model may call them where the other
# does not: a slice of all elements is an alias.
_SAME = {"lift_fresh", "detach", "detach_", "alias", "contiguous"}
_IGNORED = _SAME | {"device", "_assert_async", "_local_scalar_dense", "is_nonzero"}


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.ids: Any = WeakTensorKeyDictionary()
        self.count = 0
        self.ops: list[Op] = []
        self.stack: list[str] = [""]
        self.in_added = 0

    def ref(self, tensor: torch.Tensor) -> Ref:
        number = self.ids.get(tensor)
        if number is None:
            self.count += 1
            number = self.ids[tensor] = self.count
        return Ref(number, tuple(tensor.shape), tensor.dtype == torch.bool)

    def refs(self, value: Any) -> Any:
        """A copy of nested arguments with each tensor replaced by its `Ref`."""
        return _map(value, self.ref)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        before = None if self.in_added else (self.refs(args), self.refs(kwargs))
        out = func(*args, **kwargs)
        name = func._schema.name.partition("::")[2]
        if name in _SAME and isinstance(out, torch.Tensor):
            self.ids[out] = self.ref(args[0]).id
        if before is not None and name not in _IGNORED:
            schema = func._schema.arguments
            named = {a.name: a.default_value for a in schema if a.has_default_value()}
            named |= {a.name: value for a, value in zip(schema, before[0], strict=False)}
            self.ops.append(Op(name, named | before[1], self.refs(out), self.stack[-1]))
        return out


def record(model: nn.Module, inputs: Sequence[torch.Tensor], added: Sequence[str] = ()) -> Recording:
    """Run a model without gradients and record it.

    Args:
        model: in evaluation mode.
        inputs: its arguments.
        added: names of modules whose operators are left out.
    """
    recorder = _Recorder()
    parameters: dict[str, Ref] = {}
    for named in (model.named_parameters, model.named_buffers):
        parameters |= {name: recorder.ref(tensor) for name, tensor in named(remove_duplicate=False)}
    seen: dict[str, tuple[list[Ref], list[Ref]]] = {}
    with _hooks(model, recorder, set(added), seen), torch.no_grad(), recorder:
        out = model(*inputs)
    return Recording(recorder.ops, recorder.refs(out), parameters, seen)


@contextmanager
def _hooks(
    model: nn.Module, recorder: _Recorder, added: set[str], seen: dict[str, tuple[list[Ref], list[Ref]]]
) -> Iterator[None]:
    """While it lasts, the recorder knows which module runs."""

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            recorder.stack.append(name)
            if name in added:
                seen.setdefault(name, (refs(recorder.refs((args, kwargs))), []))
                recorder.in_added += 1

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            recorder.stack.pop()
            if name in added:
                recorder.in_added -= 1
                seen[name][1][:] = seen[name][1] or refs(recorder.refs(out))

        return hook

    handles: list[Any] = []
    try:
        for name, module in model.named_modules():
            if name and not isinstance(module, torch.jit.ScriptModule):
                handles.append(module.register_forward_pre_hook(enter(name), with_kwargs=True))
                handles.append(module.register_forward_hook(leave(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _map(value: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return [_map(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _map(item, change) for key, item in value.items()}
    return value


def refs(value: Any) -> list[Ref]:
    """All `Ref`s in nested arguments, in order."""
    if isinstance(value, Ref):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [ref for item in value for ref in refs(item)] if isinstance(value, list) else []


def tensors(value: Any) -> list[torch.Tensor]:
    """All tensors in nested outputs, in order."""
    found: list[torch.Tensor] = []
    _map(value, found.append)
    return found


def run_hooked(model: nn.Module, inputs: Iterable[torch.Tensor], handles: Sequence[RemovableHandle]) -> None:
    """Run a model once without gradients, and remove its hooks."""
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
