"""Counting what passes torch's dispatcher while a module runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ._operators import Formula, known
from ._results import NOTHING, Complexity, Counts, InputSize, Part

__all__ = ["Tally"]


class Tally(TorchDispatchMode):
    """Adds up what passes the dispatcher, under the path of the module whose ``forward`` is running."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.path = ""
        self.paths: dict[nn.Module, list[str]] = {}
        for path, child in module.named_modules(remove_duplicate=False):
            self.paths.setdefault(child, []).append(path)
        # By storage, so that a view (a transpose, a third of an in-projection) is known as its parameter.
        self.params: dict[int, tuple[str, int]] = {}
        for child, (path, *_) in self.paths.items():
            for p in filter(torch.is_tensor, child._parameters.values()):
                self.params.setdefault(p.untyped_storage()._cdata, (path, p.numel()))
        self.counts: dict[str, dict[str, list[int]]] = {path: {} for path, _ in self.params.values()}
        self.uncounted: dict[str, int] = {}
        self.operators = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        counted, output, composite, uncounted, computes = known(func)
        kwargs = kwargs or {}
        out = output(*args, **kwargs) if output and args[0].is_meta else None
        if out is None and composite:
            with self:
                return func.decompose(*args, **kwargs)
        if out is None:
            out = func(*args, **kwargs)
        self.operators += computes
        if counted:
            self.count(*counted, args, out)
        elif uncounted:
            self.uncounted[func._schema.name] = self.uncounted.get(func._schema.name, 0) + 1
        return out

    def count(self, kind: str, formula: Formula, args: Any, out: Any) -> None:
        flops, acts = formula(args, out)
        if kind == "conv" and not acts:  # older versions of torch refuse this on every device but `meta`
            raise ValueError(f"the output of a convolution is empty: {tuple(out.shape)}")
        self.add(self.path, kind, flops, 0, acts)
        for arg in args[:3]:
            if isinstance(arg, Tensor) and (owned := self.params.pop(arg.untyped_storage()._cdata, None)):
                self.add(owned[0], kind, 0, owned[1], 0)

    def add(self, path: str, kind: str, flops: int, params: int, acts: int) -> None:
        counts = self.counts.setdefault(path, {}).setdefault(kind, [0, 0, 0])
        counts[0] += flops
        counts[1] += params
        counts[2] += acts

    @contextmanager
    def listening(self) -> Iterator[None]:
        """For its length, every ``forward`` of the module, which is a throw-away copy, tells its path."""
        for child, paths in self.paths.items():
            vars(child)["forward"] = self.telling(child.forward, paths)
        try:
            with torch.inference_mode(), self:
                yield
        finally:  # a module that holds its own bound method keeps its weights until a garbage collection
            for child in self.paths:
                del vars(child)["forward"]

    def telling(self, forward: Callable[..., Any], paths: list[str]) -> Callable[..., Any]:
        def told(*args: Any, **kwargs: Any) -> Any:
            outer, self.path = self.path, paths[0]
            if len(paths) > 1:
                self.path = next((path for path in paths if path.startswith(f"{outer}.")), paths[0])
            try:
                return forward(*args, **kwargs)
            finally:
                self.path = outer

        return told

    def complexity(self, input_size: InputSize) -> Complexity:
        for path, numel in self.params.values():  # of those that no counted operator has taken
            self.add(path, "other", 0, numel, 0)
        parts = [Part(path, kind, Counts(*c)) for path, kinds in self.counts.items() for kind, c in kinds.items()]
        total = sum((part.counts for part in parts), NOTHING)
        counts = (total.flops, total.params, total.acts)
        return Complexity(*counts, input_size, self.uncounted, self.operators, tuple(parts))
