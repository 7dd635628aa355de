"""What a model has inherited, and what of it is new."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from timm_regnet_ds.common.text import count

from .maps import OLD, Map

__all__ = ["EXACT", "Inherited", "Widened"]

# The largest relative difference of outputs, in float64, of models that compute the same function.
EXACT = 1e-4


@dataclass(frozen=True)
class Widened:
    """A parameter that is partly new.

    Attributes:
        maps: of each axis, where its channels come from.
        fraction: whether an axis grew by something else than a whole number.
    """

    maps: tuple[Map, ...]
    fraction: bool

    def new_elements(self) -> Tensor:
        """A mask of the parameter's shape: False for elements of the base, True for all others, also copies."""
        old = torch.ones((), dtype=torch.bool)
        for axis, found in enumerate(self.maps):
            shape = [1] * len(self.maps)
            shape[axis] = -1
            old = old & torch.from_numpy(found.state == OLD).reshape(shape)
        return ~old


@dataclass(frozen=True)
class Inherited:
    """How a model came by its weights.

    Attributes:
        error: the largest difference between its outputs and its base's, as a share of the largest output, in
            float64 over several images.
        policy: what new channels are: ``mixed``, ``fresh``, ``zero`` or ``copy``.
        errors: the error of each policy that was tried.
        added: the modules that only this model has, and how each became an identity; None for those that did not.
        new: names of parameters of which nothing comes from the base.
        inherited: names of parameters that are the base's, without new elements.
        widened: name to `Widened` for parameters that are partly new.
        reasons: why the model is not exact; empty where it is.
    """

    error: float
    policy: str
    errors: dict[str, float]
    added: dict[str, str | None] = field(repr=False)
    new: tuple[str, ...] = field(repr=False)
    inherited: tuple[str, ...] = field(repr=False)
    widened: dict[str, Widened] = field(repr=False, compare=False)
    reasons: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether the model computes what its base computes."""
        return self.error < EXACT

    def __str__(self) -> str:
        what = "exact" if self.exact else f"error {self.error:.2g}"
        parts = f"{count(len(self.inherited), 'parameter')} inherited, {len(self.widened)} widened, {len(self.new)} new"
        return f"{what} ({self.policy} channels, {count(len(self.added), 'added module')}; {parts})"

    def with_new(self, names: Iterable[str]) -> "Inherited":
        """The same with some parameters among the new ones."""
        chosen = set(names)
        return replace(
            self,
            new=tuple(dict.fromkeys([*self.new, *sorted(chosen)])),
            inherited=tuple(name for name in self.inherited if name not in chosen),
            widened={name: found for name, found in self.widened.items() if name not in chosen},
        )

    def param_groups(
        self,
        model: nn.Module,
        weight_decay: float = 0.05,
        inherited_lr_scale: float = 1.0,
        widened_lr_scale: float = 1.0,
        new_lr_scale: float = 1.0,
        no_weight_decay: Collection[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Parameter groups for ``timm.optim.create_optimizer_v2``, whose schedulers multiply by ``lr_scale``.

        Args:
            model: the model that inherited.
            weight_decay: for all parameters but biases, scales of norms and those that the model exempts.
            inherited_lr_scale: factor of the learning rate of parameters that are the base's.
            widened_lr_scale: the same for parameters that are partly new.
            new_lr_scale: the same for parameters that are new.
            no_weight_decay: names without weight decay; by default those of ``model.no_weight_decay()``.
        """
        if no_weight_decay is None:
            names = getattr(model, "no_weight_decay", None)
            no_weight_decay = names() if callable(names) else ()
        scales = {"inherited": inherited_lr_scale, "widened": widened_lr_scale, "new": new_lr_scale}
        groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
        inherited = set(self.inherited)
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            kind = "inherited" if name in inherited else "widened" if name in self.widened else "new"
            decays = parameter.ndim > 1 and name not in no_weight_decay
            groups.setdefault((kind, decays), []).append(parameter)
        return [
            {"params": found, "weight_decay": weight_decay if decays else 0.0, "lr_scale": scales[kind], "name": kind}
            for (kind, decays), found in groups.items()
        ]
