"""Recipes for timm's ``train.py --config``: the papers' training setups, and two for small budgets.

Each is a YAML file beside this one. Its first comment line is its title; the comments after it say what of the paper
``train.py`` cannot say, and what the recipe does instead.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from timm_regnet_ds.common.check import check_choice

__all__ = ["describe_recipe", "list_recipes", "recipe_path"]

# A training that changes a larger share of a recipe's options is not called by its name.
_MOST_CHANGED = 0.25
# A recipe is made for a batch of any size.
_FREE = {"batch_size"}


def list_recipes() -> dict[str, str]:
    """The title of each recipe, by its name."""
    files = sorted(Path(__file__).parent.glob("*.yaml"))
    return {file.stem: file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for file in files}


def recipe_path(name: str) -> Path:
    """The file of a recipe, for ``train.py --config``.

    Raises:
        ValueError: there is no recipe of this name.
    """
    check_choice("recipe", name, list_recipes())
    return Path(__file__).with_name(f"{name}.yaml")


def describe_recipe(options: Mapping[str, Any]) -> str:
    """The recipe of a training, and what it changed: ```small_images` with epochs=3``.

    ``train.py`` does not record its ``--config``, so that the options are compared.

    Args:
        options: those that ``train.py`` saves in its checkpoints.

    Returns:
        An empty string if no recipe, or more than one, comes near.
    """
    changes = {}
    for name in list_recipes():
        recipe = yaml.safe_load(recipe_path(name).read_text(encoding="utf-8"))
        asked = {key: value for key, value in recipe.items() if key not in _FREE}
        other = [f"{key}={options.get(key)}" for key, value in asked.items() if options.get(key, ...) != value]
        if len(other) <= _MOST_CHANGED * len(asked):
            changes[name] = other
    fewest = min(map(len, changes.values()), default=0)
    nearest = [name for name, other in changes.items() if len(other) == fewest]
    if len(nearest) != 1:
        return ""
    changed = ", ".join(changes[nearest[0]])
    return f"`{nearest[0]}` with {changed}" if changed else f"`{nearest[0]}`"
