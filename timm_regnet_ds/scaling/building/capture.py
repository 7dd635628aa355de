"""What timm would build a model from: class, arguments, configs. Nothing is built, and timm stays as it is.

Every family of timm calls ``build_model_with_cfg``. While somebody in some thread looks at a call, the modules that
hold this function hold another in its place, which passes every other thread on to timm's own.
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

__all__ = ["Build", "capture", "intercepted", "unintercepted"]


@dataclass(frozen=True)
class Build:
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
        """The model, built by timm, or by whoever intercepts in turn."""
        return _hooked(self.model_cls, self.variant, self.pretrained, **self.args, **self.options)


Handler = Callable[[Build], nn.Module]

# What is not for the model's class.
OPTIONS = {
    *("pretrained_cfg", "pretrained_cfg_overlay", "feature_cfg", "pretrained_strict", "pretrained_filter_fn"),
    *("cache_dir", "kwargs_filter", "pretrained_model_args", "features_only", "out_indices", "feature_cls", "pruned"),
}

_lock = threading.Lock()
_active = 0


class _Handlers(threading.local):
    def __init__(self) -> None:
        self.stack: list[Handler] = []


_handlers = _Handlers()


def _hooked(model_cls: Any, variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    if not _handlers.stack:
        model: nn.Module = build_model_with_cfg(model_cls, variant, pretrained, **kwargs)
        return model
    # A handler that goes on building meets the handlers around it.
    handler = _handlers.stack.pop()
    try:
        args = {key: value for key, value in kwargs.items() if key not in OPTIONS}
        options = {key: value for key, value in kwargs.items() if key in OPTIONS}
        return handler(Build(model_cls, variant, pretrained, args, options))
    finally:
        _handlers.stack.append(handler)


@contextmanager
def intercepted(handler: Handler) -> Iterator[None]:
    """For its length, in this thread, what timm would build goes to ``handler`` instead."""
    _enter()
    _handlers.stack.append(handler)
    try:
        yield
    finally:
        _handlers.stack.pop()
        _leave()


@contextmanager
def unintercepted() -> Iterator[None]:
    """For its length, in this thread, timm builds, whoever intercepts around it."""
    stack, _handlers.stack = _handlers.stack, []
    try:
        yield
    finally:
        _handlers.stack = stack


def _enter() -> None:
    global _active
    with _lock:
        if not _active:
            for module in _holding(build_model_with_cfg):
                module.build_model_with_cfg = _hooked
        _active += 1


def _leave() -> None:
    global _active
    with _lock:
        _active -= 1
        if not _active:
            # Those too that were imported meanwhile.
            for module in _holding(_hooked):
                module.build_model_with_cfg = build_model_with_cfg


def _holding(function: Any) -> list[Any]:
    """The modules that hold a function under the name of timm's."""
    found = []
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if isinstance(names, Mapping) and names.get("build_model_with_cfg") is function:
            found.append(module)
    return [module for module in found if module.__name__ != __name__]


class _Captured(BaseException):
    """Carries what was captured through timm's code. No `Exception`, so that none of it is in the way."""

    def __init__(self, build: Build) -> None:
        self.build = build


def _capture(build: Build) -> NoReturn:
    raise _Captured(build)


def _last(name: str, kwargs: dict[str, Any]) -> Build:
    """What is built last: some models are built around another, which is built first."""
    builds: list[Build] = []

    def record(build: Build) -> nn.Module:
        builds.append(build)
        with unintercepted():
            return build.run()

    with torch.device("meta"), torch.random.fork_rng([]), intercepted(record):
        create_model(name, **kwargs)
    return builds[-1]


def capture(name: str, **kwargs: Any) -> Build:
    """What ``timm.create_model(name, **kwargs)`` would build.

    Raises:
        ValueError: a model that timm's ``build_model_with_cfg`` does not build.
        Exception: what timm raises.
    """
    try:
        with torch.random.fork_rng([]), intercepted(_capture):
            create_model(name, **kwargs)
    except _Captured as captured:
        if captured.build.variant == name.partition(".")[0]:
            return captured.build
        return _last(name, kwargs)
    raise ValueError(f"{name} is not built by timm's build_model_with_cfg: what it is made from is not known")
