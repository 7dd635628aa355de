"""Commands about training and sharing: ``recipes``."""

import argparse
from typing import Any

from timm_regnet_ds.training.recipes import list_recipes, recipe_path

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add these commands to the parser's."""
    recipes = commands.add_parser("recipes", help="training setups for timm's train.py --config")
    recipes.set_defaults(run=_list)
    actions = recipes.add_subparsers(metavar="ACTION")
    for action, run, text in (
        ("show", _show, "print a recipe, with what of its paper train.py cannot say"),
        ("path", _path, "print the file of a recipe, for train.py --config"),
    ):
        parser = actions.add_parser(action, help=text)
        parser.add_argument("name", metavar="NAME")
        parser.set_defaults(run=run)


def _list(options: argparse.Namespace) -> None:
    titles = list_recipes()
    width = max(map(len, titles))
    for name, title in titles.items():
        print(f"{name:{width}}  {title}")


def _show(options: argparse.Namespace) -> None:
    print(recipe_path(options.name).read_text(encoding="utf-8"), end="")


def _path(options: argparse.Namespace) -> None:
    print(recipe_path(options.name))
