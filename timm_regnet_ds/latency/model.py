"""The time of a model, predicted from what it computes."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from timm_regnet_ds.bench.measurement import Measurement
from timm_regnet_ds.bench.runner import Result
from timm_regnet_ds.complexity import Complexity, measure
from timm_regnet_ds.files.atomic import write_text

__all__ = ["CrossValidation", "LatencyModel"]

KIND, VERSION = "latency-model", 1

# What time is a sum of. Per image of the batch: flops and acts; per batch: params, operators and the call itself.
TERMS = ("flops", "acts", "params", "operators", "call")

# In all of these, rows to fit must be alike.
_ALIKE = (
    "mode",
    "dtype",
    "channels_last",
    "compile",
    "cuda_graphs",
    "fold_bn",
    "grad_checkpointing",
    "optimizer",
    "threads",
)


@dataclass(frozen=True)
class CrossValidation:
    """Errors of predictions for models that the fit had not seen, as shares of the measured times.

    Attributes:
        median, p90, worst: of the errors' sizes.
        models: number of models, each of which was left out once with all its rows.
        folds: in how many parts they were left out.
    """

    median: float
    p90: float
    worst: float
    models: int
    folds: int

    def __str__(self) -> str:
        return (
            f"{self.models} models, each predicted without having been seen ({self.folds} folds): off by "
            f"{self.median:.1%} in the median, {self.p90:.1%} at the 90th percentile, {self.worst:.1%} at worst"
        )


@dataclass(frozen=True)
class LatencyModel:
    """Milliseconds as a sum of terms with coefficients that are not negative.

    t = b·(c₁·flops + c₂·acts) + c₃·params + c₄·operators + c₅ for a batch of b images, fitted by non-negative least
    squares of the relative errors.

    Attributes:
        coefficients: one for each of ``TERMS``, in milliseconds.
        batch_size: of the rows, where all had the same; what is predicted for by default.
        device_name: the card.
        setting: what all rows had in common.
        error: of models that the fit had not seen.
    """

    coefficients: tuple[float, ...]
    batch_size: int | None
    device_name: str
    setting: dict[str, Any]
    error: CrossValidation

    @classmethod
    def fit(cls, rows: Iterable[Result | Measurement], folds: int = 10) -> "LatencyModel":
        """Fit to measurements of one card in one setting.

        Args:
            rows: results of ``read_results``, or measurements; failures are left out.
            folds: of the cross-validation.

        Raises:
            ValueError: too few models, or rows of several cards or settings.
            ImportError: SciPy is not installed.
        """
        found = [r.measurement if isinstance(r, Result) else r for r in rows]
        measurements = [m for m in found if m is not None]
        names = list(dict.fromkeys(m.label for m in measurements))
        if len(names) < 2 * len(TERMS):
            raise ValueError(f"a fit needs at least {2 * len(TERMS)} models; there are {len(names)}")
        alike = _common(measurements)
        terms = np.array([_terms(m.complexity, m.operators, m.setting.batch_size) for m in measurements])
        times = np.array([m.timing.median for m in measurements])
        fold_of = {name: i % folds for i, name in enumerate(np.random.default_rng(0).permutation(names))}
        fold = np.array([fold_of[m.label] for m in measurements])
        errors = np.empty(len(times))
        for i in np.unique(fold):
            seen = fold != i
            errors[~seen] = np.abs(terms[~seen] @ _solve(terms[seen], times[seen]) / times[~seen] - 1)
        median, p90 = np.quantile(errors, (0.5, 0.9))
        validation = CrossValidation(float(median), float(p90), float(errors.max()), len(names), len(np.unique(fold)))
        batches = {m.setting.batch_size for m in measurements}
        coefficients = tuple(float(c) for c in _solve(terms, times))
        batch_size = batches.pop() if len(batches) == 1 else None
        card = measurements[0].environment["device_name"]
        return cls(coefficients, batch_size, card, alike, validation)

    def predict(
        self,
        model_or_name: str | nn.Module | Complexity,
        *,
        batch_size: int | None = None,
        input_size: int | Sequence[int] | None = None,
    ) -> float:
        """Milliseconds of a repetition.

        Args:
            model_or_name: name of a timm model, a module, or what `measure` said of one.
            batch_size: number of images; the fit's by default.
            input_size: of images; the model's own by default.

        Raises:
            ValueError: as `measure`; or no batch size, where the fit's rows had several.
        """
        batch = batch_size or self.batch_size
        if batch is None:
            raise ValueError("the fit's rows had several batch sizes: pass batch_size")
        c = model_or_name if isinstance(model_or_name, Complexity) else measure(model_or_name, input_size)
        return float(np.dot(self.coefficients, _terms(c, c.operators, batch)))

    def __str__(self) -> str:
        scales = {
            "flops": (1e9, "GF"),
            "acts": (1e6, "M acts"),
            "params": (1e6, "M params"),
            "operators": (1, "operator"),
            "call": (1, "call"),
        }
        parts = (f"{c * scales[t][0]:.3g} ms per {scales[t][1]}" for t, c in zip(TERMS, self.coefficients, strict=True))
        return "\n".join([self.about(), *(f"  {part}" for part in parts), *textwrap.wrap(str(self.error), 76)])

    def about(self, batch_size: int | None = None) -> str:
        """Card, setting and batch in a line."""
        batch = batch_size or self.batch_size
        return f"{self.device_name}, {_said(self.setting)}, batch {batch or 'as given'}"

    def save(self, path: str | Path) -> Path:
        """Write as json."""
        return write_text(path, json.dumps({"kind": KIND, "version": VERSION, **asdict(self)}, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "LatencyModel":
        """Read what `save` wrote.

        Raises:
            ValueError: not such a file, or one of another version.
            FileNotFoundError: no such file.
        """
        try:
            saved = json.loads(Path(path).read_text(encoding="utf-8"))
            kind, version = saved.pop("kind"), saved.pop("version")
            if (kind, version) != (KIND, VERSION):
                raise ValueError(f"it is a {kind} of version {version}")
            error = CrossValidation(**saved.pop("error"))
            return cls(coefficients=tuple(saved.pop("coefficients")), error=error, **saved)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path} is not a {KIND} of version {VERSION}: {error}") from error


def _terms(c: Any, operators: int, batch: int) -> list[float]:
    return [batch * c.flops, batch * c.acts, c.params, operators, 1.0]


def _solve(terms: Any, times: Any) -> Any:
    try:
        from scipy.optimize import nnls
    except ImportError as error:
        raise ImportError(f"a fit needs SciPy: pip install 'timm-regnet-ds[study]' ({error})") from error
    relative = terms / times[:, None]
    scale = np.linalg.norm(relative, axis=0)
    return nnls(relative / scale, np.ones(len(times)))[0] / scale


def _common(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """What all settings say alike, or a ValueError that names what differs."""
    alike = {}
    for name in _ALIKE:
        values = list(dict.fromkeys(getattr(m.setting, name) for m in measurements))
        if len(values) > 1:
            raise ValueError(f"a fit is of one setting, and these rows have {name} {' and '.join(map(str, values))}")
        alike[name] = values[0]
    cards = sorted({m.environment["device_name"] for m in measurements})
    if len(cards) > 1:
        raise ValueError(f"a fit is of one card, and these rows are of {', '.join(cards)}")
    return alike


def _said(setting: dict[str, Any]) -> str:
    switches = [name if value is True else f"{name} {value}" for name, value in setting.items() if value]
    return ", ".join(switches)
