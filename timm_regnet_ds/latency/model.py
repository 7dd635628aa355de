"""The time of a model, predicted from its complexity."""

import json
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import nn

from timm_regnet_ds.common.check import check_choice, check_int
from timm_regnet_ds.complexity import Complexity, measure
from timm_regnet_ds.files.atomic import write_text

from .families import family_of
from .forms import FORMS, Form, bytes_format

__all__ = ["CrossValidation", "LatencyModel"]

KIND, VERSION = "latency-model", 2

T = TypeVar("T", bound="LatencyModel")

# Predictions for a family whose residual in the fit is above this share warn.
LARGE_RESIDUAL = 0.3


@dataclass(frozen=True)
class CrossValidation:
    """Errors of predictions for models that were left out of the fit, as fractions of the measured times.

    Attributes:
        median, p90, worst: statistics of the absolute relative errors.
        models: number of models. Each was left out once, with all its measurements.
        folds: number of parts in which they were left out.
        by_family: whether each part consists of whole families.
    """

    median: float
    p90: float
    worst: float
    models: int
    folds: int
    by_family: bool = False

    def __str__(self) -> str:
        without = "its family" if self.by_family else "it"
        return (
            f"{self.models} models, each predicted by a fit without {without} ({self.folds} folds): the error is "
            f"{self.median:.1%} in the median, {self.p90:.1%} at the 90th percentile, {self.worst:.1%} at worst"
        )


