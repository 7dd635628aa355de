"""Populations of trained models, read from files of rows."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from timm_regnet_ds._check import check_float
from timm_regnet_ds.populations.rows import SETTINGS, population_file
from timm_regnet_ds.populations.statistics import LinearFit, linear_fit
from timm_regnet_ds.populations.statistics.validation import FloatArray

__all__ = ["COMPLEXITIES", "Population", "Unit", "read_populations"]

_NEEDED = ("space", "index", "seed", "flops", "params", "acts", "error", "failure", "epochs", "dataset", "properties")


@dataclass(frozen=True)
class Unit:
    """How many make one unit of a complexity, and the unit's sign."""

    size: float
    sign: str


COMPLEXITIES = {"flops": Unit(1e6, "MF"), "params": Unit(1e6, "M"), "acts": Unit(1e6, "M")}


@dataclass(frozen=True, eq=False)
class Population:
    """The models of one space.

    Attributes:
        space: its name.
        trained: rows of models that have an error; n is their number.
        failures: how many models failed, by reason.
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

    def complexity(self, name: str) -> FloatArray:
        """``flops``, ``params`` or ``acts`` of one image, shape (n,)."""
        return np.array([row[name] for row in self.trained], dtype=np.float64)

    @cached_property
    def linear_fits(self) -> dict[int, LinearFit]:
        """The quantized linear fit of each model that has widths and depths by stage, by its index in ``trained``."""
        properties = ((i, row["properties"]) for i, row in enumerate(self.trained))
        return {i: linear_fit(p["widths"], p["depths"]) for i, p in properties if {"widths", "depths"} <= set(p)}

    @cached_property
    def properties(self) -> dict[str, FloatArray]:
        """Every property that is a number, shape (n,), NaN where a model has none.

        Complexities in their units are among them; so are, of models with stages, e_fit, the widths w1, w2 … and the
        depths d1, d2 ….
        """
        columns: dict[str, FloatArray] = {}
        for i, row in enumerate(self.trained):
            for name, value in _numbers(row, self.linear_fits.get(i)).items():
                columns.setdefault(name, np.full(len(self), np.nan))[i] = value
        return columns


def _numbers(row: Mapping[str, Any], fit: LinearFit | None) -> dict[str, float]:
    found = {name: row[name] / unit.size for name, unit in COMPLEXITIES.items()}
    found |= {name: value for name, value in row["properties"].items() if isinstance(value, (int, float))}
    for letter, name in (("w", "widths"), ("d", "depths")):
        found |= {f"{letter}{stage}": value for stage, value in enumerate(row["properties"].get(name, ()), 1)}
    return found if fit is None else found | {"e_fit": fit.error}


def read_populations(files: Iterable[str | os.PathLike[str]]) -> tuple[Population, ...]:
    """The populations in files of rows, in the order in which their spaces first occur.

    Raises:
        ValueError: rows of another kind or version; a row that lacks a key; an error that is no percentage; a model
            that occurs twice; models trained on different data or for different numbers of epochs; no rows.
        FileNotFoundError: no such file.
    """
    paths = [Path(file) for file in files]
    spaces: dict[str, list[dict[str, Any]]] = {}
    seen: dict[tuple[Any, ...], str] = {}
    settings: dict[tuple[Any, ...], str] = {}
    for path in paths:
        for row in population_file(path).read():
            where = _check(row, path)
            model = tuple(row[key] for key in ("space", "seed", "index"))
            if model in seen:
                raise ValueError(f"{where} is already in {seen[model]}: a model counts once")
            seen[model] = str(path)
            settings.setdefault(tuple((name, row.get(name)) for name in SETTINGS), where)
            spaces.setdefault(row["space"], []).append(row)
    if not spaces:
        raise ValueError(f"no rows of a population in {', '.join(map(str, paths)) or 'no file'}")
    if len(settings) > 1:
        (one, first), (other, second), *_ = settings.items()
        differ = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
        stated = ", ".join(f"{name} {value} in {first} and {with_} in {second}" for (name, value), (_, with_) in differ)
        raise ValueError(f"errors compare only under the same training, not with {stated}")
    return tuple(_population(space, rows) for space, rows in spaces.items())


def _check(row: Mapping[str, Any], path: Path) -> str:
    """Where a row is, in words; or a ValueError for what it lacks."""
    missing = [key for key in _NEEDED if key not in row]
    where = f"{path}: model {row.get('index')} of {row.get('space')} (seed {row.get('seed')})"
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    if row["error"] is not None:
        check_float(f"{where}: the error", row["error"], minimum=0, maximum=100)
    return where


def _population(space: str, rows: list[dict[str, Any]]) -> Population:
    trained = tuple(row for row in rows if row["error"] is not None)
    return Population(
        space, trained, Counter(row["failure"] or "no reason given" for row in rows if row["error"] is None)
    )
