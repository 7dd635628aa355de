"""What a study is, and how one is run: measured here or read back, then fitted and drawn."""

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from timm.models import create_model

from timm_regnet_ds.bench.measurement import Measurement
from timm_regnet_ds.bench.reporting import grouped
from timm_regnet_ds.bench.runner import Job, Result, read_results, run_jobs
from timm_regnet_ds.bench.setting import Setting
from timm_regnet_ds.complexity import Counts, measure_factory
from timm_regnet_ds.files.atomic import write_text
from timm_regnet_ds.latency.model import LatencyModel
from timm_regnet_ds.scaling.fitting.target import parse_target

__all__ = ["Findings", "Study", "measured", "run_study"]


@dataclass(frozen=True)
class Findings:
    """What a study saw: its text in Markdown, and its pictures in the order in which they are shown."""

    text: str
    pictures: Sequence[Path]


@dataclass(frozen=True)
class Study:
    """Models to measure, and what to make of it.

    Attributes:
        name: in the command.
        title: of the report.
        jobs: from fields of `Setting` that a user gave, the jobs; what is not given, the study settles.
        find: from results and a folder, the findings; it draws into the folder.
    """

    name: str
    title: str
    jobs: Callable[[Mapping[str, Any]], list[Job]]
    find: Callable[[Sequence[Result], Path], Findings]


# On the CPU models above this are left out unless more is asked for: an hour, not a day.
_UP_TO = {"cpu": "2.5gf", "cuda": None}


def run_study(
    study: Study,
    output: str | Path,
    *,
    rows: Iterable[str | Path] = (),
    up_to: str | None = None,
    only: str = "*",
    settings: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> list[Path]:
    """Measure what is not measured yet into ``output/rows.jsonl``, then write ``README.md`` and pictures there.

    Args:
        study: which.
        output: a folder.
        rows: files measured elsewhere; with them nothing is measured here.
        up_to: leave out models with more flops: ``4gf``. By default 2.5gf on the CPU, no limit on a GPU.
        only: leave out models whose label, as in the table of failures and in ``bench``, does not match this pattern.
        settings: fields of `Setting`, in place of the study's own.
        progress: show a bar.

    Raises:
        ValueError: a setting or target that is none, rows of something else or of several cards, too few results.
        FileNotFoundError: no such file of rows.
    """
    output = Path(output)
    if rows:
        results = read_results(rows)
    else:
        jobs = study.jobs(_checked(settings or {}))
        jobs = [job for job in jobs if fnmatchcase(job.label, only)]
        jobs = [job for job in jobs if _within(job, up_to or _UP_TO[job.setting.kind])]
        if not jobs:
            limit = f" and has at most {up_to}" if up_to else ""
            raise ValueError(f"study {study.name} has no model that matches {only!r}{limit}")
        path = output / "rows.jsonl"
        for _ in run_jobs(jobs, path, resume=True, progress=progress):
            pass
        asked = [job.row_here() for job in jobs]
        results = [r for r in read_results([path]) if r.job.row_on(r.device_name) in asked]
    _check_one_card(results)
    found = study.find(results, output)
    return [_readme(study, found, results, output), *found.pictures]


def _check_one_card(results: Iterable[Result]) -> None:
    cards: dict[str, set[str]] = {}
    for result in results:
        cards.setdefault(result.job.setting.kind, set()).add(result.device_name)
    for kind, names in cards.items():
        if len(names) > 1:
            raise ValueError(f"a study is of one {kind} device, and these rows are of {', '.join(sorted(names))}")


def _checked(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    known = [field.name for field in fields(Setting)]
    for name in settings:
        if name not in known:
            raise ValueError(f"unknown setting {name!r} (allowed: {', '.join(known)})")
    return settings


def _within(job: Job, up_to: str | None) -> bool:
    if up_to is None:
        return True
    target = parse_target(up_to)
    with contextlib.suppress(ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        label, make = job.model, partial(create_model, job.model, **job.model_args)
        complexity: Counts = measure_factory(label, make, job.setting.input_size)[1]
        return bool(getattr(complexity, target.measure) <= target.value)
    return True  # what cannot be counted, or built, is measured: its row says why it failed


def _prediction(results: Sequence[Result]) -> list[str]:
    """How well time is predicted from complexity, of each card and setting with enough models."""
    lines = []
    for name, group in grouped(results).items():
        with contextlib.suppress(ValueError):  # too few models
            lines.append(f"- {name}: {LatencyModel.fit(group).error}.")
    if not lines:
        return []
    note = (
        "By `LatencyModel` from flops, acts, params and the number of operators, of models that the fit had not seen:"
    )
    return ["## Time predicted", note, "\n".join(lines)]


def _readme(study: Study, found: Findings, results: Sequence[Result], output: Path) -> Path:
    failed = [f"- {result.job.label}: {result.failure}" for result in results if result.failure is not None]
    parts = [
        f"# {study.title}",
        f"Made by `timm-regnet-ds study {study.name}`, from {len(results)} rows:",
        "\n".join(f"- {name}" for name in grouped(results)),
        found.text,
        *(f"![{picture.stem}]({picture.name})" for picture in found.pictures),
        *_prediction(results),
        *(["## Failed", "\n".join(failed)] if failed else []),
    ]
    return write_text(output / "README.md", "\n\n".join(parts) + "\n")


def measured(results: Sequence[Result], **tags: Any) -> Iterator[Measurement]:
    """The measurements whose jobs have these tags."""
    for result in results:
        if result.measurement and all(result.job.tags.get(name) == value for name, value in tags.items()):
            yield result.measurement
