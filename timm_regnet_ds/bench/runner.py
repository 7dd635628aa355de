"""Measuring many models, row by row into a file."""

import functools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from timm_regnet_ds.files.rows import RowsFile

from .ceilings import Ceilings, ceilings_by
from .environment import device_name
from .measurement import KIND, VERSION, Measurement, label_of
from .sampling import Repetitions
from .setting import Setting
from .worker import Worker

__all__ = ["Job", "Result", "read_results", "results_file", "run_jobs"]


@dataclass(frozen=True)
class Job:
    """A model that is to be measured.

    Attributes:
        model: registered name.
        setting: as asked for, with what it leaves open.
        model_args: arguments of ``timm.create_model``.
        tags: what a study wants to know of it again, such as base and strategy.
    """

    model: str
    setting: Setting
    model_args: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The model's name, with the arguments that it is built with."""
        return label_of(self.model, self.model_args)

    def row_on(self, device_name: str) -> dict[str, Any]:
        """What a row says of the job, done on a device: two rows with the same are of the same job."""
        row = {
            "model": self.model,
            "model_args": dict(self.model_args),
            "asked": self.setting.to_dict(),
            "device_name": device_name,
            "tags": dict(self.tags),
        }
        as_read: dict[str, Any] = json.loads(json.dumps(row))
        return as_read

    def row_here(self) -> dict[str, Any]:
        """The same, on this machine's device."""
        return self.row_on(device_name(self.setting.device))


@dataclass(frozen=True)
class Result:
    """What came of a job on a device: a measurement, or the reason why there is none."""

    job: Job
    device_name: str
    measurement: Measurement | None
    failure: str | None

    def to_row(self) -> dict[str, Any]:
        """As plain values, for json."""
        measured = {} if self.measurement is None else self.measurement.to_row()
        return self.job.row_on(self.device_name) | measured | {"failure": self.failure}


def results_file(path: str | Path) -> RowsFile:
    """The file of rows at a path."""
    return RowsFile(Path(path), KIND, VERSION)


def read_results(paths: Iterable[str | Path]) -> list[Result]:
    """All results in some files.

    Raises:
        ValueError: a broken line before the last, rows of another kind or version, or that lack something.
        FileNotFoundError: no such file.
    """
    return [_result(row) for path in paths for row in results_file(path).read()]


def run_jobs(
    jobs: Sequence[Job],
    path: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
    processes: int | None = None,
) -> Iterator[Result]:
    """Measure each job in processes of its own, append its row to a file, and yield it.

    A model that fails is a row too. What only this process knows, a model that a program registers itself, cannot be
    measured so; `bench` measures it.

    Args:
        jobs: what to measure.
        path: the file; it need not exist. ``None``: no file.
        resume: leave out jobs of which the file has a row; these are not yielded.
        progress: show a bar with the remaining time, where standard error is a terminal.
        processes: in how many, one after the other, each model is measured, for a share of the seconds each; their
            repetitions are pooled. ``None``: 3 on the CPU, where processes differ by some percent, 1 on a GPU.

    Raises:
        ValueError: a file of something else.
        RuntimeError: the device does not even multiply matrices.
    """
    from tqdm import tqdm

    file = None if path is None else results_file(path)
    there = [] if file is None else file.read_if_exists()
    done = [r.job.row_on(r.device_name) for r in map(_result, there)] if resume else []
    to_do = [job for job in jobs if job.row_here() not in done]
    if progress and not sys.stderr.isatty():
        longest = sum(job.setting.seconds for job in to_do) / 60
        print(
            f"{len(to_do)} of {len(jobs)} to measure, each for its seconds at most: {longest:.0f} min", file=sys.stderr
        )
    with Worker() as worker, tqdm(total=len(jobs), unit="model", disable=None if progress else True) as bar:
        bar.update(len(jobs) - len(to_do))
        ceilings_of = functools.cache(functools.partial(ceilings_by, worker))
        for job in to_do:
            bar.set_postfix_str(job.model)
            row = job.row_here()
            ceilings = ceilings_of(job.setting.device, job.setting.dtype, job.setting.threads)
            row |= _measured(job, ceilings, worker, processes or _PROCESSES[job.setting.kind])
            if file is not None:
                file.append(row)
            bar.update()
            with bar.external_write_mode():
                yield _result(row)


_PROCESSES = {"cpu": 3, "cuda": 1}


def _measured(job: Job, ceilings: Ceilings, worker: Worker, processes: int) -> dict[str, Any]:
    setting = job.setting.settled(seconds=job.setting.seconds / processes)
    answers: list[dict[str, Any]] = []
    for _ in range(processes):
        row = replace(job, setting=setting).row_here()
        answer = worker.ask("job", row=row, ceilings=ceilings.to_dict())
        if answer["failure"] is not None:
            return {"failure": answer["failure"]}
        answers.append(answer)
        # The largest batch is looked for once.
        setting = setting.settled(batch_size=answer["row"]["setting"]["batch_size"])
    pooled = Repetitions.pooled([Repetitions(**answer["repetitions"]) for answer in answers], job.setting.precision)
    first = Measurement.from_row(answers[0]["row"])
    measurement = replace(
        first,
        setting=first.setting.settled(seconds=job.setting.seconds),
        timing=pooled.whole,
        steps=pooled.steps,
        warm_up=pooled.warm_up,
        settled=pooled.settled,
        reached=pooled.reached,
        processes=processes,
    )
    return measurement.to_row() | {"failure": None}


def _result(row: Mapping[str, Any]) -> Result:
    try:
        job = Job(row["model"], Setting.recorded(row["asked"]), row["model_args"], row["tags"])
        measurement = Measurement.from_row(row) if row["failure"] is None else None
        return Result(job, row["device_name"], measurement, row["failure"])
    except KeyError as error:
        raise ValueError(f"a row of {row.get('model')!r} lacks {error}") from error
