"""The plan of a sweep: which models are trained, on which data, how, and where the rows are written."""

import math
import os
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from timm_regnet_ds.common.check import check_choice, check_float, check_int, did_you_mean
from timm_regnet_ds.common.checked_fields import CheckedFields, checked_by
from timm_regnet_ds.files.rows import RowsFile
from timm_regnet_ds.populations.rows import population_file
from timm_regnet_ds.spaces import Frame, Space, Values, get_space
from timm_regnet_ds.spaces.limits import Limit

__all__ = ["DATASET_SHAPES", "EXECUTORS", "Plan", "error_settings", "load_plan"]

EXECUTORS = ("local", "slurm")

# Fields of design spaces that follow from the plan's resolution and dataset.
_DERIVED_FIELDS = ("resolution", "num_classes", "in_chans")

# Metadata of the fields of `Plan` on which a model's error depends. Each row records them, `error_settings` reads
# them, and rows that differ in one of them are neither resumed from nor compared.
_AFFECTS_ERROR = {"affects_error": True}


class DatasetShape(NamedTuple):
    """What a dataset requires of a model's first and last layer."""

    num_classes: int
    in_chans: int


DATASET_SHAPES = {
    "cifar10": DatasetShape(10, 3),
    "cifar100": DatasetShape(100, 3),
    "digits": DatasetShape(10, 1),
    "fashion-mnist": DatasetShape(10, 1),
}


