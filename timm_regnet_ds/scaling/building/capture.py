"""Captures what timm would build a model from: class, arguments and configs, without building it.

Every family of timm calls ``build_model_with_cfg``. While any thread intercepts builds, every module's reference to
that function is replaced by `_build_or_intercept`, which calls the original in the threads that do not intercept.
Afterwards timm is as it was.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from timm.models import build_model_with_cfg, create_model
from torch import nn

__all__ = ["BuildCall", "bypass_interception", "capture", "intercept_builds"]


@dataclass(frozen=True)
class BuildCall:
    """A call of timm's ``build_model_with_cfg``.

    Attributes:
        model_cls: the model's class.
        variant: the architecture.
        pretrained: whether weights are to be loaded.
        args: the class's arguments, and ``model_cfg`` where the class takes a config.
        options: the other arguments of the call: ``pretrained_cfg``, ``feature_cfg``, ``features_only`` …
    """

    model_cls: Any
    variant: str
    pretrained: bool
    args: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)

    def run(self) -> nn.Module:
        """Build the model with timm, or with the next handler if several intercept."""
        return _build_or_intercept(self.model_cls, self.variant, self.pretrained, **self.args, **self.options)


Handler = Callable[[BuildCall], nn.Module]

# Arguments of build_model_with_cfg that it does not pass to the model's class.
OPTIONS = {
    *("pretrained_cfg", "pretrained_cfg_overlay", "feature_cfg", "pretrained_strict", "pretrained_filter_fn"),
    *("cache_dir", "kwargs_filter", "pretrained_model_args", "features_only", "out_indices", "feature_cls", "pruned"),
}

_lock = threading.Lock()
_intercepting = 0  # number of open contexts in all threads


class _Handlers(threading.local):
    def __init__(self) -> None:
        self.stack: list[Handler] = []


_handlers = _Handlers()


def _build_or_intercept(model_cls: Any, variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    if not _handlers.stack:
        model: nn.Module = build_model_with_cfg(model_cls, variant, pretrained, **kwargs)
        return model
    # The handler is off the stack while it runs: if it builds in turn, the next outer handler receives that call.
    handler = _handlers.stack.pop()
    try:
        args = {key: value for key, value in kwargs.items() if key not in OPTIONS}
        options = {key: value for key, value in kwargs.items() if key in OPTIONS}
        return handler(BuildCall(model_cls, variant, pretrained, args, options))
    finally:
        _handlers.stack.append(handler)


@contextmanager
def intercept_builds(handler: Handler) -> Iterator[None]:
    """While this context is active in this thread, ``handler`` receives each build instead of timm."""
    _replace_references()
    _handlers.stack.append(handler)
    try:
        yield
    finally:
        _handlers.stack.pop()
        _restore_references()


@contextmanager
def bypass_interception() -> Iterator[None]:
    """While this context is active in this thread, timm builds, and outer handlers receive nothing."""
    stack, _handlers.stack = _handlers.stack, []
    try:
        yield
    finally:
        _handlers.stack = stack


def _replace_references() -> None:
    global _intercepting
    with _lock:
        if not _intercepting:
            for module in _modules_with(build_model_with_cfg):
                module.build_model_with_cfg = _build_or_intercept
        _intercepting += 1


def _restore_references() -> None:
    global _intercepting
    with _lock:
        _intercepting -= 1
        if not _intercepting:
            # This also finds modules that were imported in the meantime.
            for module in _modules_with(_build_or_intercept):
                module.build_model_with_cfg = build_model_with_cfg


def _modules_with(function: Any) -> list[Any]:
    """The modules whose attribute ``build_model_with_cfg`` is ``function``, without this one."""
    found = []
    for module in list(sys.modules.values()):
        attributes = getattr(module, "__dict__", None)
        if isinstance(attributes, Mapping) and attributes.get("build_model_with_cfg") is function:
            found.append(module)
    return [module for module in found if module.__name__ != __name__]


class _Captured(BaseException):
    """Carries a captured call out of timm's code. It is not an `Exception`, so that no ``except`` there stops it."""

    def __init__(self, call: BuildCall) -> None:
        self.call = call


def _raise_captured(call: BuildCall) -> NoReturn:
    raise _Captured(call)


def _capture_outermost(name: str, kwargs: dict[str, Any]) -> BuildCall:
    """Capture the last build, for models that contain another model, which timm builds first."""
    calls: list[BuildCall] = []

    def record(call: BuildCall) -> nn.Module:
        calls.append(call)
        with bypass_interception():
            return call.run()

    with torch.device("meta"), torch.random.fork_rng([]), intercept_builds(record):
        create_model(name, **kwargs)
    return calls[-1]


def capture(name: str, **kwargs: Any) -> BuildCall:
    """Capture what ``timm.create_model(name, **kwargs)`` would build.

    Raises:
        ValueError: timm's ``build_model_with_cfg`` does not build this model.
        Exception: whatever timm raises.
    """
    try:
        with torch.random.fork_rng([]), intercept_builds(_raise_captured):
            create_model(name, **kwargs)
    except _Captured as captured:
        if captured.call.variant == name.partition(".")[0]:
            return captured.call
        return _capture_outermost(name, kwargs)
    raise ValueError(f"{name} is not built by timm's build_model_with_cfg, so its class and arguments are unknown")
