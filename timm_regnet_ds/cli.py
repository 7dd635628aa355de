"""The command ``timm-regnet-ds``."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NoReturn

from . import __version__
from .complexity import Complexity, measure
from .models import list_models
from .printed import PRINTED
from .scaling import STRATEGIES, scale
from .scaling.tables import comparison, growth, strategies, to_dict

__all__ = ["main"]

HEADER = f"{'model':25} {'input':>7} {'flops (G)':>9} {'params (M)':>10} {'acts (M)':>8}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 2 after a line on standard error where the input was wrong."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        print(f"timm-regnet-ds: {error}", file=sys.stderr)
        return 2
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="timm-regnet-ds", description="RegNet, RegNetZ and ReXNet for timm, and any timm model scaled."
    )
    parser.add_argument("--version", action="version", version=f"timm-regnet-ds {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    models = commands.add_parser("models", help="list this project's models and their complexity")
    models.add_argument("filter", nargs="?", default="*", metavar="FILTER", help="a pattern such as 'regnetz*'")
    models.add_argument("--printed", action="store_true", help="only those that a paper prints, beside its figures")
    models.set_defaults(run=_models)

    measuring = commands.add_parser("measure", help="flops, params and acts of any timm model")
    measuring.add_argument("models", nargs="+", metavar="MODEL")
    measuring.add_argument("--json", action="store_true", help="print one JSON object a line")
    measuring.set_defaults(run=_measure)

    scaling = commands.add_parser("scale", help="scale any timm model by a factor or to a target")
    scaling.add_argument("model", nargs="?", metavar="MODEL")
    scaling.add_argument("--to", metavar="TARGET", help="flops, params or acts: 16gf, 25mp, 12ma")
    scaling.add_argument("--factor", type=float, metavar="S", help="instead of a target: by how much flops grow")
    scaling.add_argument("--strategy", default="dWr", help=f"one of {', '.join(STRATEGIES)} (default: dWr)")
    scaling.add_argument("--alpha", type=float, metavar="A", help="instead of a strategy: how much goes to width")
    scaling.add_argument("--tolerance", type=float, metavar="T", help="fail if the target is missed by more than T")
    scaling.add_argument("--json", action="store_true", help="print one JSON object")
    scaling.add_argument("--all", action="store_true", help="scale every architecture of timm and write a table of it")
    scaling.add_argument("--output", metavar="DIR", help="where --all writes coverage.md and .csv (default: docs)")
    scaling.set_defaults(run=_scale)

    comparing = commands.add_parser("strategies", help="all strategies side by side")
    comparing.add_argument("model", metavar="MODEL")
    comparing.add_argument("--to", required=True, metavar="TARGET", help="flops, params or acts: 4gf, 25mp, 12ma")
    comparing.set_defaults(run=_strategies)

    growing = commands.add_parser("exponents", help="how params and acts grow with flops, fitted and predicted")
    growing.add_argument("models", nargs="+", metavar="MODEL")
    growing.set_defaults(run=lambda options: print(growth(options.models)))

    demo = commands.add_parser("demo", help="build, scale, time, train, save and reload, on this machine")
    demo.add_argument("--output", default="demo-output", metavar="DIR", help="where pictures and weights go")
    demo.set_defaults(run=_demo)
    return parser


def _models(options: argparse.Namespace) -> None:
    names = _printed_models(options.filter) if options.printed else list_models(options.filter)
    if not names:
        raise ValueError(f"no model of this project matches {options.filter!r}; 'timm-regnet-ds models' lists all")
    print(f"{HEADER} printed" if options.printed else HEADER)
    for name in names:
        row = _row(name, measure(name))
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
        print(_row(name, complexity), flush=True)
        if complexity.uncounted:
            print(f"  not counted: {', '.join(complexity.uncounted)}")


def _scale(options: argparse.Namespace) -> None:
    if options.all:
        given = (options.model, options.to, options.factor, options.alpha, options.tolerance)
        if any(value is not None for value in given) or options.strategy != "dWr" or options.json:
            raise ValueError("scale --all scales every architecture by its own factors: only --output goes with it")
        from .scaling import coverage

        coverage.write(options.output or "docs")
        return
    if options.output is not None:
        raise ValueError("--output goes with --all only")
    if options.model is None:
        raise ValueError("scale needs a model, or --all")
    model = scale(
        options.model,
        options.factor,
        to=options.to,
        strategy=options.strategy,
        alpha=options.alpha,
        tolerance=options.tolerance,
    )
    print(json.dumps(to_dict(model)) if options.json else comparison(model))


def _strategies(options: argparse.Namespace) -> None:
    print(strategies(options.model, options.to))


def _demo(options: argparse.Namespace) -> None:
    from .demo import demo

    demo(options.output)


def _row(name: str, complexity: Complexity) -> str:
    size = "×".join(str(side) for side in complexity.input_size[-2:])
    flops, params, acts = complexity.flops / 1e9, complexity.params / 1e6, complexity.acts / 1e6
    return f"{name:25} {size:>7} {flops:9.3f} {params:10.3f} {acts:8.3f}"
