"""The plan of a sweep: which models, trained how, on what, where to."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from timm_regnet_ds._check import check_choice, check_float, check_int, did_you_mean
from timm_regnet_ds.files.rows import RowsFile
from timm_regnet_ds.populations.rows import SETTINGS, population_file
from timm_regnet_ds.spaces import Frame, Space, Values, get_space

__all__ = ["EXECUTORS", "IMAGES", "Plan", "load_plan"]

Limit = tuple[float | str | None, float | str | None]

EXECUTORS = dict.fromkeys(("local", "slurm"))

_COUNTS = {
    "models": 1,
    "seed": 0,
    "resolution": 1,
    "epochs": 1,
    "batch_size": 1,
    "chunk": 1,
    "jobs": 1,
    "together": 1,
    "workers": 0,
    "timeout_min": 1,
}
_AMOUNTS: dict[str, dict[str, float]] = {
    "learning_rate": {"above": 0},
    "weight_decay": {"minimum": 0},
    "momentum": {"minimum": 0, "maximum": 1},
    "smoothing": {"minimum": 0, "maximum": 1},
}
# Fields of spaces that the plan's data settle.
_FOLLOWING = ("resolution", "num_classes", "in_chans")


class Images(NamedTuple):
    """Classes and channels of a dataset."""

    num_classes: int
    in_chans: int


IMAGES = {
    "cifar10": Images(10, 3),
    "cifar100": Images(100, 3),
    "digits": Images(10, 1),
    "fashion-mnist": Images(10, 1),
}

_WORDS = ("dataset", "optimizer", "scheduler")


@dataclass(frozen=True)
class Plan:
    """A sweep. The defaults are the low-epoch settings of Designing Network Design Spaces, §3.1 and App. D.

    Args:
        spaces: names of design spaces.
        output: file of the rows.
        dataset: ``fashion-mnist``, ``digits``, ``cifar10``, ``cifar100``, or timm's name of a dataset.
        models: how many of each space.
        flops, params, acts: limits (low, high), as `Space.sample` takes them.
        change: fields of the spaces that are to be others, such as ``{frame: {stem: cifar}}``; a list stands for
            several values. Resolution, classes and channels follow from the data.
        seed: of the sample and, with a model's number, of its training.
        data_dir: where the dataset's files are.
        download: fetch the dataset where its files are not there.
        num_classes: of a dataset by timm's name, which does not say it.
        resolution: side to which the images are brought, in pixels.
        epochs: how many.
        batch_size: images.
        learning_rate: at the start.
        weight_decay, momentum: of the optimizer.
        smoothing: of the labels.
        optimizer, scheduler: timm's names.
        device: torch's name; ``None``: a CUDA card where there is one.
        workers: processes that load images of a dataset that is not kept on the device.
        chunk: models a job.
        jobs: jobs at once. With several cards in a machine, ``local`` jobs take them in turn.
        together: processes of a job; they train its models side by side on one card.
        executor: submitit's: ``local`` or ``slurm``.
        timeout_min: minutes after which a job is ended and begun again where it stopped.
        parameters: further ones of submitit, such as ``slurm_partition`` and ``mem_gb``.

    Raises:
        ValueError: a value that is not allowed.
    """

    spaces: tuple[str, ...]
    output: Path
    dataset: str
    models: int = 100
    flops: Limit | None = None
    params: Limit | None = None
    acts: Limit | None = None
    change: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    data_dir: Path | None = None
    download: bool = False
    num_classes: int | None = None
    resolution: int = 32
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 0.05
    weight_decay: float = 5e-5
    momentum: float = 0.9
    smoothing: float = 0.0
    optimizer: str = "sgd"
    scheduler: str = "cosine"
    device: str | None = None
    workers: int = 2
    chunk: int = 10
    jobs: int = 1
    together: int = 1
    executor: str = "local"
    timeout_min: int = 3 * 24 * 60
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._set("spaces", _names(self.spaces))
        for name, least in _COUNTS.items():
            check_int(name, getattr(self, name), least)
        for name, bounds in _AMOUNTS.items():
            self._set(name, check_float(name, _as_float(getattr(self, name)), **bounds))
        for name in _WORDS:
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be a name, not {getattr(self, name)!r}")
        for name in ("flops", "params", "acts"):
            limit = getattr(self, name)
            if limit is not None:
                if not isinstance(limit, (list, tuple)) or len(limit) != 2:
                    raise ValueError(f"{name} must be a pair (low, high), not {limit!r}")
                self._set(name, tuple(limit))
        if not isinstance(self.download, bool):
            raise ValueError(f"download must be true or false, not {self.download!r}")
        if self.num_classes is not None:
            check_int("num_classes", self.num_classes)
        for name in ("change", "parameters"):
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f"{name} must be a mapping, not {getattr(self, name)!r}")
        check_choice("executor", self.executor, EXECUTORS)
        self._set("output", Path(self.output))
        self._set("data_dir", None if self.data_dir is None else Path(self.data_dir).expanduser())

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def images(self) -> Images:
        """What the dataset says of the networks' first and last layer."""
        if self.dataset in IMAGES:
            return IMAGES[self.dataset]
        if self.num_classes is None:
            raise ValueError(f"dataset {self.dataset!r} needs num_classes")
        return Images(self.num_classes, 3)

    @property
    def rows(self) -> RowsFile:
        """Where the rows go."""
        return population_file(self.output)

    @property
    def folder(self) -> Path:
        """Locks and logs, beside the rows."""
        return self.output.with_name(f".{self.output.name}.sweep")

    def space(self, name: str) -> Space:
        """One of the plan's spaces, with its changes, as networks for the plan's data: what is counted is trained.

        Raises:
            ValueError: an unknown space, a field that none of the spaces has, or one that cannot be trained so.
        """
        space = get_space(name)
        known = [{f.name for f in fields(get_space(other))} for other in self.spaces]
        for field_name in self.change:
            if field_name in _FOLLOWING:
                raise ValueError(f"change has no {field_name}: it follows from the plan's resolution and dataset")
            if not any(field_name in names for names in known):
                check_choice(f"field of {name}", field_name, dict.fromkeys(sorted(set.union(*known))))
        own = {key: value for key, value in self.change.items() if hasattr(space, key)}
        return self._fitted(_changed(space, name, own))

    def _fitted(self, space: Any) -> Space:
        data = {"resolution": self.resolution, **self.images._asdict()}
        has = {f.name for f in fields(space)}
        if isinstance(getattr(space, "frame", None), Frame):
            frame = replace(space.frame, **self.images._asdict())
            return replace(space, frame=frame, resolution=self.resolution)
        fitted: Space = replace(space, **{key: value for key, value in data.items() if key in has})
        return fitted

    @property
    def settings(self) -> dict[str, Any]:
        """What a row says of how its model was trained."""
        return {name: getattr(self, name) for name in (*SETTINGS, "resolution")}


