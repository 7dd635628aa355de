"""`ScaledModel`, the result of `scale`: a scaled model that is not built yet."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any

from timm.models import is_model
from torch import nn

from timm_regnet_ds.complexity import Complexity, measure_factory
from timm_regnet_ds.latency.model import LatencyModel
from timm_regnet_ds.models._build import NOT_MODEL_ARGS, ModelEntry, register

from . import user_models
from .arithmetic.strategy import STRATEGIES, Growth, Multipliers, Strategy, describe_scaling
from .building.base import Base, ImageSize
from .building.build import Changes, build_changed
from .building.capture import bypass_interception
from .building.image_size import explain_image_size
from .building.saved import saved_sizes
from .building.timm_args import timm_args
from .fitting.target import LatencyBudget
from .inheriting import create_inheriting

__all__ = ["Latency", "ScaledModel", "build_and_measure", "create_scaled"]


@dataclass(frozen=True)
class Latency:
    """A predicted time.

    Attributes:
        milliseconds: of a batch.
        batch_size: images in the batch; None if the predictor does not tell.
        device: what was predicted for: device, setting and batch size, in words.
        expected_error: how far such predictions are off, in words; empty if the predictor does not tell.
    """

    milliseconds: float
    batch_size: int | None
    device: str
    expected_error: str

    @classmethod
    def of(cls, budget: LatencyBudget, milliseconds: float) -> "Latency":
        """The time that the predictor of a budget gave."""
        on, batch = budget.on, budget.batch_size or getattr(budget.on, "batch_size", None)
        about = on.about(batch) if isinstance(on, LatencyModel) else type(on).__name__
        return cls(milliseconds, batch, about, on.expected_error(batch) if isinstance(on, LatencyModel) else "")

    def __str__(self) -> str:
        return f"{self.milliseconds:.4g} ms ({self.device})" + (
            f"; {self.expected_error}" if self.expected_error else ""
        )


@dataclass(frozen=True)
class ScaledModel:
    """A scaled model. `create` builds it.

    Attributes:
        base: registered name of the model that was scaled.
        strategy: how the growth is shared between depth, width and resolution.
        factor: by how much flops should grow.
        multipliers: by how much depth, width, group width and resolution should grow (Eq. 5).
        achieved: by how much they grow after rounding.
        overrides: the arguments of the model's class that differ from the base's.
        input_size: (channels, height, width) of images.
        base_complexity: measured flops, params and acts of the base.
        latency: the predicted time, if the target was one.
    """

    base: str
    strategy: Strategy
    factor: float
    multipliers: Multipliers
    achieved: Multipliers
    overrides: dict[str, Any] = field(hash=False)
    input_size: ImageSize
    base_complexity: Complexity = field(repr=False)
    _base: Base = field(repr=False, compare=False)
    _changes: Changes = field(repr=False, compare=False)
    _multipliers: Multipliers = field(repr=False, compare=False)
    _inherit_exactly: bool = field(default=False, repr=False, compare=False)
    latency: Latency | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        text = f"{self.title}: {self.complexity}; flops {self.growth.flops:.3g} times the base's"
        return text if self.latency is None else f"{text}\npredicted: {self.latency}"

    @property
    def title(self) -> str:
        """Base, strategy and factor in a few words."""
        return describe_scaling(self.base, self.strategy.name, self.factor)

    @property
    def alpha(self) -> float | None:
        """The share of the growth that goes to width, for strategies of the α family."""
        return self.strategy.alpha

    @cached_property
    def complexity(self) -> Complexity:
        """Measured flops, params, acts and bytes (in fp32)."""
        return build_and_measure(self.title, self._base, self._changes, self.input_size)[1]

    def measure(self, dtype: str) -> Complexity:
        """The complexity with bytes in a number format of `timm_regnet_ds.measure`."""
        if dtype == "fp32":
            return self.complexity
        return build_and_measure(self.title, self._base, self._changes, self.input_size, dtype)[1]

    @property
    def predicted(self) -> Growth:
        """The predicted growth of flops, params and acts (Eq. 6)."""
        return self.strategy.growth(self.factor)

    @property
    def growth(self) -> Growth:
        """The measured growth of flops, params and acts."""
        after, before = self.complexity, self.base_complexity
        return Growth(after.flops / before.flops, after.params / before.params, after.acts / before.acts)

    @property
    def model_cls(self) -> Any:
        """The class of the base and of the scaled model."""
        return self._base.build.model_cls

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """timm's pretrained config (images and classifier), without weights."""
        return (self._base.pretrained_cfg or {}) | self._changes.pretrained_cfg

    def create_base(self, **kwargs: Any) -> nn.Module:
        """Build the base."""
        return build_changed(self._base, Changes(), **kwargs)

    def base_value(self, name: str) -> Any:
        """The base's value of an argument of ``overrides``."""
        return self._base.args.get(name, self._base.build.args.get(name))

    def create(
        self,
        pretrained: bool = False,
        *,
        inherit: bool | nn.Module | Mapping[str, Any] | None = None,
        exact: bool = False,
        **kwargs: Any,
    ) -> nn.Module:
        """Build the model as ``timm.create_model`` would.

        Args:
            pretrained: load the weights that ``pretrained_cfg`` or ``pretrained_cfg_overlay`` names.
            inherit: begin with the weights of the base, so that the model computes what the base computes: a trained
                base, its state dict, or True for the base's own pretrained weights. ``model.inherited`` then tells
                how far that succeeded. Weights that ``pretrained`` loads take its place.
            exact: raise an error if the model does not compute what the base computes.
            **kwargs: arguments of ``timm.create_model``, such as ``num_classes`` and ``features_only``.

        Raises:
            ValueError: ``pretrained`` without weights of this scaled model, an argument that scaling sets, or a base
                that does not fit.
        """
        if exact and (inherit is None or inherit is False):
            raise ValueError("exact=True goes with inherit=: a model, a state dict, or True")
        if inherit is None or inherit is False or pretrained:
            return create_scaled(self._base, self._changes, self.model_args(), pretrained, **kwargs)
        create = partial(create_scaled, self._base, self._changes, self.model_args())
        return create_inheriting(self._base, create, self._multipliers, inherit, exact, **kwargs)

    def register(self, name: str) -> None:
        """Register the model with timm, so that ``timm.create_model(name)`` builds it.

        Raises:
            ValueError: a name that is taken or invalid, or a model of a class that timm did not build.
        """
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"a registered name consists of letters, digits and underscores, not {name!r}")
        if is_model(name) or name in vars(user_models):
            raise ValueError(f"timm already has a model {name!r}")
        if self._base.pretrained_cfg is None:
            raise ValueError(f"{self.base} is not a model of timm: register it with timm before it is scaled")

        def build(_: str, pretrained: bool, **kwargs: Any) -> nn.Module:
            return self.create(pretrained, **kwargs)

        cfg = self.pretrained_cfg | {"architecture": name}
        register(user_models.__name__, build, {name: ModelEntry(f"{self.title}.", {"": cfg})})

    def as_timm(self) -> tuple[str, dict[str, Any]]:
        """Architecture and ``model_args`` with which timm builds this model where this package is not installed.

        Raises:
            ValueError: timm's entrypoint does not take these changes, or JSON cannot hold them.
        """
        return timm_args(self._base, self._changes)

    def recipe(self) -> dict[str, Any]:
        """The arguments of ``timm.create_model('scaled', …)`` that scale the base to this model, for JSON."""
        dropped = NOT_MODEL_ARGS - {"pretrained_cfg_overlay"}
        base_args = {key: value for key, value in self._base.create_args.items() if key not in dropped}
        how: dict[str, Any] = {"strategy": self.strategy.name}
        if STRATEGIES.get(self.strategy.name) != self.strategy:
            own = self.alpha is None or self.strategy.group_width is not None
            how = {"strategy": asdict(self.strategy)} if own else {"alpha": self.alpha}
        if self._inherit_exactly:
            how["inherit_exactly"] = True
        return {"base": self.base, **({"base_args": base_args} if base_args else {}), "factor": self.factor, **how}

    def model_args(self) -> dict[str, Any]:
        """What is saved with the model: the `recipe` and, in ``sizes``, the sizes that scaling has computed.

        ``timm.create_model('scaled', **model_args)`` builds from the sizes, so that a saved model comes back even if
        a later version of this package rounds otherwise. Models of classes whose arguments JSON cannot hold are
        saved without sizes.
        """
        sizes = saved_sizes(self._base, self._changes, self.input_size)
        return self.recipe() | ({"sizes": sizes} if sizes else {})


