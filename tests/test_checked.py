"""Dataclasses whose fields declare how they are checked."""

from dataclasses import dataclass, field, replace

import pytest

from timm_regnet_ds.common.check import check_float, check_int
from timm_regnet_ds.common.checked_fields import CheckedFields, checked_by


@dataclass(frozen=True)
class Recipe(CheckedFields):
    epochs: int = field(metadata=checked_by(check_int))
    decay: float | None = field(default=None, metadata=checked_by(check_float, optional=True, minimum=0))
    name: str = "recipe"


@dataclass(frozen=True)
class LongRecipe(Recipe):
    pause: int = field(default=0, metadata=checked_by(check_int, minimum=0))

    def __post_init__(self):
        super().__post_init__()
        if self.pause >= self.epochs:
            raise ValueError(f"pause must be less than the {self.epochs} epochs, not {self.pause}")


def test_what_a_check_returns_is_stored():
    recipe = Recipe(3, 1)
    assert recipe == Recipe(3, 1.0)
    assert isinstance(recipe.decay, float)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ({"decay": -1}, "decay must be a finite number at least 0, not -1"),
        ({"pause": 3}, "pause must be less than the 3 epochs, not 3"),
    ],
)
def test_a_value_that_a_check_refuses_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(LongRecipe(3), **changes)
