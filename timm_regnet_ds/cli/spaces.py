"""Commands about design spaces: ``space`` and ``sweep``."""

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any

from timm_regnet_ds.common.text import count

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add them to a parser's commands."""
    space = commands.add_parser("space", help="design spaces: sample, recover, report")
    actions = space.add_subparsers(required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="the design spaces and how many configurations each has")
    listing.set_defaults(run=_list)

    sample = actions.add_parser("sample", help="draw configurations, within limits")
    sample.add_argument("space", metavar="SPACE")
    sample.add_argument("-n", type=int, default=10, metavar="N", help="number of configurations (default: 10)")
    sample.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    for measure, example in (("flops", "360mf 400mf"), ("params", "5mp 6mp"), ("acts", "4ma 5ma")):
        help_ = f"as in --{measure} {example}; '-' for an open end"
        sample.add_argument(f"--{measure}", nargs=2, metavar=("LOW", "HIGH"), help=help_)
    sample.add_argument("--json", action="store_true", help="print one JSON object per configuration")
    sample.set_defaults(run=_sample)

    contains = actions.add_parser("contains", help="whether a space contains a configuration, and why not")
    contains.add_argument("space", metavar="SPACE")
    contains.add_argument("config", metavar="JSON", help="as 'space sample --json' prints it")
    contains.set_defaults(run=_contains)

    recover = actions.add_parser(
        "recover", help="find networks whose parameters a paper does not print, from the complexity that it prints"
    )
    recover.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    recover.set_defaults(run=_recover)

    report = actions.add_parser("report", help="plot populations of trained models and compare their design spaces")
    report.add_argument("rows", nargs="+", type=Path, metavar="ROWS", help="files of rows that 'sweep' wrote")
    report.add_argument(
        "--output",
        type=Path,
        default=Path("space-report"),
        metavar="DIR",
        help="directory to write to (default: space-report)",
    )
    report.add_argument(
        "--epsilon",
        type=float,
        metavar="E",
        help="compute the area under the EDFs up to this error in percent (default: the median error)",
    )
    report.set_defaults(run=_report)

    sweep = commands.add_parser("sweep", help="sample models of design spaces and train each for a few epochs")
    sweep.add_argument("plan", type=Path, metavar="PLAN.yaml", help="the arguments of Plan (docs/spaces.md)")
    sweep.add_argument(
        "--sharing",
        type=float,
        metavar="S",
        help="train nothing; only measure for S seconds the throughput of training side by side",
    )
    sweep.set_defaults(run=_sweep)


def _list(options: argparse.Namespace) -> None:
    from timm_regnet_ds.spaces import SPACES

    print(f"{'space':12}{'configurations':>64}")
    for name, space in SPACES.items():
        print(f"{name:12}{space.count():64,}")


def _sample(options: argparse.Namespace) -> None:
    from timm_regnet_ds.scaling.fitting.target import MEASURES
    from timm_regnet_ds.spaces import get_space

    space = get_space(options.space)
    limits: dict[str, Any] = {
        measure: tuple(None if bound == "-" else _bound(bound) for bound in getattr(options, measure))
        for measure in MEASURES
        if getattr(options, measure)
    }
    sample = space.sample(options.n, options.seed, **limits)
    if not options.json:
        print(f"{'flops (M)':>10} {'params (M)':>10} {'acts (M)':>9}")
    for config, *counts in zip(sample, sample.flops, sample.params, sample.acts, strict=True):
        flops, params, acts = map(int, counts)
        row = space.to_json(config)
        if options.json:
            print(json.dumps({"config": row, "flops": flops, "params": params, "acts": acts}))
        else:
            print(f"{flops / 1e6:10.2f} {params / 1e6:10.3f} {acts / 1e6:9.3f}")
            print(textwrap.fill(_format_config(row), 80, initial_indent="    ", subsequent_indent="    "))
    if not options.json:
        print(f"{len(sample)} of {sample.drawn:,} drawn")


def _bound(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _format_config(row: dict[str, Any]) -> str:
    return " ".join(f"{name}={json.dumps(value)}" for name, value in row.items())


def _contains(options: argparse.Namespace) -> int:
    from timm_regnet_ds.spaces import get_space

    space = get_space(options.space)
    try:
        row = json.loads(options.config)
    except ValueError as error:
        raise ValueError(f"JSON is not a configuration: {error}") from error
    found = space.contains(space.from_json(row.get("config", row) if isinstance(row, dict) else row))
    print("yes" if found else f"no: {found.reason}")
    return 0 if found else 1


def _recover(options: argparse.Namespace) -> None:
    from timm_regnet_ds.common.check import check_choice
    from timm_regnet_ds.spaces.recover import TARGETS_TO_RECOVER, table

    for name in options.names:
        check_choice("network", name, TARGETS_TO_RECOVER)
    for line in table(options.names or None):
        print(line, flush=True)


def _report(options: argparse.Namespace) -> None:
    from timm_regnet_ds.populations.report import report

    for path in report(options.rows, options.output, options.epsilon):
        print(f"wrote {path}")


def _sweep(options: argparse.Namespace) -> None:
    from timm_regnet_ds.populations.sweep import load_plan, measure_sharing, sweep

    plan = load_plan(options.plan)
    if options.sharing is not None:
        print(measure_sharing(plan, options.sharing))
        return
    rows = sweep(plan)
    failed = sum(row["failure"] is not None for row in rows)
    print(f"{count(len(rows), 'model')} in {plan.output}, {failed} of them failed")
