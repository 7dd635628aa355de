"""What `scale` returns: a model, scaled, and not yet built."""

from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any

from timm.models import is_model
from torch import nn

from timm_regnet_ds.complexity import Complexity, measure_factory
from timm_regnet_ds.models._build import NOT_MODEL_ARGS, ModelEntry, register

from . import user_models
from .arithmetic.strategy import STRATEGIES, Growth, Multipliers, Strategy
from .building.base import Base
from .building.build import Changes, make
from .building.capture import unintercepted
from .building.timm_args import stock_args

__all__ = ["ScaledModel", "measured"]


@dataclass(frozen=True)
class ScaledModel:
    """A model, scaled. Nothing of it is built before `create`.

    Attributes:
        base: registered name of the model that was scaled.
        strategy: how growth was shared.
        factor: by how much flops were to grow.
        multipliers: by how much depth, width, group width and resolution were to grow (Eq. 5).
        reached: by how much they have grown, after rounding.
        overrides: the arguments of the model's class that differ from the base's.
        input_size: (channels, height, width) of images.
        base_complexity: flops, params and acts of the base, measured.
    """

    base: str
    strategy: Strategy
    factor: float
    multipliers: Multipliers
    reached: Multipliers
    overrides: dict[str, Any] = field(hash=False)
    input_size: tuple[int, int, int]
    base_complexity: Complexity = field(repr=False)
    _base: Base = field(repr=False, compare=False)
    _changes: Changes = field(repr=False, compare=False)

    def __str__(self) -> str:
        how = f"{self.base} scaled by {self.strategy.name}, factor {self.factor:g}"
        return f"{how}: {self.complexity}; flops {self.growth.flops:.3g} times the base's"

    @property
    def alpha(self) -> float | None:
        """How much of the growth goes to width, for strategies of the α family."""
        return self.strategy.alpha

    @cached_property
    def complexity(self) -> Complexity:
        """Flops, params and acts, measured."""
        return measured(f"{self.base} scaled by {self.factor:g}", self._base, self._changes, self.input_size)[1]

    @property
    def predicted(self) -> Growth:
        """By how much flops, params and acts were to grow (Eq. 6)."""
        return self.strategy.growth(self.factor)

    @property
    def growth(self) -> Growth:
        """By how much they have grown, measured."""
        after, before = self.complexity, self.base_complexity
        return Growth(after.flops / before.flops, after.params / before.params, after.acts / before.acts)

    @property
    def model_cls(self) -> Any:
        """The class of the base and of the scaled model."""
        return self._base.build.model_cls

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """timm's config of images and classifier; it names no weights."""
        return (self._base.cfg or {}) | self._changes.cfg

    def create_base(self, **kwargs: Any) -> nn.Module:
        """Build the base."""
        return make(self._base, Changes(), **kwargs)

    def base_value(self, name: str) -> Any:
        """What the base has for an argument of ``overrides``."""
        return self._base.args.get(name, self._base.build.args.get(name))

    def create(self, pretrained: bool = False, **kwargs: Any) -> nn.Module:
        """Build the model as ``timm.create_model`` would: with ``num_classes``, ``features_only`` and all it takes.

        Raises:
            ValueError: ``pretrained`` without weights of a scaled model, or an argument that scaling has settled.
        """
        if pretrained and not _names_weights(kwargs):
            raise ValueError(
                f"pretrained=True: the weights of {self.base} do not fit a scaled model; train it, or load weights of "
                "this very model with timm.create_model('hf-hub:…' or 'local-dir:…', pretrained=True)"
            )
        settled = sorted(self._changes.args.keys() & kwargs.keys() - {*self._base.axes.img_size})
        if settled:
            raise ValueError(f"{self.base} scaled takes no {settled[0]}: scaling has settled it")
        model = make(self._base, self._changes, pretrained, **kwargs)
        args = {key: value for key, value in kwargs.items() if key not in NOT_MODEL_ARGS}
        vars(model)["_model_args"] = self.recipe() | args
        return model

    def register(self, name: str) -> None:
        """Make it an ordinary model of timm: ``timm.create_model(name)``.

        Raises:
            ValueError: a name that is taken or is none, or a model of a class that timm did not build.
        """
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"a registered name consists of letters, digits and underscores, not {name!r}")
        if is_model(name) or name in vars(user_models):
            raise ValueError(f"timm already has a model {name!r}")
        if self._base.cfg is None:
            raise ValueError(f"{self.base} is no model of timm: register it with timm before it is scaled")
        cfg = self.pretrained_cfg | {"architecture": name}
        doc = f"{self.base} scaled by {self.strategy.name}, factor {self.factor:g}."

        def build(_: str, pretrained: bool, **kwargs: Any) -> nn.Module:
            return self.create(pretrained, **kwargs)

        register(user_models.__name__, build, {name: ModelEntry(doc, {"": cfg})})

    def as_timm(self) -> tuple[str, dict[str, Any]]:
        """Architecture and ``model_args`` with which timm alone builds this model: for those who have timm alone.

        Raises:
            ValueError: a model that timm's entrypoint, or json, cannot say.
        """
        return stock_args(self._base, self._changes)

    def recipe(self) -> dict[str, Any]:
        """The arguments of ``timm.create_model('scaled', …)`` that build this model; what json can hold."""
        dropped = NOT_MODEL_ARGS - {"pretrained_cfg_overlay"}
        given = {key: value for key, value in self._base.given.items() if key not in dropped}
        how: dict[str, Any] = {"strategy": self.strategy.name}
        if STRATEGIES.get(self.strategy.name) != self.strategy:
            how = {"strategy": asdict(self.strategy)} if self.alpha is None else {"alpha": self.alpha}
        return {"base": self.base, **({"base_args": given} if given else {}), "factor": self.factor, **how}


def _names_weights(kwargs: dict[str, Any]) -> bool:
    """Whether a pretrained config or an overlay of one says where weights are."""
    overlay = kwargs.get("pretrained_cfg_overlay") or {}
    own = kwargs.get("pretrained_cfg")
    return (own is not None and not isinstance(own, str)) or any(
        overlay.get(key) for key in ("file", "url", "state_dict", "hf_hub_id")
    )


def measured(
    label: str, base: Base, changes: Changes, input_size: tuple[int, int, int]
) -> tuple[nn.Module, Complexity]:
    """What a base with changes is built as, without weights, and its complexity."""
    with unintercepted():
        return measure_factory(label, partial(make, base, changes), input_size)
