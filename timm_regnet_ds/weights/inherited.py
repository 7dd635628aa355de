"""What a model has inherited, and what of it is new."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

__all__ = ["EXACT", "Inherited"]

# The largest relative difference of outputs, in float64, of models that compute the same function.
EXACT = 1e-4


@dataclass(frozen=True)
class Inherited:
    """How a model came by its weights.

    Attributes:
        error: the largest difference between its outputs and its base's, as a share of the largest output, in
            float64 over several images.
        policy: what new channels are: ``fresh``, ``zero``, ``copy`` or ``mixed``.
        errors: the error of each policy that was tried.
        added: the modules that only this model has, and how each became an identity; None for those that did not.
        new: names of parameters of which nothing comes from the base.
        inherited: names of parameters that are the base's, without new elements.
        widened: names of parameters that are partly new; each with a mask of the new elements.
        reasons: why the model is not exact, or might not have been.
    """

    error: float
    policy: str
    errors: dict[str, float]
    added: dict[str, str | None] = field(repr=False)
    new: tuple[str, ...] = field(repr=False)
    inherited: tuple[str, ...] = field(repr=False)
    widened: dict[str, Tensor] = field(repr=False, compare=False)
    reasons: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether the model computes what its base computes."""
        return self.error < EXACT

    def __str__(self) -> str:
        what = "exact" if self.exact else f"error {self.error:.2g}"
        parts = f"{len(self.inherited)} parameters inherited, {len(self.widened)} widened, {len(self.new)} new"
        return f"{what} ({self.policy} channels, {len(self.added)} added modules; {parts})"
