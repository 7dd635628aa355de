"""Which arguments of a model class are its depth, width and resolution: a row for each class."""

import functools
import inspect
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from timm_regnet_ds._check import did_you_mean
from timm_regnet_ds.scaling.building.capture import BuildCall

from .rules import Args, Depth, Rule, Width

__all__ = ["AXES", "Axes", "axes_of", "complete_args", "recorded_args", "scalable"]


@dataclass(frozen=True)
class Axes:
    """What of a model class scales.

    Attributes:
        depth: rules for numbers of blocks; none where the class has them in its code.
        width: rules for numbers of channels, of groups and of heads.
        multiple: of what images' sides are multiples: a number, or what computes one from the arguments.
        img_size: the arguments that hold the images' side.
        each_by_itself: every number is rounded by itself, as in the paper's figures. Otherwise one axis makes up
            for what rounding did to another.
        finish: makes the scaled arguments consistent, given (base arguments, scaled arguments, sides' ratio).
        missing: why an axis does not scale, by ``depth`` or ``width``.
        builder: what builds the class's models in its stead, where it has in its code what is to scale.
    """

    depth: tuple[Rule, ...] = ()
    width: tuple[Rule, ...] = ()
    multiple: int | Callable[[Args], int] = 4
    img_size: tuple[str, ...] = ("img_size",)
    each_by_itself: bool = False
    finish: Callable[[Args, Args, float], Args] | None = None
    missing: dict[str, str] = field(default_factory=dict)
    builder: Callable[..., Any] | None = None

    def unit(self, args: Args) -> int:
        """Of what images' sides are multiples."""
        return self.multiple if isinstance(self.multiple, int) else self.multiple(args)


# By "module.Class" of timm.models, so that a class which this timm does not have is nobody's concern; by class; or by
# architecture, where one is not scaled as its class is.
AXES: dict[Any, Axes] = {}


def axes_of(build: BuildCall) -> Axes | None:
    """The row of an architecture, or of its class, or of the nearest class that it extends."""
    if build.variant in AXES:
        return AXES[build.variant]
    cls = build.model_cls
    for base in inspect.getmro(cls) if isinstance(cls, type) else (cls,):
        name = f"{base.__module__.removeprefix('timm.models.')}.{getattr(base, '__name__', '')}"
        for key in (base, name):
            if key in AXES:
                return AXES[key]
    return None


def complete_args(build: BuildCall) -> Args:
    """A model's arguments with those that it leaves at their defaults."""
    defaults: Args = {}
    cls = build.model_cls
    for base in inspect.getmro(cls) if isinstance(cls, type) else (cls,):
        init = vars(base).get("__init__") if isinstance(base, type) else base
        if init is None or init is object.__init__:
            continue
        for name, parameter in inspect.signature(init).parameters.items():
            if parameter.default is not parameter.empty:
                defaults.setdefault(name, parameter.default)
    return {**defaults, **build.args}


def scalable(
    *, depth: str | Rule | Iterable[str | Rule] = (), width: str | Rule | Iterable[str | Rule] = (), **axes: Any
) -> Callable[[type], type]:
    """Declare what scales of a model class of one's own.

    >>> @scalable(depth="depths", width="widths")
    ... class Net(torch.nn.Module): ...

    Args:
        depth: names of the arguments that are numbers of blocks, or rules.
        width: names of the arguments that are numbers of channels, or rules.
        **axes: other fields of `Axes`.

    Raises:
        ValueError: a name that the constructor does not have.
    """
    row = Axes(depth=_rules(depth, Depth), width=_rules(width, Width), **axes)

    def declare(cls: type) -> type:
        AXES[cls] = row
        init = cls.__init__  # type: ignore[misc]
        signature = inspect.signature(init)
        for rule in (*row.depth, *row.width):
            name = getattr(rule, "path", "").partition(".")[0]
            if name and name not in signature.parameters:
                known = list(signature.parameters)[1:]
                raise ValueError(
                    f"{cls.__name__} has no argument {name!r}{did_you_mean(name, known)}: {', '.join(known)}"
                )

        @functools.wraps(init)
        def recording(self: Any, *args: Any, **kwargs: Any) -> None:
            if type(self) is cls:
                vars(self)[_RECORD] = _by_name(signature, self, args, kwargs)
            init(self, *args, **kwargs)

        cls.__init__ = recording  # type: ignore[misc]
        return cls

    return declare


def _by_name(signature: inspect.Signature, self: Any, args: Any, kwargs: Any) -> Args:
    """The arguments of a call of a constructor."""
    bound = signature.bind(self, *args, **kwargs)
    passed: Args = {}
    for name, value in list(bound.arguments.items())[1:]:
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            raise TypeError(f"{type(self).__name__} takes *{name}: a scalable class names its arguments")
        passed |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    return deepcopy(passed)


_RECORD = "_timm_regnet_ds_args"


def recorded_args(model: Any) -> Args | None:
    """The arguments that a module of a class declared by `scalable` was made with."""
    return vars(model).get(_RECORD)


def _rules(given: str | Rule | Iterable[str | Rule], of_name: Callable[[str], Rule]) -> tuple[Rule, ...]:
    items = [given] if isinstance(given, str) or not isinstance(given, Iterable) else given
    return tuple(of_name(item) if isinstance(item, str) else item for item in items)
