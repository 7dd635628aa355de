"""What a sweep has to do: one task a model, one row a task done."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .plan import Plan

__all__ = ["Outcome", "Task", "done", "row_of", "tasks_of"]

Key = tuple[str, int, int]


@dataclass(frozen=True)
class Task:
    """A model to train.

    Args:
        space: name of its space.
        seed: of the sample.
        index: its place in the sample, from 0.
        config: its configuration as the space's json.
        flops, params, acts: as the space counts them.
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
        """What tells it from all other tasks."""
        return self.space, self.seed, self.index

    @property
    def name(self) -> str:
        """The key as the name of a file."""
        return f"{self.space}-{self.seed}-{self.index}"


@dataclass(frozen=True)
class Outcome:
    """What came of a task.

    Args:
        error: top-1 error on the validation set after the last epoch, in percent; ``None`` where it failed.
        failure: why it failed; ``None`` where it did not.
        seconds: how long it took.
    """

    error: float | None
    failure: str | None
    seconds: float


def tasks_of(plan: Plan) -> list[Task]:
    """The plan's models, sampled: the same at every call.

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
    """A population's row."""
    config = plan.space(task.space).from_json(dict(task.config))
    return asdict(task) | asdict(outcome) | plan.settings | {"properties": properties(config)}


def properties(config: Any) -> dict[str, Any]:
    """What a scatter may show of a configuration: its numbers and, where it has stages, their depths and widths."""
    if hasattr(config, "resolution"):  # a configuration with a resolution of its own
        return properties(config.cfg) | {"resolution": config.resolution}
    found = _numbers(config)
    stages = config.stages() if hasattr(config, "stages") else config
    if isinstance(getattr(stages, "depths", None), tuple):
        found["depth"] = sum(stages.depths)
        for name in ("depths", "widths", "bottle_ratios", "group_widths"):
            found[name] = list(getattr(stages, name))
        for name in ("bottle_ratio", "group_width"):
            if len(set(found[f"{name}s"])) == 1:
                found.setdefault(name, found[f"{name}s"][0])
    return found


def _numbers(config: Any) -> dict[str, Any]:
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return {name: v for name, v in values.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def done(plan: Plan, tasks: Iterable[Task]) -> set[Key]:
    """Keys of the tasks of which there is a row.

    Raises:
        ValueError: a row of another plan, of the same space, seed and index.
    """
    by_key = {task.key: task for task in tasks}
    with warnings.catch_warnings():
        # A line without its end: somebody is writing it, or was killed and `append` will remove it.
        warnings.filterwarnings("ignore", ".* is incomplete", UserWarning)
        rows = plan.rows.read_if_exists()
    found = set()
    for row in rows:
        key = (row["space"], row["seed"], row["index"])
        if key in by_key:
            _check_same(plan, row, {"config": by_key[key].config, **plan.settings})
            found.add(key)
    return found


def _check_same(plan: Plan, row: Mapping[str, Any], planned: Mapping[str, Any]) -> None:
    for name, value in planned.items():
        if row.get(name) != value:
            raise ValueError(
                f"{plan.output} has {row['space']} number {row['index']} with {name} {row.get(name)!r}, "
                f"the plan {value!r}: it is the file of another plan"
            )
