"""The tasks of a sweep, one per model, and the rows of finished tasks."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from timm_regnet_ds.spaces import ConfigAtResolution

from .plan import Plan, error_settings

__all__ = ["Key", "Outcome", "Task", "finished_keys", "row_of", "tasks_of"]

Key = tuple[str, int, int]


@dataclass(frozen=True)
class Task:
    """A model to train.

    Args:
        space: name of its design space.
        seed: seed of the sample.
        index: index in the sample, from 0.
        config: its configuration, as the space's ``to_json`` gives it.
        flops, params, acts: its complexity, as the space counts it.
    """

    space: str
    seed: int
    index: int
    config: Mapping[str, Any]
    flops: int
    params: int
    acts: int

    @property
    def key(self) -> Key:
        """Space, seed and index, which identify a task."""
        return self.space, self.seed, self.index

    @property
    def name(self) -> str:
        """The key as a file name."""
        return f"{self.space}-{self.seed}-{self.index}"


@dataclass(frozen=True)
class Outcome:
    """The result of a task.

    Args:
        error: top-1 error on the validation set after the last epoch, in percent; ``None`` if the training failed.
        failure: why the training failed; ``None`` if it did not.
        seconds: duration of the training.
    """

    error: float | None
    failure: str | None
    seconds: float


def tasks_of(plan: Plan) -> list[Task]:
    """Sample the plan's models; each call returns the same tasks.

    Raises:
        ValueError: an unknown space, or limits within which it has too few models.
    """
    limits = {"flops": plan.flops, "params": plan.params, "acts": plan.acts}
    tasks = []
    for name in plan.spaces:
        space = plan.space(name)
        sample = space.sample(plan.models, seed=plan.seed, **limits)
        complexities = zip(sample.flops, sample.params, sample.acts, strict=True)
        for index, (config, counts) in enumerate(zip(sample, complexities, strict=True)):
            tasks.append(Task(name, plan.seed, index, space.to_json(config), *map(int, counts)))
    return tasks


def row_of(task: Task, plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """The row of a finished task."""
    config = plan.space(task.space).from_json(dict(task.config))
    return asdict(task) | asdict(outcome) | plan.error_settings | {"properties": properties(config)}


def properties(config: Any) -> dict[str, Any]:
    """The numbers of a configuration that a report draws: its numeric fields and, by stage, depths and widths."""
    if isinstance(config, ConfigAtResolution):
        return properties(config.cfg) | {"resolution": config.resolution}
    found = _numeric_fields(config)
    stages = config.stages() if hasattr(config, "stages") else config
    if isinstance(getattr(stages, "depths", None), tuple):
        found["depth"] = sum(stages.depths)
        for name in ("depths", "widths", "bottle_ratios", "group_widths"):
            found[name] = list(getattr(stages, name))
        for name in ("bottle_ratio", "group_width"):
            if len(set(found[f"{name}s"])) == 1:
                found.setdefault(name, found[f"{name}s"][0])
    return found


def _numeric_fields(config: Any) -> dict[str, Any]:
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return {name: v for name, v in values.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def finished_keys(plan: Plan, tasks: Iterable[Task]) -> set[Key]:
    """Keys of the tasks that have a row in the plan's file.

    Raises:
        ValueError: the file has a row with the key of a task, but another configuration or other settings.
    """
    by_key = {task.key: task for task in tasks}
    with warnings.catch_warnings():
        # Another process is writing the last line, or was killed while it did and `append` will remove it.
        warnings.filterwarnings("ignore", ".* is incomplete", UserWarning)
        rows = plan.rows.read_if_exists()
    found = set()
    for row in rows:
        key = (row["space"], row["seed"], row["index"])
        if key in by_key:
            _check_same_plan(plan, row, by_key[key])
            found.add(key)
    return found


def _check_same_plan(plan: Plan, row: Mapping[str, Any], task: Task) -> None:
    recorded = {"config": row["config"]} | error_settings(row)
    planned = {"config": task.config} | plan.error_settings
    for name, value in planned.items():
        if recorded[name] != value:
            raise ValueError(
                f"{plan.output} has {row['space']} number {row['index']} with {name} {recorded[name]!r}, "
                f"the plan {value!r}: it is the file of another plan"
            )
