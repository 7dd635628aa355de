"""Recipes for timm's ``train.py --config``: the papers' training setups, and two for small budgets.

Each is a YAML file beside this one. Its first comment line is its title; the comments after it say what of the paper
``train.py`` cannot say, and what the recipe does instead.
"""

from pathlib import Path

from timm_regnet_ds.common.check import check_choice

__all__ = ["list_recipes", "recipe_path"]


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
