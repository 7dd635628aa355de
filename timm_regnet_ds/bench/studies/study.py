"""Studies, and running one: its models are measured or their rows are read, then analysed and plotted."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from timm_regnet_ds.bench.counting import JobCounts
from timm_regnet_ds.bench.jobs import Job, Result
from timm_regnet_ds.bench.latency import LatencyModel
from timm_regnet_ds.bench.measurement import Measurement
from timm_regnet_ds.bench.reporting import grouped
from timm_regnet_ds.bench.runner import read_results, run_jobs
from timm_regnet_ds.bench.setting import Setting
from timm_regnet_ds.files.atomic import write_text
from timm_regnet_ds.files.tables import markdown_line
from timm_regnet_ds.scaling.fitting.target import parse_target

__all__ = ["Study", "StudyResult", "run_study", "with_tags"]


@dataclass(frozen=True)
class StudyResult:
    """The text of a study's report in Markdown, and its plots in the order of the report."""

    text: str
    plots: Sequence[Path]


@dataclass(frozen=True)
class Study:
    """Models to measure, and the analysis of their measurements.

    Attributes:
        name: name in the command.
        title: title of the report.
        jobs: returns the jobs, given the fields of `Setting` that the user chose; the study chooses the others.
        analyse: returns the result, given the measurements and the folder for the plots.
    """

    name: str
    title: str
    jobs: Callable[[Mapping[str, Any]], list[Job]]
    analyse: Callable[[Sequence[Result], Path], StudyResult]


# Models with more flops than this are left out by default: on a CPU, a study then takes an hour instead of a day.
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
    deadline: float | None = None,
) -> list[Path]:
    """Measure what ``output/rows.jsonl`` lacks, then write ``README.md`` and plots to the same folder.

    Args:
        study: the study.
        output: the folder.
        rows: files of rows measured elsewhere. With them nothing is measured, and ``up_to``, ``only``,
            ``settings`` and ``deadline`` cannot be given.
        up_to: leave out models with more flops, as in ``4gf``. Default: 2.5gf on the CPU, no limit on a GPU.
        only: leave out models whose label, such as ``scaled(base=resnet50, factor=2.0)``, does not match this pattern.
        settings: fields of `Setting`, instead of the study's own.
        progress: show a bar.
        deadline: as for ``run_jobs``.

    Returns:
        The paths of the report and the plots.

    Raises:
        ValueError: an invalid setting or target, one of them beside ``rows``, rows of another kind or of several
            devices, or too few measurements.
        FileNotFoundError: no such file of rows.
    """
    output, rows = Path(output), list(rows)
    if rows:
        given = {"up_to": up_to, "only": only != "*", "settings": settings, "deadline": deadline}
        names = [name for name, value in given.items() if value]
        if names:
            raise ValueError(f"rows are plotted as they are, and nothing is measured: leave {' and '.join(names)} out")
        results = read_results(rows)
    else:
        jobs = study.jobs(_check_names(settings or {}))
        jobs = [job for job in jobs if fnmatchcase(job.label, only)]
        path = output / "rows.jsonl"
        counts = JobCounts(read_results([path]) if path.exists() else [])
        jobs = [job for job in jobs if _within(job, up_to or _UP_TO[job.setting.device_type], counts)]
        if not jobs:
            limit = f" and has at most {up_to}" if up_to else ""
            raise ValueError(f"study {study.name} has no model that matches {only!r}{limit}")
        for _ in run_jobs(jobs, path, resume=True, progress=progress, deadline=deadline, counts=counts):
            pass
        keys = [job.key_here() for job in jobs]
        results = [r for r in read_results([path]) if r.job.key(r.device_name) in keys]
    _check_one_device(results)
    result = study.analyse(results, output)
    return [_write_readme(study, result, results, output), *result.plots]


def _check_one_device(results: Iterable[Result]) -> None:
    devices: dict[str, set[str]] = {}
    for result in results:
        devices.setdefault(result.job.setting.device_type, set()).add(result.device_name)
    for device_type, names in devices.items():
        if len(names) > 1:
            listed = ", ".join(sorted(names))
            raise ValueError(f"a study is of one {device_type} device, and these rows are of {listed}")


def _check_names(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    known = [field.name for field in fields(Setting)]
    for name in settings:
        if name not in known:
            raise ValueError(f"unknown setting {name!r} (allowed: {', '.join(known)})")
    return settings


def _within(job: Job, up_to: str | None, counts: JobCounts) -> bool:
    if up_to is None:
        return True
    target = parse_target(up_to)
    complexity = counts.of(job)
    # A model that cannot be built or counted gets a row with the reason.
    return complexity is None or bool(getattr(complexity, target.measure) <= target.value)


def _prediction(results: Sequence[Result]) -> list[str]:
    """The error of predicting time from complexity, for each device and setting with enough models."""
    lines = []
    for name, group in grouped(results).items():
        with contextlib.suppress(ValueError):  # too few models
            lines.append(f"- {name}: {LatencyModel.fit(group).error}.")
    if not lines:
        return []
    note = "`LatencyModel` predicts time from complexity:"
    return ["## Predicted time", note, "\n".join(lines)]


def _write_readme(study: Study, result: StudyResult, rows: Sequence[Result], output: Path) -> Path:
    failed = [f"- {markdown_line(f'{row.job.label}: {row.failure}')}" for row in rows if row.failure is not None]
    parts = [
        f"# {study.title}",
        f"Written by `timm-regnet-ds study {study.name}` from {len(rows)} rows:",
        "\n".join(f"- {markdown_line(name)}" for name in grouped(rows)),
        result.text,
        *(f"![{plot.stem}]({plot.name})" for plot in result.plots),
        *_prediction(rows),
        *(["## Failed", "\n".join(failed)] if failed else []),
    ]
    return write_text(output / "README.md", "\n\n".join(parts) + "\n")


def with_tags(results: Sequence[Result], **tags: Any) -> Iterator[Measurement]:
    """The measurements whose jobs have these tags."""
    for result in results:
        if result.measurement and all(result.job.tags.get(name) == value for name, value in tags.items()):
            yield result.measurement
