"""The time of a model, predicted from its complexity."""

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from timm_regnet_ds.complexity import Complexity, Counts, measure
from timm_regnet_ds.files.atomic import write_text

__all__ = ["TERMS", "CrossValidation", "LatencyModel", "terms_of"]

KIND, VERSION = "latency-model", 1

# The terms of the sum. Flops and acts count once per image of the batch; params, operators and the call once per batch.
TERMS = ("flops", "acts", "params", "operators", "call")


@dataclass(frozen=True)
class CrossValidation:
    """Errors of predictions for models that were left out of the fit, as fractions of the measured times.

    Attributes:
        median, p90, worst: statistics of the absolute relative errors.
        models: number of models. Each was left out once, with all its measurements.
        folds: number of parts in which they were left out.
    """

    median: float
    p90: float
    worst: float
    models: int
    folds: int

    def __str__(self) -> str:
        return (
            f"{self.models} models, each predicted by a fit without it ({self.folds} folds): the error is "
            f"{self.median:.1%} in the median, {self.p90:.1%} at the 90th percentile, {self.worst:.1%} at worst"
        )


@dataclass(frozen=True)
class LatencyModel:
    """Predicts milliseconds as a weighted sum of a model's complexity.

    For a batch of b images, t = b·(c₁·flops + c₂·acts) + c₃·params + c₄·operators + c₅, where no coefficient is
    negative. ``timm_regnet_ds.bench.LatencyModel`` also fits the coefficients to measurements.

    Attributes:
        coefficients: one coefficient for each of ``TERMS``, in milliseconds.
        batch_size: batch size of the measurements if all had the same, otherwise None; the default in `predict`.
        device_name: name of the device that was measured.
        setting: the fields of the setting that describe the computation.
        error: errors for models that were left out of the fit.
    """

    coefficients: tuple[float, ...]
    batch_size: int | None
    device_name: str
    setting: dict[str, Any]
    error: CrossValidation

    def predict(
        self,
        model_or_name: str | nn.Module | Complexity,
        *,
        batch_size: int | None = None,
        input_size: int | Sequence[int] | None = None,
    ) -> float:
        """Predict the milliseconds of a forward pass, or of a training step if the setting's mode is ``train``.

        Args:
            model_or_name: name of a timm model, a module, or the `Complexity` of a model.
            batch_size: number of images; by default that of the measurements.
            input_size: size of the images; by default the model's own.

        Raises:
            ValueError: as `measure`; or no batch size is given and the measurements had several.
        """
        batch = batch_size or self.batch_size
        if batch is None:
            raise ValueError("the measurements of the fit had several batch sizes: pass batch_size")
        c = model_or_name if isinstance(model_or_name, Complexity) else measure(model_or_name, input_size)
        return float(np.dot(self.coefficients, terms_of(c, c.operators, batch)))

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
        """Device, setting and batch size, in one line."""
        batch = batch_size or self.batch_size
        return f"{self.device_name}, {_describe(self.setting)}, batch {batch or 'as given'}"

    def save(self, path: str | Path) -> Path:
        """Write the model to a JSON file and return its path."""
        return write_text(path, json.dumps({"kind": KIND, "version": VERSION, **asdict(self)}, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "LatencyModel":
        """Read a file that `save` wrote.

        Raises:
            ValueError: a file of another kind or version.
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


def terms_of(counts: Counts, operators: int, batch_size: int) -> list[float]:
    """The value of each of ``TERMS`` for one model and batch."""
    return [batch_size * counts.flops, batch_size * counts.acts, counts.params, operators, 1.0]


def _describe(setting: dict[str, Any]) -> str:
    return ", ".join(name if value is True else f"{name} {value}" for name, value in setting.items() if value)
