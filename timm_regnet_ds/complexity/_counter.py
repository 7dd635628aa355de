"""Counting the operators that pass torch's dispatcher while a module runs."""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ._autocast import rule_in_fast_norm
from ._operators import Formula, OperatorInfo, operator_info
from ._results import ZERO_COUNTS, Complexity, Counts, InputSize, ModuleCounts

__all__ = ["DispatchCounter"]


_NUMBERS = frozenset((int, float, bool, type(None)))


def _sizes(out: Any) -> list[int]:
    """Bytes of an operator's outputs."""
    if isinstance(out, Tensor):
        return [out.nbytes]
    return [t.nbytes for t in out if isinstance(t, Tensor)] if isinstance(out, (list, tuple)) else []


def _is_grouped(image: Tensor, weight: Any) -> bool:
    """Whether a convolution has groups of more than one channel and fewer than all. Transposed ones count as dense."""
    return isinstance(weight, Tensor) and weight.dim() > 2 and 1 < weight.shape[1] < image.shape[1]


class DispatchCounter(TorchDispatchMode):
    """Adds up what passes the dispatcher, by the path of the module whose ``forward`` is running.

    Args:
        module: a throw-away copy of the module to count, since `track_modules` replaces its ``forward``.
        autocast: the format of products under autocast, or None.
    """

    def __init__(self, module: nn.Module, autocast: torch.dtype | None = None) -> None:
        super().__init__()
        self.autocast = autocast
        self.path = ""
        self.paths: dict[nn.Module, list[str]] = {}
        for path, child in module.named_modules(remove_duplicate=False):
            self.paths.setdefault(child, []).append(path)
        # Parameters that no operator has taken yet: path and size by storage, so that a view of a parameter (its
        # transpose, or a third of an in-projection) is recognized.
        self.params: dict[int, tuple[str, int]] = {}
        for child, (path, *_) in self.paths.items():
            for p in filter(torch.is_tensor, child._parameters.values()):
                self.params.setdefault(p.untyped_storage()._cdata, (path, p.numel()))
        # Tensors that do not depend on the images, by id: weights, and what is computed from them alone. They are kept,
        # so that no other tensor gets their id.
        self.constants: dict[int, Tensor] = {}
        for child in self.paths:
            for t in (*child._parameters.values(), *child._buffers.values()):
                if isinstance(t, Tensor):
                    self.constants[id(t)] = t
        self.casts: dict[int, Tensor] = {}  # weights in autocast's format, by the id of the weight
        # The fields of `Counts` by path and kind. Modules with parameters come first, in the model's order.
        self.counts: dict[str, dict[str, tuple[int, ...]]] = {path: {} for path, _ in self.params.values()}
        self.uncounted: dict[str, int] = {}
        self.operators = 0
        self.grouped_flops = 0
        self.in_fast_norm = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        info = operator_info(func)
        kwargs = kwargs or {}
        if self.autocast is not None and info.autocast is not None:
            rule = rule_in_fast_norm(info.autocast) if self.in_fast_norm else info.autocast
            args, kwargs = rule(args, kwargs, self._cast)
        out = info.meta_output(*args, **kwargs) if info.meta_output and args[0].is_meta else None
        if out is None and info.is_composite:
            with self:
                return func.decompose(*args, **kwargs)
        if out is None:
            out = func(*args, **kwargs)
        moved = self._bytes(info, args, kwargs, out)
        if info.counted:
            self._count(*info.counted, args, out, moved)
        else:
            if moved != (0, 0):
                self._add(self.path, "other", (0, 0, 0, *moved))
            if info.is_uncounted:
                self.uncounted[func._schema.name] = self.uncounted.get(func._schema.name, 0) + 1
        return out

    def _cast(self, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
        """The tensor in a format (None: that of products), with the cast counted as an operator."""
        dtype = self.autocast if dtype is None else dtype
        if tensor.dtype is dtype or not tensor.is_floating_point() or tensor.dtype is torch.float64:
            return tensor
        if id(tensor) in self.casts:  # Autocast casts a weight once.
            return self.casts[id(tensor)]
        new = torch.empty_like(tensor, dtype=dtype) if tensor.is_meta else tensor.to(dtype)
        self.operators += 1
        if id(tensor) in self.constants:
            self.casts[id(tensor)] = self.constants[id(new)] = new
            self._add(self.path, "other", (0, 0, 0, 0, tensor.nbytes + new.nbytes))
        else:
            self._add(self.path, "other", (0, 0, 0, tensor.nbytes + new.nbytes, 0))
        owned = self.params.get(tensor.untyped_storage()._cdata)
        if owned is not None:  # The operator that takes the cast weight is the one to which its params belong.
            self.params[new.untyped_storage()._cdata] = self.params.pop(tensor.untyped_storage()._cdata)
        return new

    def _bytes(self, info: OperatorInfo, args: Any, kwargs: Any, out: Any) -> tuple[int, int]:
        """Bytes that an operator reads and writes: those that depend on the images, and the others."""
        constants = self.constants
        read = fixed = 0
        is_constant = is_first = True
        written = sum(_sizes(out)) if info.is_kernel else 0
        for arg in (*args, *(value for name, value in kwargs.items() if name != "out")) if kwargs else args:
            if type(arg) in _NUMBERS:
                continue
            for t in (arg,) if isinstance(arg, Tensor) else arg if isinstance(arg, (list, tuple)) else ():
                if not isinstance(t, Tensor):
                    continue
                size = t.nbytes
                if is_first:
                    is_first = False
                    size = min(size, written) if info.looks_up else size * info.reads_first
                if id(t) in constants:
                    fixed += size
                else:
                    is_constant = False
                    read += size
        if is_constant:
            for t in (out,) if isinstance(out, Tensor) else out if isinstance(out, (list, tuple)) else ():
                constants[id(t)] = t
        elif info.in_place:
            changed = kwargs["out"] if kwargs and "out" in kwargs else args[0] if args else kwargs.get("self")
            constants.pop(id(changed), None)
        if not info.is_kernel or (args and out is args[0] and not info.in_place):
            return 0, 0
        self.operators += 1
        return (0, fixed + written) if is_constant else (read + written, fixed)

    def _count(self, kind: str, formula: Formula, args: Any, out: Any, moved: tuple[int, int]) -> None:
        flops, acts = formula(args, out)
        if kind == "conv":
            if not acts:  # Older versions of torch raise this on every device but `meta`.
                raise ValueError(f"the output of a convolution is empty: {tuple(out.shape)}")
            self.grouped_flops += flops * _is_grouped(*args[:2])
        self._add(self.path, kind, (flops, 0, acts, *moved))
        # A parameter used as attention's mask, its fourth argument, is not a weight of the products.
        for arg in args[:3] if kind == "attention" else args:
            if isinstance(arg, Tensor) and (owned := self.params.pop(arg.untyped_storage()._cdata, None)):
                self._add(owned[0], kind, (0, owned[1], 0, 0, 0))

    def _add(self, path: str, kind: str, numbers: tuple[int, int, int, int, int]) -> None:
        kinds = self.counts.setdefault(path, {})
        before = kinds.get(kind)
        kinds[kind] = numbers if before is None else tuple(map(operator.add, before, numbers))

    @contextmanager
    def track_modules(self) -> Iterator[None]:
        """Count in inference mode; while active, each submodule's ``forward`` sets ``self.path``.

        ``torch.utils.module_tracker.ModuleTracker`` is not used: its hooks are global, so that they act in other
        threads too, and they do not see a ``forward`` that is called directly.
        """
        fast = {child for child in self.paths if getattr(child, "_fast_norm", False)}
        for child, paths in self.paths.items():
            vars(child)["forward"] = self._wrap_forward(child.forward, paths, child in fast)
        for child in fast:  # timm's functions for them ask for the device's autocast, which `meta` lacks
            vars(child)["_fast_norm"] = False
        try:
            with torch.inference_mode(), self:
                yield
        finally:  # A module that refers to its own bound method would keep its weights until a garbage collection.
            for child in self.paths:
                del vars(child)["forward"]
            for child in fast:
                vars(child)["_fast_norm"] = True

    def _wrap_forward(self, forward: Callable[..., Any], paths: list[str], fast_norm: bool) -> Callable[..., Any]:
        def forward_with_path(*args: Any, **kwargs: Any) -> Any:
            outer, self.path = self.path, paths[0]
            outer_is_fast, self.in_fast_norm = self.in_fast_norm, fast_norm
            if len(paths) > 1:  # a shared module: the path below the module that calls it
                self.path = next((path for path in paths if path.startswith(f"{outer}.")), paths[0])
            try:
                return forward(*args, **kwargs)
            finally:
                self.path, self.in_fast_norm = outer, outer_is_fast

        return forward_with_path

    def complexity(self, input_size: InputSize, dtype: str) -> Complexity:
        """The totals, after the module has run. The rest of the parameters goes to the kind ``other``."""
        for path, numel in self.params.values():
            self._add(path, "other", (0, numel, 0, 0, 0))
        parts = [
            ModuleCounts(path, kind, Counts(*numbers))
            for path, kinds in self.counts.items()
            for kind, numbers in kinds.items()
        ]
        total = sum((part.counts for part in parts), ZERO_COUNTS)
        return Complexity(
            flops=total.flops,
            params=total.params,
            acts=total.acts,
            bytes=total.bytes,
            weight_bytes=total.weight_bytes,
            input_size=input_size,
            uncounted=self.uncounted,
            operators=self.operators,
            product_bytes=sum(part.counts.bytes for part in parts if part.kind != "other"),
            grouped_flops=self.grouped_flops,
            dtype=dtype,
            parts=tuple(parts),
        )
