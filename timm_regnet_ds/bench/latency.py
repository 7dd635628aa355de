"""Fitting a `LatencyModel` to rows of measurements."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from timm.models import create_model

from timm_regnet_ds.common.text import first_line
from timm_regnet_ds.complexity import Complexity, measure_factory
from timm_regnet_ds.latency import model
from timm_regnet_ds.latency.families import family_of
from timm_regnet_ds.latency.fitting import CHANGED, FAILED, UNCOUNTED, Dropped, Fit, TimedModel, fit_times

from .jobs import Result
from .measurement import Measurement
from .setting import Setting

__all__ = ["LatencyModel", "fit_results"]


class LatencyModel(model.LatencyModel):
    __doc__ = model.LatencyModel.__doc__

    @classmethod
    def fit(
        cls, rows: Iterable[Result | Measurement], folds: int = 10, start: model.LatencyModel | None = None
    ) -> "LatencyModel":
        """Fit the coefficients to measurements of one device in one setting.

        The form is ``bytes`` for a GPU and ``flops-acts`` for a CPU. The coefficients are not negative, and minimize
        the absolute relative errors.

        Args:
            rows: results of ``read_results``, or measurements; failures are ignored.
            folds: number of parts into which the models are split for the cross-validation.
            start: a known card from whose coefficients the fit starts, for few models.

        Raises:
            ValueError: too few models, or measurements of several devices or settings.
            ImportError: SciPy is not installed.
        """
        return cls.from_dict(asdict(fit_results(rows, folds, start).model))


def fit_results(rows: Iterable[Result | Measurement], folds: int = 10, start: model.LatencyModel | None = None) -> Fit:
    """`LatencyModel.fit` with the rows, their predictions, and what was dropped."""
    measurements: list[Measurement] = []
    dropped: list[Dropped] = []
    for row in rows:
        if isinstance(row, Measurement):
            measurements.append(row)
        elif row.measurement is not None:
            measurements.append(row.measurement)
        else:
            dropped.append(Dropped(row.job.label, FAILED, str(row.failure)))
    if not measurements:
        raise ValueError("a fit needs measurements, and there are none")
    setting = _common_setting(measurements)
    on_cpu = measurements[0].setting.device_type == "cpu"
    timed = []
    for m in measurements:
        counts = m.complexity if on_cpu or m.complexity.bytes else _recount(m)
        if isinstance(counts, Dropped):
            dropped.append(counts)
        else:
            family = family_of(m.model_args.get("base", m.model) if m.model == "scaled" else m.model)
            timed.append(TimedModel(m.label, family, counts, m.setting.batch_size, m.timing.median))
    return fit_times(
        timed,
        setting,
        measurements[0].environment["device_name"],
        form="flops-acts" if on_cpu else "bytes",
        start=start,
        folds=folds,
        torch=measurements[0].environment.get("torch"),
        dropped=dropped,
    )


def _recount(m: Measurement) -> Complexity | Dropped:
    """The complexity of a model whose row was written before there were bytes."""
    make = partial(create_model, m.model, **m.model_args)
    try:
        counts: Complexity = measure_factory(m.label, make, m.setting.input_size, dtype=m.setting.dtype)[1]
    except ValueError as error:
        return Dropped(m.label, UNCOUNTED, f"its row has no bytes, and it cannot be counted: {first_line(error)}")
    if counts.params != m.complexity.params:
        return Dropped(m.label, CHANGED, f"{m.complexity.params} params in the row, {counts.params} today")
    return counts


def _common_setting(measurements: Sequence[Measurement]) -> Mapping[str, Any]:
    """The values that all settings share, or a ValueError that names a field in which they differ."""
    common = {}
    for name in Setting.computation_fields():
        values = list(dict.fromkeys(getattr(m.setting, name) for m in measurements))
        if len(values) > 1:
            raise ValueError(f"a fit is of one setting, and these rows have {name} {' and '.join(map(str, values))}")
        common[name] = values[0]
    devices = sorted({m.environment["device_name"] for m in measurements})
    if len(devices) > 1:
        raise ValueError(f"a fit is of one device, and these rows are of {', '.join(devices)}")
    return common
