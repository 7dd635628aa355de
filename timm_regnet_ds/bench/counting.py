"""The complexity of models that are to be measured: each is counted once, before a run."""

import contextlib
import time
import warnings
from collections.abc import Iterable
from functools import partial

from timm.models import create_model

from timm_regnet_ds.complexity import Complexity, measure_factory

from .jobs import Job, Result

__all__ = ["JobCounts"]


class JobCounts:
    """The complexity of the models of jobs, in float32.

    Args:
        known: results whose models need not be counted again.
    """

    def __init__(self, known: Iterable[Result] = ()) -> None:
        self._known: dict[str, Complexity | None] = {
            _key(r.job): r.measurement.complexity for r in known if r.measurement
        }
        self._seconds = self._cpu_seconds = 0.0

    def of(self, job: Job) -> Complexity | None:
        """The complexity of a job's model; None for one that cannot be built or counted."""
        key = _key(job)
        if key not in self._known:
            start, cpu_start = time.monotonic(), time.process_time()
            self._known[key] = _count(job)
            self._seconds += time.monotonic() - start
            self._cpu_seconds += time.process_time() - cpu_start
        return self._known[key]

    @property
    def slowness(self) -> float:
        """The time of the counting divided by its CPU time, at least 1; it grows with the load of the machine."""
        return max(self._seconds / self._cpu_seconds, 1.0) if self._cpu_seconds else 1.0


def _key(job: Job) -> str:
    return f"{job.label} {job.setting.input_size}"


def _count(job: Job) -> Complexity | None:
    with contextlib.suppress(ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make = partial(create_model, job.model, **job.model_args)
        counted: Complexity = measure_factory(job.model, make, job.setting.input_size)[1]
        return counted
    return None