@dataclass(frozen=True)
class LatencyModel:
    """Predicts milliseconds as a weighted sum of a model's complexity.

    For a batch of b images, and no coefficient negative, ``bytes`` is the form for GPUs,

        t = b·(f₁·flops + f₂·grouped flops + m₁·product bytes + m₂·other bytes) + w·weight bytes + n·operators + c,

    where products are convolutions, linear layers and matrix products, and flops in groups of several channels have a
    coefficient of their own; ``flops-acts`` is the form for CPUs, where bytes gain little,

        t = b·(c₁·flops + c₂·acts) + c₃·params + c₄·operators + c₅.

    ``timm_regnet_ds.bench.LatencyModel`` also fits the coefficients to measurements.

    Attributes:
        coefficients: one coefficient for each term of the form, in milliseconds.
        batch_size: batch size of the measurements if all had the same, otherwise None; the default in `predict`.
        device_name: name of the device that was measured.
        setting: the fields of the setting that describe the computation.
        error: errors for models that were left out of the fit.
        form: ``bytes`` or ``flops-acts``.
        family_error: errors for models whose whole families were left out of the fit; None for a single family.
        residuals: the median residual of each family in the fit, as a fraction of the measured times.
        batch_sizes: the smallest and the largest batch of the measurements.
        torch: torch's version in the measurements.
        spread: by how much predictions vary between resamples of the models, if there are few; half of the 80%
            interval, as a fraction.
    """

    coefficients: tuple[float, ...]
    batch_size: int | None
    device_name: str
    setting: dict[str, Any]
    error: CrossValidation
    form: str = "flops-acts"
    family_error: CrossValidation | None = None
    residuals: Mapping[str, float] = field(default_factory=dict, repr=False)
    batch_sizes: tuple[int, int] | None = None
    torch: str | None = None
    spread: float | None = None

    @property
    def dtype(self) -> str:
        """The number format in which bytes are counted, one of ``measure``'s."""
        return str(self.setting.get("dtype", "fp32"))

    def predict(
        self,
        model_or_name: str | nn.Module | Complexity,
        *,
        batch_size: int | None = None,
        input_size: int | Sequence[int] | None = None,
    ) -> float:
        """Predict the milliseconds of a forward pass, or of a training step if the setting's mode is ``train``.

        A warning is given for a model of a family whose residual in the fit was above 30%.

        Args:
            model_or_name: name of a timm model, a module, or the `Complexity` of a model in the number format `dtype`.
            batch_size: number of images; by default that of the measurements.
            input_size: size of the images; by default the model's own.

        Raises:
            ValueError: as `measure`; no batch size is given and the measurements had several; or a complexity that was
                counted in another number format.
        """
        batch = self.batch_size if batch_size is None else check_int("batch_size", batch_size)
        if batch is None:
            raise ValueError("the measurements of the fit had several batch sizes: pass batch_size")
        if isinstance(model_or_name, Complexity):
            c = model_or_name
        else:
            c = measure(model_or_name, input_size, dtype=self.dtype)
            self._warn_of_family(model_or_name)
        if self._form.needs_bytes and bytes_format(c.dtype) != bytes_format(self.dtype):
            raise ValueError(
                f"the complexity was counted in {c.dtype} and {self.device_name} was measured in {self.dtype}: pass "
                f"the model, or measure(…, dtype={self.dtype!r})"
            )
        return float(np.dot(self.coefficients, self._form.values(c, batch)))

    @property
    def _form(self) -> Form:
        return FORMS[self.form]

    def _warn_of_family(self, model_or_name: str | nn.Module) -> None:
        family = family_of(model_or_name)
        residual = self.residuals.get(family, 0.0)
        if residual > LARGE_RESIDUAL:
            name = model_or_name if isinstance(model_or_name, str) else type(model_or_name).__name__
            warnings.warn(
                f"{name}: the fit itself misses the measured models of {family} by {residual:.0%} in the median; this "
                "prediction is as unsure",
                stacklevel=3,
            )

    def __str__(self) -> str:
        parts = (
            f"  {coefficient * size:.3g} ms per {unit}"
            for coefficient, (size, unit) in zip(self.coefficients, self._form.units, strict=True)
        )
        errors = [str(error) for error in (self.error, self.family_error) if error is not None]
        lines = [line for error in errors for line in textwrap.wrap(error, 78)]
        return "\n".join([*textwrap.wrap(self.about(), 78), *parts, *lines])

    def about(self, batch_size: int | None = None) -> str:
        """Device, setting and batch size, in one line."""
        batch = batch_size or self.batch_size
        version = f", torch {self.torch}" if self.torch else ""
        return f"{self.device_name}, {_describe(self.setting)}{version}, batch {batch or 'as given'}"

    def expected_error(self, batch_size: int | None = None) -> str:
        """How far predictions are off, in a few words, and whether the batch is none of those that were measured."""
        error = self.family_error or self.error
        unseen = "families" if error.by_family else "models"
        text = f"off by {error.median:.0%} in the median, {error.p90:.0%} at the 90th percentile, for unseen {unseen}"
        batch = batch_size or self.batch_size
        if batch and self.batch_sizes and not self.batch_sizes[0] <= batch <= self.batch_sizes[1]:
            text += f"; unsure, since batches of {self.batch_sizes[0]} to {self.batch_sizes[1]} were measured"
        return text

    def save(self, path: str | Path) -> Path:
        """Write the model to a JSON file and return its path."""
        text = json.dumps({"kind": KIND, "version": VERSION, **asdict(self)}, indent=1, ensure_ascii=False)
        return write_text(path, text + "\n")

    @classmethod
    def load(cls: type[T], path: str | Path) -> T:
        """Read a file that `save` wrote, in this version of the package or an earlier one.

        Raises:
            ValueError: a file of another kind or version.
            FileNotFoundError: no such file.
        """
        try:
            saved = json.loads(Path(path).read_text(encoding="utf-8"))
            kind, version = saved.pop("kind"), saved.pop("version")
            if kind != KIND or version not in (1, VERSION):
                raise ValueError(f"it is a {kind} of version {version}")
            return cls.from_dict(saved)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path} is not a {KIND} of version 1 or {VERSION}: {error}") from error

    @classmethod
    def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
        """Read what ``dataclasses.asdict`` gave, after JSON.

        Raises:
            TypeError, ValueError, KeyError: something is missing or of another kind.
        """
        values = dict(values)
        form = check_choice("form", values.get("form", "flops-acts"), FORMS)
        coefficients = tuple(float(c) for c in values.pop("coefficients"))
        if len(coefficients) != len(form.terms):
            raise ValueError(f"{len(coefficients)} coefficients where the form {form.name} has {len(form.terms)}")
        for name in ("error", "family_error"):
            values[name] = CrossValidation(**values[name]) if values.get(name) is not None else None
        if values.get("batch_sizes") is not None:
            values["batch_sizes"] = tuple(values["batch_sizes"])
        return cls(coefficients=coefficients, **values)


def _describe(setting: Mapping[str, Any]) -> str:
    return ", ".join(name if value is True else f"{name} {value}" for name, value in setting.items() if value)
