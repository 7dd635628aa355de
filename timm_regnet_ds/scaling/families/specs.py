"""Which arguments of a model class are its depth, width and resolution: a `ScalingSpec` for each class."""

import functools
import inspect
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from timm_regnet_ds.common.check import did_you_mean

from .rules import Args, Depth, Rule, Width

__all__ = ["SPECS", "ScalingSpec", "complete_args", "recorded_args", "scalable", "spec_of"]


@dataclass(frozen=True)
class ScalingSpec:
    """Which arguments of a model class scale, and how.

    Attributes:
        depth: rules for numbers of blocks; empty if they are hard-coded in the class.
        exact_depth: rules that replace those of ``depth`` where the base's weights are to be inherited exactly; empty
            if they are the same. The other stages keep their depth, because their blocks cannot become identities.
        width: rules for numbers of channels, group widths and numbers of heads.
        multiple: the sides of images are rounded to multiples of this; an int, or a function of the arguments.
        img_size: names of the arguments that hold the side of images.
        round_independently: round every number on its own, as for the models of the scaling paper. Otherwise one axis
            compensates for what rounding did to another, so that flops meet the factor.
        make_consistent: called with (base arguments, scaled arguments, ratio of the sides of images) after all rules;
            returns the scaled arguments, with those corrected that depend on others.
        why_fixed: for ``depth`` and ``width``, the reason why the axis does not scale. Error messages quote it.
        model_factory: called in place of the class, to scale what is hard-coded in the class.
    """

    depth: tuple[Rule, ...] = ()
    exact_depth: tuple[Rule, ...] = ()
    width: tuple[Rule, ...] = ()
    multiple: int | Callable[[Args], int] = 4
    img_size: tuple[str, ...] = ("img_size",)
    round_independently: bool = False
    make_consistent: Callable[[Args, Args, float], Args] | None = None
    why_fixed: dict[str, str] = field(default_factory=dict)
    model_factory: Callable[..., Any] | None = None

    def resolution_multiple(self, args: Args) -> int:
        """Return the number of which the sides of images are multiples."""
        return self.multiple if isinstance(self.multiple, int) else self.multiple(args)


# A key is the name of an architecture, if it does not scale as its class does; a class; or "module.Class" below
# timm.models, so that rows for classes missing in older timm versions are harmless.
SPECS: dict[Any, ScalingSpec] = {}


def spec_of(model_cls: Any, architecture: str) -> ScalingSpec | None:
    """Return the spec of an architecture, or else of its class or its nearest base class; None if there is none."""
    if architecture in SPECS:
        return SPECS[architecture]
    for cls in _mro(model_cls):
        name = f"{cls.__module__.removeprefix('timm.models.')}.{getattr(cls, '__name__', '')}"
        for key in (cls, name):
            if key in SPECS:
                return SPECS[key]
    return None


def complete_args(model_cls: Any, args: Args) -> Args:
    """Return ``args`` and the defaults of the other arguments of a class, or of a function that makes models."""
    defaults: Args = {}
    for cls in _mro(model_cls):
        init = vars(cls).get("__init__") if isinstance(cls, type) else cls
        if init is None or init is object.__init__:
            continue
        for name, parameter in inspect.signature(init).parameters.items():
            if parameter.default is not parameter.empty:
                defaults.setdefault(name, parameter.default)
    return {**defaults, **args}


def _mro(model_cls: Any) -> tuple[Any, ...]:
    """Return a class and its base classes, nearest first; a function that makes models stands alone."""
    return inspect.getmro(model_cls) if isinstance(model_cls, type) else (model_cls,)


def scalable(
    *, depth: str | Rule | Iterable[str | Rule] = (), width: str | Rule | Iterable[str | Rule] = (), **fields: Any
) -> Callable[[type], type]:
    """Declare which arguments of a model class of your own scale.

    >>> @scalable(depth="depths", width="widths")
    ... class Net(torch.nn.Module): ...

    Args:
        depth: names of the arguments that are numbers of blocks, or rules.
        width: names of the arguments that are numbers of channels, or rules.
        **fields: other fields of `ScalingSpec`.

    Raises:
        ValueError: if the constructor has no argument of a given name.
    """
    spec = ScalingSpec(depth=_as_rules(depth, Depth), width=_as_rules(width, Width), **fields)

    def declare(cls: type) -> type:
        init = cls.__init__  # type: ignore[misc]
        signature = inspect.signature(init)
        for rule in (*spec.depth, *spec.width):
            name = getattr(rule, "path", "").partition(".")[0]
            if name and name not in signature.parameters:
                known = list(signature.parameters)[1:]
                raise ValueError(
                    f"{cls.__name__} has no argument {name!r}{did_you_mean(name, known)}: {', '.join(known)}"
                )

        @functools.wraps(init)
        def recording_init(self: Any, *args: Any, **kwargs: Any) -> None:
            if type(self) is cls:
                vars(self)[_RECORD] = _by_name(signature, self, args, kwargs)
            init(self, *args, **kwargs)

        cls.__init__ = recording_init  # type: ignore[misc]
        SPECS[cls] = spec
        return cls

    return declare


def _by_name(signature: inspect.Signature, self: Any, args: Any, kwargs: Any) -> Args:
    """Return the arguments of a constructor's call by their names."""
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
    """Return the arguments that a module was made with, if its class was declared by `scalable`."""
    return vars(model).get(_RECORD)


def _as_rules(given: str | Rule | Iterable[str | Rule], of_name: Callable[[str], Rule]) -> tuple[Rule, ...]:
    items = [given] if isinstance(given, (str, Rule)) else given
    return tuple(of_name(item) if isinstance(item, str) else item for item in items)