def create_scaled(
    base: Base, changes: Changes, model_args: Mapping[str, Any], pretrained: bool = False, **kwargs: Any
) -> nn.Module:
    """Build a scaled model, and record in it what ``timm.create_model('scaled', …)`` needs to build it again.

    Args:
        base: the model that was scaled.
        changes: what scaling changes of it.
        model_args: the arguments to record; those among ``kwargs`` are added.
        pretrained: load the weights that ``pretrained_cfg`` or ``pretrained_cfg_overlay`` names.
        **kwargs: arguments of ``timm.create_model``.

    Raises:
        ValueError: ``pretrained`` without weights of this scaled model, or an argument that scaling sets.
    """
    if pretrained and not _names_weights(kwargs):
        raise ValueError(
            f"pretrained=True: the weights of {base.name} do not fit a scaled model; train it, or load weights of "
            "this very model with timm.create_model('hf-hub:…' or 'local-dir:…', pretrained=True)"
        )
    set_by_scaling = sorted(changes.args.keys() & kwargs.keys() - {*base.spec.img_size})
    if set_by_scaling:
        raise ValueError(f"{base.name} scaled takes no {set_by_scaling[0]}: scaling sets it")
    model = build_changed(base, changes, pretrained, **kwargs)
    explain_image_size(model)
    passed = {key: value for key, value in kwargs.items() if key not in NOT_MODEL_ARGS}
    vars(model)["_model_args"] = {**model_args, **passed}
    return model


def _names_weights(kwargs: Mapping[str, Any]) -> bool:
    """Whether a pretrained config or an overlay says where the weights are."""
    overlay = kwargs.get("pretrained_cfg_overlay") or {}
    cfg = kwargs.get("pretrained_cfg")
    return (cfg is not None and not isinstance(cfg, str)) or any(
        overlay.get(key) for key in ("file", "url", "state_dict", "hf_hub_id")
    )


def build_and_measure(
    label: str, base: Base, changes: Changes, input_size: ImageSize, dtype: str = "fp32"
) -> tuple[nn.Module, Complexity]:
    """Build the changed base without weights (on the meta device where possible); return it and its complexity."""
    with bypass_interception():
        return measure_factory(label, partial(build_changed, base, changes), input_size, dtype=dtype)
