"""The command ``latency``: cards, fits and predictions."""

import argparse
import textwrap
from pathlib import Path
from typing import Any

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    latency = commands.add_parser("latency", help="predict the time of models on known cards, or on one's own device")
    actions = latency.add_subparsers(required=True, metavar="ACTION")

    cards = actions.add_parser("cards", help="list the cards in the package, with their errors")
    cards.set_defaults(run=_cards)

    fit = actions.add_parser("fit", help="fit to measured times, and print the error for models left out of the fit")
    fit.add_argument("rows", nargs="*", type=Path, metavar="ROWS", help="rows of 'timm-regnet-ds bench --output'")
    fit.add_argument(
        "--timm-results", type=Path, metavar="FILE", help="a table of timm's repository, results/benchmark-infer-*.csv"
    )
    fit.add_argument(
        "--counts", type=Path, metavar="FILE", help="where the complexity of the table's models is kept for next time"
    )
    fit.add_argument("--from", dest="start", metavar="CARD", help="start from a known card: for fewer than 20 models")
    fit.add_argument(
        "--output",
        type=Path,
        default=Path("latency.json"),
        metavar="JSON",
        help="default: latency.json; the report stands beside it, as .md and .png",
    )
    fit.set_defaults(run=_fit)

    predict = actions.add_parser("predict", help="print the predicted milliseconds of models")
    predict.add_argument("on", metavar="CARD", help="a card's name, or the JSON of 'latency fit'")
    predict.add_argument("models", nargs="+", metavar="MODEL")
    predict.add_argument(
        "--batch-size", type=int, metavar="N", help="default: that of the rows; 64 for a card of a GPU"
    )
    predict.add_argument("--input-size", type=int, metavar="N", help="side of the images; default: the model's own")
    predict.set_defaults(run=_predict)


def _cards(options: argparse.Namespace) -> None:
    from timm_regnet_ds.latency.cards import describe_cards

    print(describe_cards())


def _fit(options: argparse.Namespace) -> None:
    from timm_regnet_ds.bench.latency import fit_results
    from timm_regnet_ds.bench.runner import read_results
    from timm_regnet_ds.latency.cards import predictor
    from timm_regnet_ds.latency.fitting import fit_times
    from timm_regnet_ds.latency.report import describe_fit, write_fit_report
    from timm_regnet_ds.latency.timm_results import read_timm_results, timed_models

    if bool(options.rows) == (options.timm_results is not None):
        raise ValueError("latency fit needs rows of 'timm-regnet-ds bench', or --timm-results FILE, and not both")
    if options.counts is not None and options.timm_results is None:
        raise ValueError("--counts goes with --timm-results")
    start = None if options.start is None else predictor(options.start)
    if options.rows:
        fit = fit_results(read_results(options.rows), start=start)
    else:
        table = read_timm_results(options.timm_results)
        timed, dropped = timed_models(table, options.counts, progress=True)
        form = "flops-acts" if table.device.is_cpu else "bytes"
        fit = fit_times(
            timed, table.setting, table.device.name, form=form, start=start, torch=table.torch, dropped=dropped
        )
    print(describe_fit(fit))
    for path in (fit.model.save(options.output), *write_fit_report(fit, options.output.with_suffix(".md"))):
        print(f"wrote {path}")


def _predict(options: argparse.Namespace) -> None:
    from timm_regnet_ds.complexity import check_name
    from timm_regnet_ds.latency.cards import predictor

    model = predictor(options.on)
    for name in options.models:
        check_name(name)
    for i, name in enumerate(options.models):
        milliseconds = model.predict(name, batch_size=options.batch_size, input_size=options.input_size)
        if i == 0:  # only now, the options are known to be right
            print(textwrap.fill(model.about(options.batch_size), 80))
            print(textwrap.fill(model.expected_error(options.batch_size), 80))
        print(f"{name:40} {milliseconds:10.4g} ms", flush=True)
