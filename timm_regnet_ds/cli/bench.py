"""The commands that measure time: ``bench``, ``report``, ``compare``, ``study``."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from timm_regnet_ds.bench.setting import CACHES, COMPILE_MODES, DTYPES, MODES, Setting
from timm_regnet_ds.common.check import check_float, check_int
from timm_regnet_ds.common.text import format_size, shorten
from timm_regnet_ds.training.model_kwargs import parse_model_kwargs

__all__ = ["add_commands"]

HEADER = f"{'model':30} {'size':>7} {'batch':>5} {'ms':>9} {'±':>5} {'img/s':>8} {'GFLOP/s':>8}"


def add_commands(commands: Any) -> None:
    """Add the commands to a parser's subcommands."""
    bench = commands.add_parser("bench", help="measure time, throughput and memory of models")
    bench.add_argument("models", nargs="*", metavar="MODEL")
    bench.add_argument("--filter", metavar="PATTERN", help="add all timm models that match, such as 'regnet*'")
    bench.add_argument(
        "--file", type=Path, metavar="LIST", help="add the models in a file, one per line; '#' begins a comment"
    )
    bench.add_argument(
        "--model-kwargs", nargs="+", default=[], metavar="KEY=VALUE", help="arguments of timm.create_model"
    )
    bench.add_argument("--output", type=Path, metavar="ROWS", help="append one row per model to this file (JSONL)")
    bench.add_argument("--resume", action="store_true", help="skip models of which the output has a row")
    bench.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="processes per model, whose times are pooled; default: 3 on the CPU, 1 on a GPU",
    )
    _add_deadline(bench)
    bench.add_argument("--json", action="store_true", help="print one JSON object per model")
    _add_settings(bench)
    bench.set_defaults(run=_bench)

    report = commands.add_parser("report", help="write rows as Markdown, CSV and plots")
    report.add_argument("rows", nargs="+", type=Path, metavar="ROWS")
    report.add_argument("--output", type=Path, default=Path("report"), metavar="DIR", help="default: report")
    report.set_defaults(run=_report)

    compare = commands.add_parser("compare", help="compare the times of two files of rows: ratios with intervals")
    compare.add_argument("a", type=Path, metavar="A")
    compare.add_argument("b", type=Path, metavar="B")
    compare.add_argument("--json", action="store_true", help="print one JSON object per model")
    compare.set_defaults(run=_compare)

    study = commands.add_parser("study", help="measure, analyse and plot the papers' results about time")
    study.add_argument("name", metavar="NAME", help="runtime-proxy, scaling, baselines or rexnet")
    study.add_argument("--output", type=Path, metavar="DIR", help="default: the study's name")
    study.add_argument(
        "--rows", nargs="+", type=Path, default=[], metavar="ROWS", help="only analyse and plot rows measured elsewhere"
    )
    study.add_argument(
        "--timm-results",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="runtime-proxy only: draw the tables benchmark-infer-*.csv of timm's repository",
    )
    study.add_argument(
        "--counts", type=Path, metavar="FILE", help="where the complexity of the tables' models is kept for next time"
    )
    study.add_argument("--up-to", metavar="TARGET", help="leave out larger models (default on the CPU: 2.5gf)")
    study.add_argument("--only", default="*", metavar="PATTERN", help="leave out models that do not match")
    _add_deadline(study)
    _add_settings(study)
    study.set_defaults(run=_study)


def _add_deadline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deadline",
        type=float,
        metavar="S",
        help="a model that takes longer in all, as when a kernel hangs, is ended and becomes a row that says so; "
        "default: 5 minutes and 10 times --seconds, more for --compile and for 'max'",
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add options for the fields of `Setting`; options that are not given are absent from the result."""
    defaults = {field.name: field.default for field in fields(Setting)}
    group = parser.add_argument_group("how to measure", argument_default=argparse.SUPPRESS)
    group.add_argument("--mode", choices=MODES, help=f"default: {defaults['mode']}")
    group.add_argument(
        "--batch-size", type=_batch_size, metavar="N", help="or 'max'; default: 64 on a GPU, 1 on the CPU"
    )
    group.add_argument("--input-size", type=_size, metavar="N", help="the side of a square, or channels,height,width")
    group.add_argument("--dtype", choices=DTYPES, help=f"default: {defaults['dtype']}")
    group.add_argument("--channels-last", action="store_true")
    group.add_argument(
        "--compile", nargs="?", const="default", metavar="MODE", help=f"torch.compile: {', '.join(COMPILE_MODES)}"
    )
    group.add_argument("--cuda-graphs", action="store_true", help="record a repetition once and replay it")
    group.add_argument("--fold-bn", action="store_true", help="fold BatchNorm into convolutions")
    group.add_argument("--grad-checkpointing", action="store_true")
    group.add_argument("--optimizer", metavar="NAME", help=f"timm's name; default: {defaults['optimizer']}")
    group.add_argument(
        "--cache", choices=CACHES, help=f"cold: overwritten between repetitions; default: {defaults['cache']}"
    )
    group.add_argument(
        "--device",
        metavar="DEVICE",
        help="such as cpu or cuda:0; with several, as in cuda:0,cuda:1, each model is measured on each",
    )
    group.add_argument("--threads", type=int, metavar="N", help="number of CPU threads; default: torch's own")
    group.add_argument(
        "--precision",
        type=_share,
        metavar="P",
        help=f"wanted half-width of the median's 95%% interval; default: {defaults['precision']:.0%}%",
    )
    group.add_argument(
        "--seconds", type=float, metavar="S", help=f"time limit for each model; default: {defaults['seconds']:g}"
    )
    group.add_argument("--seed", type=int, metavar="N", help=f"default: {defaults['seed']}")


def _batch_size(text: str) -> int | str:
    try:
        return text if text == "max" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor 'max'") from None


def _size(text: str) -> int | tuple[int, ...]:
    try:
        sides = tuple(int(side) for side in text.split(","))
    except ValueError:
        sides = ()
    if len(sides) not in (1, 3):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a side nor channels,height,width")
    return sides[0] if len(sides) == 1 else sides


def _share(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share, such as 1% or 0.01") from None


def _settings(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The fields of `Setting` that are given, once for each device."""
    given = {name: value for name, value in vars(options).items() if name in Setting.__dataclass_fields__}
    if "device" not in given:
        return [given]
    return [{**given, "device": device} for device in given["device"].split(",")]