def _check_space_names(what: str, value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{what} must be a list of names, not {value!r}")
    if len(set(names)) != len(names):
        raise ValueError(f"{what} has a name twice: {', '.join(names)}")
    return tuple(names)


def _check_path(what: str, value: Any) -> Path:
    if isinstance(value, (str, os.PathLike)):
        return Path(value).expanduser()
    raise ValueError(f"{what} must be a path, not {value!r}")


def _check_str(what: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"{what} must be a name, not {value!r}")


def _check_limit(what: str, value: Any) -> Limit:
    if isinstance(value, (list, tuple)) and len(value) == 2:
        low, high = value
        return low, high
    raise ValueError(f"{what} must be a pair (low, high), not {value!r}")


def _check_mapping(what: str, value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise ValueError(f"{what} must be a mapping, not {value!r}")


def _check_bool(what: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"{what} must be true or false, not {value!r}")


def _check_yaml_float(what: str, value: Any, **bounds: Any) -> float:
    """`check_float` that also takes a string: YAML 1.1 reads 5e-5, which has no decimal point, as a string."""
    if isinstance(value, str):
        try:
            return check_float(what, float(value), **bounds)
        except ValueError:
            value = math.nan
    return check_float(what, value, **bounds)


@dataclass(frozen=True)
class Plan(CheckedFields):
    """A sweep. The defaults are the low-epoch settings of Designing Network Design Spaces, §3.1 and Appendix D.

    Args:
        spaces: names of design spaces.
        output: file to which the rows are appended.
        dataset: ``fashion-mnist``, ``digits``, ``cifar10``, ``cifar100``, or the name that timm gives a dataset.
        models: number of models sampled from each space.
        flops, params, acts: limits (low, high), as `Space.sample` takes them.
        change: overrides for fields of the design spaces, such as ``{frame: {stem: cifar}}``; a list stands for
            several values. Resolution, classes and channels cannot be overridden: they follow from the data.
        seed: seed of the sample and, together with a model's index, of its training.
        data_dir: directory of the dataset's files.
        download: download the dataset if its files are missing.
        num_classes: number of classes; needed for a dataset by timm's name, which does not tell it.
        resolution: height and width to which images are resized, in pixels.
        epochs: number of epochs.
        batch_size: images in a batch.
        learning_rate: initial learning rate.
        weight_decay, momentum: arguments of the optimizer.
        smoothing: label smoothing.
        optimizer, scheduler: the names that timm gives them.
        device: name of a torch device. ``None``: a CUDA device if there is one, otherwise the CPU.
        workers: number of data loading processes, for datasets that are not kept in memory.
        chunk: number of models in a job.
        jobs: number of jobs that run at the same time. ``local`` jobs are spread over the machine's CUDA devices.
        together: number of processes in a job, which train its models side by side on one device.
        executor: submitit's executor, ``local`` or ``slurm``.
        timeout_min: minutes after which submitit ends a job and starts it again where it stopped.
        parameters: further parameters of submitit's executor, such as ``slurm_partition`` and ``mem_gb``.

    Raises:
        ValueError: a value that is not allowed.
    """

    spaces: tuple[str, ...] = field(metadata=checked_by(_check_space_names))
    output: Path = field(metadata=checked_by(_check_path))
    dataset: str = field(metadata=checked_by(_check_str) | _AFFECTS_ERROR)
    models: int = field(default=100, metadata=checked_by(check_int, maximum=1_000_000))
    flops: Limit | None = field(default=None, metadata=checked_by(_check_limit, optional=True))
    params: Limit | None = field(default=None, metadata=checked_by(_check_limit, optional=True))
    acts: Limit | None = field(default=None, metadata=checked_by(_check_limit, optional=True))
    change: Mapping[str, Any] = field(default_factory=dict, metadata=checked_by(_check_mapping))
    seed: int = field(default=0, metadata=checked_by(check_int, minimum=0))
    data_dir: Path | None = field(default=None, metadata=checked_by(_check_path, optional=True))
    download: bool = field(default=False, metadata=checked_by(_check_bool))
    num_classes: int | None = field(default=None, metadata=checked_by(check_int, optional=True))
    resolution: int = field(default=32, metadata=checked_by(check_int) | _AFFECTS_ERROR)
    epochs: int = field(default=10, metadata=checked_by(check_int) | _AFFECTS_ERROR)
    batch_size: int = field(default=128, metadata=checked_by(check_int) | _AFFECTS_ERROR)
    learning_rate: float = field(default=0.05, metadata=checked_by(_check_yaml_float, above=0) | _AFFECTS_ERROR)
    weight_decay: float = field(default=5e-5, metadata=checked_by(_check_yaml_float, minimum=0) | _AFFECTS_ERROR)
    momentum: float = field(default=0.9, metadata=checked_by(_check_yaml_float, minimum=0, maximum=1) | _AFFECTS_ERROR)
    smoothing: float = field(default=0.0, metadata=checked_by(_check_yaml_float, minimum=0, maximum=1) | _AFFECTS_ERROR)
    optimizer: str = field(default="sgd", metadata=checked_by(_check_str) | _AFFECTS_ERROR)
    scheduler: str = field(default="cosine", metadata=checked_by(_check_str) | _AFFECTS_ERROR)
    device: str | None = None
    workers: int = field(default=2, metadata=checked_by(check_int, minimum=0))
    chunk: int = field(default=10, metadata=checked_by(check_int))
    jobs: int = field(default=1, metadata=checked_by(check_int))
    together: int = field(default=1, metadata=checked_by(check_int))
    executor: str = field(default="local", metadata=checked_by(check_choice, choices=EXECUTORS))
    timeout_min: int = field(default=3 * 24 * 60, metadata=checked_by(check_int))
    parameters: Mapping[str, Any] = field(default_factory=dict, metadata=checked_by(_check_mapping))

    @property
    def dataset_shape(self) -> DatasetShape:
        """The dataset's number of classes and of channels.

        Raises:
            ValueError: a dataset by timm's name, in a plan without ``num_classes``.
        """
        if self.dataset in DATASET_SHAPES:
            return DATASET_SHAPES[self.dataset]
        if self.num_classes is None:
            raise ValueError(f"dataset {self.dataset!r} needs num_classes")
        return DatasetShape(self.num_classes, 3)

    @property
    def rows(self) -> RowsFile:
        """The file of the rows."""
        return population_file(self.output)

    @property
    def folder(self) -> Path:
        """The directory of locks and logs, next to the file of the rows."""
        return self.output.with_name(f".{self.output.name}.sweep")

    @property
    def error_settings(self) -> dict[str, Any]:
        """The settings on which errors depend, as each row records them."""
        return {f.name: getattr(self, f.name) for f in _error_fields()}

    def space(self, name: str) -> Space:
        """One of the plan's spaces with its overrides, at the plan's resolution and for its dataset's shape.

        The space counts the complexity of exactly the networks that are trained.

        Raises:
            ValueError: an unknown space; an override of a field that no space of the plan has; an override that
                cannot be applied.
        """
        space = get_space(name)
        known = [{f.name for f in fields(get_space(other))} for other in self.spaces]
        for field_name in self.change:
            _refuse_derived(field_name)
            if not any(field_name in names for names in known):
                check_choice(f"field of {name}", field_name, sorted(set.union(*known)))
        own = {key: value for key, value in self.change.items() if hasattr(space, key)}
        return self._fit_to_data(_override(space, name, own))

    def _fit_to_data(self, space: Any) -> Space:
        shape = self.dataset_shape._asdict()
        if isinstance(getattr(space, "frame", None), Frame):
            return replace(space, frame=replace(space.frame, **shape), resolution=self.resolution)
        names = {f.name for f in fields(space)}
        data = {"resolution": self.resolution, **shape}
        fitted: Space = replace(space, **{name: value for name, value in data.items() if name in names})
        return fitted


def _error_fields() -> list[Field[Any]]:
    return [f for f in fields(Plan) if "affects_error" in f.metadata]


def error_settings(row: Mapping[str, Any]) -> dict[str, Any]:
    """The settings on which the error of a row depends.

    A setting that the row lacks has the default of `Plan`: the row was written before the setting existed.

    Raises:
        KeyError: the row lacks a setting that has no default.
    """
    return {f.name: row[f.name] if f.default is MISSING else row.get(f.name, f.default) for f in _error_fields()}


def load_plan(path: str | Path) -> Plan:
    """Read a plan from a YAML file whose keys are the arguments of `Plan`. Relative paths are relative to the file.

    Raises:
        ValueError: not a mapping, an unknown or missing key, or a value that is not allowed.
        FileNotFoundError: the file does not exist.
    """
    import yaml

    path = Path(path)
    try:
        given = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(given, dict):
        raise ValueError(f"{path} must be a mapping of keys to values")
    known = {f.name for f in fields(Plan)}
    for key in given:
        if key not in known:
            raise ValueError(
                f"{path}: unknown key {key!r}{did_you_mean(str(key), known)} (allowed: {', '.join(sorted(known))})"
            )
    for key in ("spaces", "output", "dataset"):
        if key not in given:
            raise ValueError(f"{path} has no {key!r}")
    for key in ("output", "data_dir"):
        if isinstance(given.get(key), str):
            given[key] = path.parent / Path(given[key]).expanduser()
    return Plan(**given)


def _refuse_derived(field_name: str) -> None:
    if field_name in _DERIVED_FIELDS:
        raise ValueError(f"change has no {field_name}: it follows from the plan's resolution and dataset")


def _override(part: Any, what: str, overrides: Mapping[str, Any]) -> Any:
    """A copy of a dataclass with other values for some fields; mappings override fields of nested dataclasses."""
    known = {f.name: getattr(part, f.name) for f in fields(part)}
    new = {}
    for name, value in overrides.items():
        old = check_choice(f"field of {what}", name, known)
        _refuse_derived(name)
        if isinstance(value, Mapping) and is_dataclass(old):
            value = _override(old, f"{what}'s {name}", value)
        elif isinstance(value, list):
            value = Values(tuple(value), old.log) if isinstance(old, Values) else tuple(value)
        new[name] = value
    return replace(part, **new)