def load_plan(path: str | Path) -> Plan:
    """The plan of a YAML file: the arguments of `Plan`. Relative paths are relative to the file.

    Raises:
        ValueError: no mapping, an unknown or missing key, or a value that is not allowed.
        FileNotFoundError: no such file.
    """
    import yaml

    path = Path(path)
    try:
        given = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
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


def _changed(part: Any, what: str, change: Mapping[str, Any]) -> Any:
    known = {f.name: getattr(part, f.name) for f in fields(part)}
    new = {}
    for name, value in change.items():
        old = check_choice(f"field of {what}", name, known)
        if name in _FOLLOWING:
            raise ValueError(f"change has no {name}: it follows from the plan's resolution and dataset")
        if isinstance(value, Mapping) and is_dataclass(old):
            value = _changed(old, f"{what}'s {name}", value)
        elif isinstance(value, list):
            value = Values(tuple(value), old.log) if isinstance(old, Values) else tuple(value)
        new[name] = value
    return replace(part, **new)


def _names(spaces: Any) -> tuple[str, ...]:
    names = [spaces] if isinstance(spaces, str) else spaces
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"spaces must be a list of names, not {spaces!r}")
    if len(set(names)) != len(names):
        raise ValueError(f"spaces has a name twice: {', '.join(names)}")
    return tuple(names)


def _as_float(value: Any) -> Any:
    """YAML 1.1 reads 5e-5, which has no point, as a string."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return math.nan
