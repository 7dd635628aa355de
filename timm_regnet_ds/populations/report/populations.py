"""Populations of trained models, read from the rows of sweeps."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from timm_regnet_ds.common.check import check_float
from timm_regnet_ds.complexity import UNITS, Unit
from timm_regnet_ds.populations.rows import population_file
from timm_regnet_ds.populations.statistics import LinearFit, linear_fit
from timm_regnet_ds.populations.statistics.validation import FloatArray
from timm_regnet_ds.populations.sweep.plan import error_settings

__all__ = ["COMPLEXITY_UNITS", "Population", "read_populations"]

_REQUIRED_KEYS = ("space", "index", "seed", "flops", "params", "acts", "error", "failure", "dataset", "properties")


# Models of populations are small, so their flops are shown in millions.
COMPLEXITY_UNITS = {**UNITS, "flops": Unit(1e6, "M", "MF")}


@dataclass(frozen=True, eq=False)
class Population:
    """The models of one design space.

    Attributes:
        space: name of the space.
        trained: rows of the n models that have an error.
        failures: number of failed models by reason.
    """

    space: str
    trained: tuple[Mapping[str, Any], ...]
    failures: Counter[str]

    def __len__(self) -> int:
        return len(self.trained)

    @cached_property
    def errors(self) -> FloatArray:
        """Top-1 errors in percent, shape (n,)."""
        return np.array([row["error"] for row in self.trained], dtype=np.float64)

    def complexity(self, metric: str) -> FloatArray:
        """``flops``, ``params`` or ``acts`` of each model for one image, shape (n,)."""
        return np.array([row[metric] for row in self.trained], dtype=np.float64)

    @cached_property
    def linear_fits(self) -> dict[int, LinearFit]:
        """Index in ``trained`` → quantized linear fit, for models whose properties have widths and depths by stage."""
        properties = ((i, row["properties"]) for i, row in enumerate(self.trained))
        return {i: linear_fit(p["widths"], p["depths"]) for i, p in properties if {"widths", "depths"} <= set(p)}

    @cached_property
    def properties(self) -> dict[str, FloatArray]:
        """Every numeric property by name, shape (n,), NaN for models that lack it.

        Besides the numeric entries of a row's ``properties`` these are flops, params and acts in units of
        `COMPLEXITY_UNITS` and, for models with stages, e_fit, the widths w1, w2, … and the depths d1, d2, ….
        """
        columns: dict[str, FloatArray] = {}
        for i, row in enumerate(self.trained):
            for name, value in _numeric_properties(row, self.linear_fits.get(i)).items():
                columns.setdefault(name, np.full(len(self), np.nan))[i] = value
        return columns


def _numeric_properties(row: Mapping[str, Any], fit: LinearFit | None) -> dict[str, float]:
    found = {metric: row[metric] / unit.size for metric, unit in COMPLEXITY_UNITS.items()}
    found |= {name: value for name, value in row["properties"].items() if isinstance(value, (int, float))}
    for letter, name in (("w", "widths"), ("d", "depths")):
        found |= {f"{letter}{stage}": value for stage, value in enumerate(row["properties"].get(name, ()), 1)}
    return found if fit is None else found | {"e_fit": fit.error}


def read_populations(files: Iterable[str | os.PathLike[str]]) -> tuple[Population, ...]:
    """Read the populations in files of rows, in the order in which their spaces first occur.

    Raises:
        ValueError: no rows; rows of another kind or version; a row without a required key; an error that is not a
            percentage; a model that occurs twice; models trained with different settings, such as another dataset,
            resolution or number of epochs.
        FileNotFoundError: a file does not exist.
    """
    paths = [Path(file) for file in files]
    rows_by_space: dict[str, list[dict[str, Any]]] = {}
    first_seen: dict[tuple[Any, ...], str] = {}
    where_trained_so: dict[tuple[tuple[str, Any], ...], str] = {}
    for path in paths:
        for row in population_file(path).read():
            where = f"{path}: model {row.get('index')} of {row.get('space')} (seed {row.get('seed')})"
            _check_row(row, where)
            key = tuple(row[name] for name in ("space", "seed", "index"))
            if key in first_seen:
                raise ValueError(f"{where} is already in {first_seen[key]}: a model counts once")
            first_seen[key] = str(path)
            where_trained_so.setdefault(tuple(error_settings(row).items()), where)
            rows_by_space.setdefault(row["space"], []).append(row)
    if not rows_by_space:
        raise ValueError(f"no rows of a population in {', '.join(map(str, paths)) or 'no file'}")
    if len(where_trained_so) > 1:
        (one, first), (other, second), *_ = where_trained_so.items()
        differ = [(name, a, b) for (name, a), (_, b) in zip(one, other, strict=True) if a != b]
        stated = ", ".join(f"{name} {a} in {first} and {b} in {second}" for name, a, b in differ)
        raise ValueError(f"errors can be compared only under the same training, not with {stated}")
    return tuple(_population(space, rows) for space, rows in rows_by_space.items())


def _check_row(row: Mapping[str, Any], where: str) -> None:
    missing = [key for key in _REQUIRED_KEYS if key not in row]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    if row["error"] is not None:
        check_float(f"{where}: the error", row["error"], minimum=0, maximum=100)


def _population(space: str, rows: list[dict[str, Any]]) -> Population:
    trained = tuple(row for row in rows if row["error"] is not None)
    failures = Counter(row["failure"] or "no reason given" for row in rows if row["error"] is None)
    return Population(space, trained, failures)
