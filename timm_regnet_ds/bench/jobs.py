"""A model to be measured, and its result."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .environment import device_name
from .loading import label_of
from .measurement import Measurement
from .setting import Setting

__all__ = ["Job", "Result"]


@dataclass(frozen=True)
class Job:
    """A model to be measured.

    Attributes:
        model: registered name.
        setting: the setting as asked for; its batch size may be ``max``, and its input size None.
        model_args: arguments of ``timm.create_model``.
        tags: values by which a study finds the result again, such as base and strategy.
    """

    model: str
    setting: Setting
    model_args: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The model's name with its arguments."""
        return label_of(self.model, self.model_args)

    def key(self, device_name: str) -> dict[str, Any]:
        """The part of a row that identifies the job on a device, as values that JSON gives back unchanged."""
        row = {
            "model": self.model,
            "model_args": dict(self.model_args),
            "asked": self.setting.to_dict(),
            "device_name": device_name,
            "tags": dict(self.tags),
        }
        normalized: dict[str, Any] = json.loads(json.dumps(row))
        return normalized

    def key_here(self) -> dict[str, Any]:
        """`key` on this machine's device."""
        return self.key(device_name(self.setting.device))


@dataclass(frozen=True)
class Result:
    """The measurement of a job on a device, or the reason why it failed."""

    job: Job
    device_name: str
    measurement: Measurement | None
    failure: str | None

    def to_row(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        measured = {} if self.measurement is None else self.measurement.to_row()
        return self.job.key(self.device_name) | measured | {"failure": self.failure}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Result":
        """Read what `to_row` wrote.

        Raises:
            ValueError: a row in which something is missing.
        """
        try:
            job = Job(row["model"], Setting.from_dict(row["asked"]), row["model_args"], row["tags"])
            measurement = Measurement.from_row(row) if row["failure"] is None else None
            return cls(job, row["device_name"], measurement, row["failure"])
        except KeyError as error:
            raise ValueError(f"a row of {row.get('model')!r} lacks {error}") from error
