"""Counting the operators that pass torch's dispatcher while a module runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ._operators import Formula, operator_info
from ._results import ZERO_COUNTS, Complexity, Counts, InputSize, ModuleCounts

__all__ = ["DispatchCounter"]


class DispatchCounter(TorchDispatchMode):
    """Adds up what passes the dispatcher, by the path of the module whose ``forward`` is running.

    Args:
        module: a throw-away copy of the module to count, since `track_modules` replaces its ``forward``.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
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
        # Flops, params and acts by path and kind. Modules with parameters come first, in the model's order.
        self.counts: dict[str, dict[str, list[int]]] = {path: {} for path, _ in self.params.values()}
        self.uncounted: dict[str, int] = {}
        self.operators = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        counted, meta_output, is_composite, is_uncounted, is_kernel = operator_info(func)
        kwargs = kwargs or {}
        out = meta_output(*args, **kwargs) if meta_output and args[0].is_meta else None
        if out is None and is_composite:
            with self:
                return func.decompose(*args, **kwargs)
        if out is None:
            out = func(*args, **kwargs)
        self.operators += is_kernel
        if counted:
            self._count(*counted, args, out)
        elif is_uncounted:
            self.uncounted[func._schema.name] = self.uncounted.get(func._schema.name, 0) + 1
        return out

    def _count(self, kind: str, formula: Formula, args: Any, out: Any) -> None:
        flops, acts = formula(args, out)
        if kind == "conv" and not acts:  # Older versions of torch raise this on every device but `meta`.
            raise ValueError(f"the output of a convolution is empty: {tuple(out.shape)}")
        self._add(self.path, kind, flops, 0, acts)
        # A parameter used as attention's mask, its fourth argument, is not a weight of the products.
        for arg in args[:3] if kind == "attention" else args:
            if isinstance(arg, Tensor) and (owned := self.params.pop(arg.untyped_storage()._cdata, None)):
                self._add(owned[0], kind, 0, owned[1], 0)

    def _add(self, path: str, kind: str, flops: int, params: int, acts: int) -> None:
        counts = self.counts.setdefault(path, {}).setdefault(kind, [0, 0, 0])
        counts[0] += flops
        counts[1] += params
        counts[2] += acts

    @contextmanager
    def track_modules(self) -> Iterator[None]:
        """Count in inference mode; while active, each submodule's ``forward`` sets ``self.path``.

        ``torch.utils.module_tracker.ModuleTracker`` is not used: its hooks are global, so that they act in other
        threads too, and they do not see a ``forward`` that is called directly.
        """
        for child, paths in self.paths.items():
            vars(child)["forward"] = self._wrap_forward(child.forward, paths)
        try:
            with torch.inference_mode(), self:
                yield
        finally:  # A module that refers to its own bound method would keep its weights until a garbage collection.
            for child in self.paths:
                del vars(child)["forward"]

    def _wrap_forward(self, forward: Callable[..., Any], paths: list[str]) -> Callable[..., Any]:
        def forward_with_path(*args: Any, **kwargs: Any) -> Any:
            outer, self.path = self.path, paths[0]
            if len(paths) > 1:  # a shared module: the path below the module that calls it
                self.path = next((path for path in paths if path.startswith(f"{outer}.")), paths[0])
            try:
                return forward(*args, **kwargs)
            finally:
                self.path = outer

        return forward_with_path

    def complexity(self, input_size: InputSize) -> Complexity:
        """The totals, after the module has run. The rest of the parameters goes to the kind ``other``."""
        for path, numel in self.params.values():
            self._add(path, "other", 0, numel, 0)
        parts = [
            ModuleCounts(path, kind, Counts(*numbers))
            for path, kinds in self.counts.items()
            for kind, numbers in kinds.items()
        ]
        total = sum((part.counts for part in parts), ZERO_COUNTS)
        return Complexity(
            total.flops, total.params, total.acts, input_size, self.uncounted, self.operators, tuple(parts)
        )
