"""Fitting the coefficients of a `LatencyModel` to measurements."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from timm_regnet_ds.latency import model
from timm_regnet_ds.latency.model import TERMS, CrossValidation, terms_of

from .jobs import Result
from .measurement import Measurement
from .setting import Setting

__all__ = ["LatencyModel"]


class LatencyModel(model.LatencyModel):
    __doc__ = model.LatencyModel.__doc__

    @classmethod
    def fit(cls, rows: Iterable[Result | Measurement], folds: int = 10) -> "LatencyModel":
        """Fit the coefficients to measurements of one device in one setting.

        The coefficients minimize the squared relative errors and are not negative.

        Args:
            rows: results of ``read_results``, or measurements; failures are ignored.
            folds: number of parts into which the models are split for the cross-validation.

        Raises:
            ValueError: too few models, or measurements of several devices or settings.
            ImportError: SciPy is not installed.
        """
        found = [r.measurement if isinstance(r, Result) else r for r in rows]
        measurements = [m for m in found if m is not None]
        names = list(dict.fromkeys(m.label for m in measurements))
        if len(names) < 2 * len(TERMS):
            raise ValueError(f"a fit needs at least {2 * len(TERMS)} models; there are {len(names)}")
        setting = _common_setting(measurements)
        terms = np.array([terms_of(m.complexity, m.complexity.operators, m.setting.batch_size) for m in measurements])
        times = np.array([m.timing.median for m in measurements])
        batch_sizes = {m.setting.batch_size for m in measurements}
        return cls(
            coefficients=tuple(float(c) for c in _solve(terms, times)),
            batch_size=batch_sizes.pop() if len(batch_sizes) == 1 else None,
            device_name=measurements[0].environment["device_name"],
            setting=setting,
            error=_cross_validate(terms, times, [m.label for m in measurements], folds),
        )


def _cross_validate(terms: Any, times: Any, labels: Sequence[str], folds: int) -> CrossValidation:
    """Predict each model with coefficients that were fitted without its measurements."""
    names = list(dict.fromkeys(labels))
    fold_of = {name: i % folds for i, name in enumerate(np.random.default_rng(0).permutation(names))}
    fold = np.array([fold_of[label] for label in labels])
    errors = np.empty(len(times))
    for i in np.unique(fold):
        training = fold != i
        errors[~training] = np.abs(terms[~training] @ _solve(terms[training], times[training]) / times[~training] - 1)
    median, p90 = np.quantile(errors, (0.5, 0.9))
    return CrossValidation(float(median), float(p90), float(errors.max()), len(names), len(np.unique(fold)))


def _solve(terms: Any, times: Any) -> Any:
    """Coefficients that minimize the squared relative errors."""
    try:
        from scipy.optimize import nnls
    except ImportError as error:
        raise ImportError(f"a fit needs SciPy: pip install 'timm-regnet-ds[study]' ({error})") from error
    relative = terms / times[:, None]
    scale = np.linalg.norm(relative, axis=0)
    return nnls(relative / scale, np.ones(len(times)))[0] / scale


def _common_setting(measurements: Sequence[Measurement]) -> dict[str, Any]:
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
