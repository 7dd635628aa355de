"""Fitting the coefficients of a `LatencyModel` to measured times. Only this needs SciPy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from timm_regnet_ds.complexity import Complexity

from .forms import FORMS
from .model import CrossValidation, LatencyModel

__all__ = [
    "CHANGED",
    "FAILED",
    "FEW",
    "UNCOUNTED",
    "UNKNOWN",
    "Dropped",
    "Fit",
    "TimedModel",
    "cross_validate",
    "fit_times",
]

# With fewer models, a fit says how unsure it is.
FEW = 20

_ROUNDS = 12  # of reweighting
_SMALLEST = 0.02  # residuals below this share get no more weight: they are of the size of the noise
# Weight of a known card's coefficients, relative to that of one measured model.
_PRIOR = 0.1
_RESAMPLES = 40


@dataclass(frozen=True)
class TimedModel:
    """A measured model: its family, its complexity in the number format of the measurement, batch size and time."""

    label: str
    family: str
    complexity: Complexity
    batch_size: int
    milliseconds: float


# Why rows are dropped.
FAILED = "the run failed"
UNKNOWN = "timm has no such model today"
CHANGED = "the params are not those of the model today"
UNCOUNTED = "the model cannot be counted"


@dataclass(frozen=True)
class Dropped:
    """A row that a fit does not use.

    Attributes:
        label: name of the model.
        kind: what is wrong, in words that all such rows share: ``FAILED``, ``UNKNOWN``, ``CHANGED`` or ``UNCOUNTED``.
        detail: what is wrong with this row, if there is more to say.
    """

    label: str
    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.label}: {self.detail or self.kind}"


@dataclass(frozen=True)
class Fit:
    """A fitted model with what its report shows.

    Attributes:
        model: the fitted model.
        rows: the measured models.
        fitted: the times that the model predicts for them.
        unseen: the times that fits without their family predict for them; without them alone, for a single family.
        dropped: rows that were not used.
    """

    model: LatencyModel
    rows: Sequence[TimedModel]
    fitted: Any = field(repr=False)
    unseen: Any = field(repr=False)
    dropped: Sequence[Dropped] = ()

    def times(self) -> Any:
        """The measured milliseconds."""
        return np.array([row.milliseconds for row in self.rows])


def fit_times(
    rows: Sequence[TimedModel],
    setting: Mapping[str, Any],
    device_name: str,
    *,
    form: str = "bytes",
    start: LatencyModel | None = None,
    folds: int = 10,
    torch: str | None = None,
    dropped: Sequence[Dropped] = (),
) -> Fit:
    """Fit the coefficients to measurements of one device in one setting.

    They are not negative, and minimize the sum of the absolute relative errors: least squares, reweighted iteratively.

    Args:
        rows: the measured models.
        setting: what the measurements have in common; its ``dtype`` is the format of their complexity.
        device_name: the measured device.
        form: name of a form of ``FORMS``.
        start: a known card. The fit then changes its coefficients, all by the same ratio as far as possible.
        folds: number of parts into which models, and families, are split for the cross-validation.
        torch: torch's version in the measurements.
        dropped: rows that were left out before.

    Raises:
        ValueError: too few models, or a card of another form.
        ImportError: SciPy is not installed.
    """
    if start is not None and start.form != form:
        raise ValueError(f"{start.device_name} was fitted by the form {start.form}, and these rows need {form}")
    names = {row.label for row in rows}
    least = 3 if start is not None else 2 * len(FORMS[form].terms)
    if len(names) < least:
        hint = "" if start is not None else "; a fit that starts from a known card (--from) needs 3"
        raise ValueError(f"a fit needs at least {least} models; there are {len(names)}{hint}")
    terms, times = _terms(rows, form), np.array([row.milliseconds for row in rows])
    solve = _solve if start is None else _solver_from(np.array(start.coefficients))
    labels, families = [row.label for row in rows], [row.family for row in rows]
    seen, error = _validate(solve, terms, times, labels, folds, False)
    unseen, family_error = seen, None
    if len(set(families)) > 1:
        unseen, family_error = _validate(solve, terms, times, families, folds, True)
        family_error = replace(family_error, models=len(names))
    coefficients = solve(terms, times)
    fitted = terms @ coefficients
    batches = sorted({row.batch_size for row in rows})
    model = LatencyModel(
        coefficients=tuple(float(c) for c in coefficients),
        batch_size=batches[0] if len(batches) == 1 else None,
        device_name=device_name,
        setting=dict(setting),
        error=error,
        form=form,
        family_error=family_error,
        residuals=_residuals(fitted, times, families),
        batch_sizes=(batches[0], batches[-1]),
        torch=torch,
        spread=_spread(solve, terms, times, labels) if len(names) < FEW else None,
    )
    return Fit(model, rows, fitted, unseen, dropped)


def cross_validate(rows: Sequence[TimedModel], form: str, by_family: bool, folds: int = 10) -> CrossValidation:
    """The errors of a form for models, or whole families, that were left out of the fit."""
    groups = [row.family if by_family else row.label for row in rows]
    times = np.array([row.milliseconds for row in rows])
    _, error = _validate(_solve, _terms(rows, form), times, groups, folds, by_family)
    return replace(error, models=len({row.label for row in rows}))


def _terms(rows: Sequence[TimedModel], form: str) -> Any:
    return np.array([FORMS[form].values(row.complexity, row.batch_size) for row in rows])


_Solver = Callable[[Any, Any], Any]  # (terms, times) -> coefficients


def _validate(
    solve: _Solver, terms: Any, times: Any, groups: Sequence[str], folds: int, by_family: bool
) -> tuple[Any, CrossValidation]:
    """Predict each row by coefficients that were fitted without its group; return predictions and their errors."""
    names = list(dict.fromkeys(groups))
    fold_of = {name: i % folds for i, name in enumerate(np.random.default_rng(0).permutation(names))}
    fold = np.array([fold_of[group] for group in groups])
    predicted = np.empty(len(times))
    for i in np.unique(fold):
        predicted[fold == i] = terms[fold == i] @ solve(terms[fold != i], times[fold != i])
    errors = np.abs(predicted / times - 1)
    median, p90 = np.quantile(errors, (0.5, 0.9))
    validation = CrossValidation(
        float(median), float(p90), float(errors.max()), len(names), len(np.unique(fold)), by_family
    )
    return predicted, validation


def _residuals(fitted: Any, times: Any, families: Sequence[str]) -> dict[str, float]:
    errors, of = np.abs(fitted / times - 1), np.array(families)
    return {str(family): round(float(np.median(errors[of == family])), 3) for family in sorted(set(families))}


def _spread(solve: _Solver, terms: Any, times: Any, labels: Sequence[str]) -> float:
    chance, names, of = np.random.default_rng(0), sorted(set(labels)), np.array(labels)
    predictions = []
    for _ in range(_RESAMPLES):
        rows = np.concatenate([np.flatnonzero(of == name) for name in chance.choice(names, len(names))])
        predictions.append(terms @ solve(terms[rows], times[rows]))
    low, middle, high = np.quantile(predictions, (0.1, 0.5, 0.9), axis=0)
    return float(np.median((high - low) / 2 / middle))


def _solve(terms: Any, times: Any) -> Any:
    """Coefficients that are not negative and minimize the absolute relative errors."""
    relative = terms / times[:, None]
    scale = np.linalg.norm(relative, axis=0)
    scale[scale == 0] = 1.0
    return _reweighted(relative / scale, np.ones(len(times)), np.zeros((0, terms.shape[1]))) / scale


def _solver_from(known: Any) -> _Solver:
    """Solves by changing known coefficients: their common ratio is fitted first, then each is drawn to that ratio."""

    def solve(terms: Any, times: Any) -> Any:
        ratio = np.median(times / (terms @ known))
        shares = terms * (known * ratio) / times[:, None]
        prior = np.sqrt(_PRIOR) * np.eye(len(known))
        return known * ratio * _reweighted(shares, np.ones(len(times)), prior)

    return solve


def _reweighted(matrix: Any, wanted: Any, prior: Any) -> Any:
    try:
        from scipy.optimize import nnls
    except ImportError as error:
        raise ImportError(f"a fit needs SciPy: pip install 'timm-regnet-ds[study]' ({error})") from error
    weights = np.ones(len(wanted))
    for _ in range(_ROUNDS):
        rows = np.vstack([matrix * weights[:, None], prior])
        found = nnls(rows, np.concatenate([wanted * weights, prior.sum(axis=1)]))[0]
        weights = 1 / np.sqrt(np.maximum(np.abs(matrix @ found - wanted), _SMALLEST))
        weights /= np.sqrt(np.mean(weights**2))
    return found