def _bench(options: argparse.Namespace) -> int:
    from timm.models import list_models

    from timm_regnet_ds.bench.jobs import Job
    from timm_regnet_ds.bench.runner import run_jobs
    from timm_regnet_ds.complexity import check_name

    names = list(options.models)
    if options.filter is not None:
        matching = list_models(options.filter)
        if not matching:
            raise ValueError(f"no timm model matches {options.filter!r}")
        names += matching
    if options.file is not None:
        lines = (line.partition("#")[0].strip() for line in options.file.read_text(encoding="utf-8").splitlines())
        names += filter(None, lines)
    if not names:
        raise ValueError("bench needs models: names, --filter or --file")
    if options.processes is not None:
        check_int("--processes", options.processes)
    _check_deadline(options)
    if options.resume and options.output is None:
        raise ValueError("--resume goes with --output, the file that has the rows of earlier runs")
    for name in names:
        check_name(name)
    kwargs = parse_model_kwargs(options.model_kwargs)
    settings = [Setting(**given) for given in _settings(options)]
    jobs = [Job(name, setting, kwargs) for name in dict.fromkeys(names) for setting in settings]
    failures = 0
    if len(jobs) > 1 and not options.json:
        print(HEADER)
    results = run_jobs(
        jobs, options.output, options.resume, progress=True, processes=options.processes, deadline=options.deadline
    )
    for result in results:
        failures += result.failure is not None
        if options.json:
            print(json.dumps(result.to_row()), flush=True)
        elif result.measurement is None:
            print(f"{_short(result.job.label)} failed: {result.failure}", flush=True)
        else:
            print(_line(result.measurement) if len(jobs) > 1 else result.measurement, flush=True)
    return 1 if failures else 0


def _check_deadline(options: argparse.Namespace) -> None:
    if options.deadline is not None:
        check_float("--deadline", options.deadline, above=0)


def _short(label: str) -> str:
    return shorten(label, 30)


def _line(m: Any) -> str:
    size = format_size(m.setting.input_size[1:])
    width = f"{m.timing.half_width:.1%}" if m.timing.has_interval else "–"
    return (
        f"{_short(m.label):30} {size:>7} {m.setting.batch_size:>5} {m.timing.median:9.4g} {width:>5} "
        f"{m.images_per_second:8.4g} {m.ops_per_second / 1e9:8.4g}"
    )


def _report(options: argparse.Namespace) -> None:
    from timm_regnet_ds.bench.reporting import report
    from timm_regnet_ds.bench.runner import read_results

    _print_paths(report(read_results(options.rows), options.output))


def _compare(options: argparse.Namespace) -> None:
    from timm_regnet_ds.bench.comparing import compare
    from timm_regnet_ds.bench.runner import read_results

    comparison = compare(read_results([options.a]), read_results([options.b]))
    if options.json:
        for ratio in comparison.ratios:
            print(json.dumps(ratio.to_dict()))
    else:
        print(comparison)


def _study(options: argparse.Namespace) -> None:
    from timm_regnet_ds.bench.studies import STUDIES, run_study
    from timm_regnet_ds.bench.studies.timm_tables import draw_timm_tables
    from timm_regnet_ds.common.check import check_choice

    study = check_choice("study", options.name, STUDIES)
    settings = _settings(options)
    if len(settings) > 1:
        raise ValueError("a study measures one device; --device names several")
    _check_deadline(options)
    measures = settings[0] or options.deadline is not None or options.up_to or options.only != "*"
    if options.rows and measures:
        raise ValueError(
            "--rows only plots existing measurements: no setting, --deadline, --up-to, --only goes with it"
        )
    output = options.output or Path(study.name)
    if options.timm_results:
        if study.name != "runtime-proxy" or options.rows or measures:
            raise ValueError("--timm-results goes with the study runtime-proxy, --counts and --output alone")
        _print_paths(draw_timm_tables(options.timm_results, options.counts, output))
        return
    if options.counts is not None:
        raise ValueError("--counts goes with --timm-results")
    _print_paths(
        run_study(
            study,
            output,
            rows=options.rows,
            up_to=options.up_to,
            only=options.only,
            settings=settings[0],
            progress=True,
            deadline=options.deadline,
        )
    )


def _print_paths(paths: Sequence[Path]) -> None:
    for path in paths:
        print(f"wrote {path}", file=sys.stdout)
