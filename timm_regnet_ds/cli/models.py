"""Commands about models: ``models``, ``measure``, ``demo``."""

import argparse
import json
from fnmatch import fnmatchcase
from typing import Any

from timm_regnet_ds.common.text import format_size
from timm_regnet_ds.complexity import Complexity, measure
from timm_regnet_ds.models import list_models
from timm_regnet_ds.papers.complexity import PRINTED

__all__ = ["add_commands"]

HEADER = f"{'model':25} {'input':>7} {'flops (G)':>9} {'params (M)':>10} {'acts (M)':>8}"


def add_commands(commands: Any) -> None:
    """Add these commands to the parser's."""
    models = commands.add_parser("models", help="list this project's models and their complexity")
    models.add_argument("filter", nargs="?", default="*", metavar="FILTER", help="a pattern such as 'regnetz*'")
    models.add_argument(
        "--printed", action="store_true", help="only models whose complexity a paper prints, with the printed values"
    )
    models.set_defaults(run=_models)

    measuring = commands.add_parser("measure", help="flops, params and acts of any timm model")
    measuring.add_argument("models", nargs="+", metavar="MODEL")
    measuring.add_argument("--json", action="store_true", help="print one JSON object per line")
    measuring.set_defaults(run=_measure)

    demo = commands.add_parser("demo", help="build, scale, time, train, save and reload on this machine")
    demo.add_argument("--output", default="demo-output", metavar="DIR", help="directory for pictures and weights")
    demo.set_defaults(run=_demo)


def _models(options: argparse.Namespace) -> None:
    names = _printed_models(options.filter) if options.printed else list_models(options.filter)
    if not names:
        raise ValueError(f"no model of this project matches {options.filter!r}; 'timm-regnet-ds models' lists all")
    print(f"{HEADER} printed" if options.printed else HEADER)
    for name in names:
        if name == "scaled":
            print("scaled                    any model base=, scaled: see 'timm-regnet-ds scale'")
            continue
        row = _format_row(name, measure(name))
        print(f"{row} {'/'.join(filter(None, PRINTED[name]))}" if options.printed else row, flush=True)


def _printed_models(filter: str) -> list[str]:
    return [name for name in PRINTED if fnmatchcase(name, filter)]


def _measure(options: argparse.Namespace) -> None:
    for i, name in enumerate(options.models):
        complexity = measure(name)
        if options.json:
            print(json.dumps({"model": name, **complexity.to_dict()}), flush=True)
            continue
        if i == 0:
            print(HEADER)
        print(_format_row(name, complexity), flush=True)
        if complexity.uncounted:
            print(f"  not counted: {', '.join(complexity.uncounted)}")


def _demo(options: argparse.Namespace) -> None:
    from .demo import demo

    demo(options.output)


def _format_row(name: str, complexity: Complexity) -> str:
    size = format_size(complexity.input_size[1:])
    flops, params, acts = complexity.flops / 1e9, complexity.params / 1e6, complexity.acts / 1e6
    return f"{name:25} {size:>7} {flops:9.3f} {params:10.3f} {acts:8.3f}"
