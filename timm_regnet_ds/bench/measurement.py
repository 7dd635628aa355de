"""What `bench` returns, and the row that it is in a file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from timm_regnet_ds._text import format_size
from timm_regnet_ds.complexity import Counts

from .ceilings import Ceilings
from .setting import Setting
from .timing import Timing

__all__ = ["KIND", "VERSION", "Measurement"]

KIND, VERSION = "measurement", 1

# Passes over the network: a backward pass is two products for each of the forward's.
_PASSES = {"inference": 1, "train": 3}
_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "amp": 2}


@dataclass(frozen=True)
class Measurement:
    """The time, throughput and memory of one model in one setting.

    Attributes:
        model: registered name, or the class of a module.
        model_args: arguments of ``timm.create_model``.
        setting: with definite batch size and input size.
        timing: of a repetition, in milliseconds.
        steps: the same of ``forward``, ``backward`` and ``optimizer`` where they are separate.
        warm_up: repetitions before those that count.
        settled: whether the time had settled by then.
        reached: whether the median's interval is as narrow as was asked for.
        memory_allocated, memory_reserved: peak bytes; None on the CPU.
        complexity: flops, params and acts for one image.
        operators: calls of operators in a forward pass.
        ceilings: the device's own best.
        environment: device, driver, clocks, libraries.
        processes: in how many the repetitions were made.
    """

    model: str
    model_args: Mapping[str, Any]
    setting: Setting
    timing: Timing
    steps: Mapping[str, Timing]
    warm_up: int
    settled: bool
    reached: bool
    memory_allocated: int | None
    memory_reserved: int | None
    complexity: Counts
    operators: int
    ceilings: Ceilings
    environment: Mapping[str, Any] = field(repr=False)
    processes: int = 1

    @property
    def images_per_second(self) -> float:
        return self.setting.batch_size * 1e3 / self.timing.median

    @property
    def flops_per_second(self) -> float:
        """Operations, of which a multiply-add is two; a training step counts as three forward passes."""
        return self._rate(2 * self.complexity.flops * self.setting.batch_size)

    @property
    def bytes_per_second(self) -> float:
        """Of params, read once, and acts, written once and read once: what cannot be less without fusing layers."""
        elements = self.complexity.params + 2 * self.complexity.acts * self.setting.batch_size
        return self._rate(elements * _BYTES[self.setting.dtype])

    def _rate(self, of_a_pass: float) -> float:
        return _PASSES[self.setting.mode] * of_a_pass / (self.timing.median / 1e3)

    @property
    def matrix_share(self) -> float:
        """Achieved operations per second over the device's own in a matrix product."""
        return self.flops_per_second / self.ceilings.flops

    @property
    def copy_share(self) -> float:
        """Achieved bytes per second over the device's own in a copy."""
        return self.bytes_per_second / self.ceilings.bytes

    def roofline(self) -> str:
        """Where the model stands below the device's ceilings, in a line."""
        return (
            f"{self.flops_per_second / 1e9:,.0f} GFLOP/s, {self.matrix_share:.0%} of the matrix ceiling; "
            f"{self.bytes_per_second / 1e9:,.1f} GB/s, {self.copy_share:.0%} of the copy ceiling"
        )

    def __str__(self) -> str:
        t, s = self.timing, self.setting
        size = format_size(s.input_size[1:])
        steps = "".join(f"; {name} {timing.median:.4g} ms" for name, timing in self.steps.items())
        memory = "" if self.memory_allocated is None else f"memory {self.memory_allocated / 2**30:.2f} GiB allocated, "
        if self.memory_reserved is not None:
            memory += f"{self.memory_reserved / 2**30:.2f} GiB reserved\n  "
        return (
            f"{self.label}: {t.median:.4g} ms, 95% interval {t.low:.4g} to {t.high:.4g} ms"
            f"{'' if self.reached else ' (wider than asked for)'}{'' if self.settled else ' (not settled)'}\n"
            f"  {s.mode}, {s.batch_size} × {size}, {s.dtype}, {self.environment['device_name']}{steps}\n"
            f"  mean {t.mean:.4g}, p10 {t.p10:.4g}, p90 {t.p90:.4g}, p99 {t.p99:.4g} ms of {t.repetitions}"
            f"{f' in {self.processes} processes' if self.processes > 1 else ''}\n"
            f"  {self.images_per_second:,.4g} images/s\n"
            f"  {memory}{self.complexity}\n  {self.roofline()}"
        )

    @property
    def label(self) -> str:
        """The name, with what arguments it was built."""
        return label_of(self.model, self.model_args)

    def to_row(self) -> dict[str, Any]:
        """As plain values, for json; what follows from others is there too, for other programs."""
        c = self.complexity
        return {
            "model": self.model,
            "model_args": dict(self.model_args),
            "setting": self.setting.to_dict(),
            "timing": self.timing.to_dict(),
            "steps": {name: timing.to_dict() for name, timing in self.steps.items()},
            "warm_up": self.warm_up,
            "settled": self.settled,
            "reached": self.reached,
            "memory_allocated": self.memory_allocated,
            "memory_reserved": self.memory_reserved,
            "flops": c.flops,
            "params": c.params,
            "acts": c.acts,
            "operators": self.operators,
            "images_per_second": self.images_per_second,
            "flops_per_second": self.flops_per_second,
            "bytes_per_second": self.bytes_per_second,
            "ceilings": self.ceilings.to_dict(),
            "environment": dict(self.environment),
            "processes": self.processes,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Measurement":
        """From a row that `to_row` wrote.

        Raises:
            ValueError: a row that lacks something.
        """
        try:
            return cls(
                row["model"],
                row["model_args"],
                Setting.recorded(row["setting"]),
                Timing(**row["timing"]),
                {name: Timing(**timing) for name, timing in row["steps"].items()},
                row["warm_up"],
                row["settled"],
                row["reached"],
                row["memory_allocated"],
                row["memory_reserved"],
                Counts(row["flops"], row["params"], row["acts"]),
                row["operators"],
                Ceilings(**row["ceilings"]),
                row["environment"],
                row["processes"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"a row of {row.get('model')!r} is no whole measurement: {error}") from error


def label_of(model: str, model_args: Mapping[str, Any]) -> str:
    """``scaled(base=resnet50, factor=2.0)``."""
    return f"{model}({', '.join(f'{k}={v}' for k, v in model_args.items())})" if model_args else model
