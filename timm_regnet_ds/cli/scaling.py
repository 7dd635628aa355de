"""Commands about scaling: ``scale``, ``strategies``, ``exponents``."""

import argparse
import json
import textwrap
from typing import Any

from timm_regnet_ds.latency.cards import predictor
from timm_regnet_ds.scaling import STRATEGIES, scale
from timm_regnet_ds.scaling.reports.text import (
    format_exponents,
    format_scaled,
    format_strategies,
    format_usage,
    to_dict,
)

__all__ = ["add_commands", "add_scaling_options"]


def add_commands(commands: Any) -> None:
    """Add these commands to the parser's."""
    scaling = commands.add_parser("scale", help="scale any timm model by a factor or to a target")
    scaling.add_argument(
        "model", nargs="?", metavar="MODEL", help="its name; with --all, a pattern such as 'convnext*'"
    )
    add_scaling_options(scaling)
    scaling.add_argument("--latency-ms", type=float, metavar="MS", help="instead of a target: the most milliseconds")
    _add_card(scaling)
    scaling.add_argument(
        "--group-width", type=float, metavar="E", help="group widths grow by s^(E/2); default: as widths do"
    )
    scaling.add_argument("--tolerance", type=float, metavar="T", help="fail if the target is missed by more than T")
    scaling.add_argument("--json", action="store_true", help="print one JSON object")
    scaling.add_argument("--all", action="store_true", help="scale all architectures of timm and write a table")
    scaling.add_argument(
        "--output",
        metavar="DIR",
        help="where --all writes coverage.md and .csv (default: docs; a pattern's table is printed)",
    )
    scaling.set_defaults(run=_scale)

    comparing = commands.add_parser("strategies", help="all strategies side by side")
    comparing.add_argument("model", metavar="MODEL")
    comparing.add_argument("--to", metavar="TARGET", help="flops, params or acts: 4gf, 25mp, 12ma")
    comparing.add_argument("--latency-ms", type=float, metavar="MS", help="instead of a target: the most milliseconds")
    _add_card(comparing)
    comparing.set_defaults(run=_strategies)

    growing = commands.add_parser("exponents", help="how params and acts grow with flops, fitted and predicted")
    growing.add_argument("models", nargs="+", metavar="MODEL")
    growing.set_defaults(run=lambda options: print(format_exponents(options.models)))


def add_scaling_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how far, and by which strategy, a model is scaled."""
    parser.add_argument("--to", metavar="TARGET", help="flops, params or acts: 16gf, 25mp, 12ma")
    parser.add_argument("--factor", type=float, metavar="S", help="instead of a target: by how much flops grow")
    parser.add_argument("--strategy", default="dWr", help=f"one of {', '.join(STRATEGIES)} (default: dWr)")
    parser.add_argument("--alpha", type=float, metavar="A", help="instead of a strategy: how much goes to width")


def _add_card(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--on",
        metavar="CARD",
        help="what predicts milliseconds: a card of 'timm-regnet-ds latency cards', or the JSON of 'latency fit'",
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="images in the batch whose time is predicted")


def _scale(options: argparse.Namespace) -> None:
    if options.all:
        excluded = ("to", "factor", "alpha", "group_width", "tolerance", "latency_ms", "on", "batch_size")
        given = [getattr(options, name) for name in excluded]
        if any(value is not None for value in given) or options.strategy != "dWr" or options.json:
            raise ValueError("scale --all uses its own factors: only a pattern and --output go with it")
        from timm_regnet_ds.scaling.reports import coverage

        names = coverage.matching(options.model) if options.model else None
        if names and options.output is None:
            rows = {row["architecture"]: row for row in coverage.compute(names)}
            print(coverage.markdown_text([rows[name] for name in names]))
        else:
            coverage.write(options.output or "docs", names)
        return
    if options.output is not None:
        raise ValueError("--output goes with --all only")
    if options.model is None:
        raise ValueError("scale needs a model, or --all")
    on = None if options.on is None else predictor(options.on)
    if options.batch_size is not None and on is None and options.latency_ms is None:
        raise ValueError("--batch-size goes with --on or --latency-ms")
    timed = options.latency_ms is not None
    model = scale(
        options.model,
        options.factor,
        to=options.to,
        strategy=options.strategy,
        latency_ms=options.latency_ms,
        on=on if timed else None,
        batch_size=options.batch_size if timed else None,
        alpha=options.alpha,
        group_width=options.group_width,
        tolerance=options.tolerance,
    )
    if options.json:
        print(json.dumps(to_dict(model)))
        return
    print(format_scaled(model))
    if timed:
        print(f"predicted: {_wrap(str(model.latency))}")
    elif on is not None:
        milliseconds = on.predict(model.measure(on.dtype), batch_size=options.batch_size)
        about, error = on.about(options.batch_size), on.expected_error(options.batch_size)
        print(f"predicted: {_wrap(f'{milliseconds:.4g} ms ({about}); {error}')}")
    print(f"\n{format_usage(model)}")


def _wrap(text: str) -> str:
    return textwrap.fill(text, 80, initial_indent=" " * 11, subsequent_indent="  ").strip()


def _strategies(options: argparse.Namespace) -> None:
    if (options.to is None) == (options.latency_ms is None):
        raise ValueError("strategies needs a target: --to TARGET, or --latency-ms MS")
    if options.batch_size is not None and options.on is None and options.latency_ms is None:
        raise ValueError("--batch-size goes with --on or --latency-ms")
    print(format_strategies(options.model, options.to, options.latency_ms, options.on, options.batch_size))
