"""What `bench` returns, and its row in a file."""

import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from timm_regnet_ds.common.text import format_size
from timm_regnet_ds.complexity import Complexity, Counts

from .loading import label_of
from .peaks import DevicePeaks
from .setting import Setting
from .timing import Timing

__all__ = ["KIND", "PASSES", "VERSION", "Measurement", "upgrade_row"]

KIND, VERSION = "measurement", 2

# Forward passes that a repetition counts as: a backward pass has two matrix products for each of the forward pass.
PASSES = {"inference": 1, "train": 3}
_ELEMENT_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "amp": 2, "amp_bf16": 2}

# Columns of a printed measurement, beside the indentation.
_COLUMNS = 98

_CALL_TIMINGS = ("latency", "launch", "device_time")

# The counts of a row. Earlier rows lack the second group.
_COUNTS = ("flops", "params", "acts", "operators")
_LATER_COUNTS = ("bytes", "weight_bytes", "product_bytes", "grouped_flops")


@dataclass(frozen=True)
class Measurement:
    """The time, throughput and memory of one model in one setting.

    Attributes:
        model: registered name, or the class of a module.
        model_args: arguments of ``timm.create_model``.
        setting: the setting, with a number as batch size and (channels, height, width) as input size.
        timing: milliseconds of a repetition, where repetitions follow each other. On CUDA, the next one is launched
            while the GPU runs.
        steps: the same for ``forward``, ``backward`` and ``optimizer``, if they are measured separately.
        latency: on CUDA, milliseconds of one call on an idle GPU, until the GPU has finished. None on the CPU, where it
            is ``timing``.
        launch, device_time: on CUDA, milliseconds in which the host launches a repetition, and in which the GPU runs it
            once all of it is launched. None if it cannot be launched ahead.
        warm_up: number of repetitions before those that are counted.
        warm_up_steady: whether the time was steady when the warm-up ended.
        precision_met: whether the median's interval is as narrow as was asked for.
        memory_allocated, memory_reserved: peak bytes; None on the CPU.
        complexity: flops (multiply-adds), params, acts and bytes for one image, in the setting's number format, without
            what is uncounted and ``parts``. The bytes are 0 in rows of earlier versions.
        peaks: the device's measured peak rates.
        environment: device, driver, clocks, libraries.
        processes: number of processes whose repetitions are pooled.
        device_state: clocks, power, temperature and throttling while the model ran, as NVML reports them; None without.
        wall_seconds: all that the measurement took, building the model included.
    """

    model: str
    model_args: Mapping[str, Any]
    setting: Setting
    timing: Timing
    steps: Mapping[str, Timing]
    warm_up: int
    warm_up_steady: bool
    precision_met: bool
    memory_allocated: int | None
    memory_reserved: int | None
    complexity: Complexity
    peaks: DevicePeaks
    environment: Mapping[str, Any] = field(repr=False)
    processes: int = 1
    latency: Timing | None = None
    launch: Timing | None = None
    device_time: Timing | None = None
    device_state: Mapping[str, Any] | None = None
    wall_seconds: float | None = None

    @property
    def bound_by(self) -> str | None:
        """``host`` if launching a repetition takes longer than running it on the GPU, else ``device``."""
        if self.launch is None or self.device_time is None:
            return None
        return "host" if self.launch.median > self.device_time.median else "device"

    @property
    def images_per_second(self) -> float:
        return self.setting.batch_size * 1e3 / self.timing.median

    @property
    def ops_per_second(self) -> float:
        """Operations per second: a multiply-add counts as two, and a training step as three forward passes."""
        return self._rate(2 * self.complexity.flops * self.setting.batch_size)

    @property
    def bytes_per_second(self) -> float:
        """Bytes per second that all operators read and write; a training step counts as three forward passes.

        Without fusing operators, a model moves these bytes; what stays in the cache does not go to memory. A row of an
        earlier version has params, read once, and acts, written once and read once, instead.
        """
        c, batch = self.complexity, self.setting.batch_size
        if c.bytes:
            return self._rate(batch * c.bytes + c.weight_bytes)
        return self._rate((c.params + 2 * c.acts * batch) * _ELEMENT_BYTES[self.setting.dtype])

    def _rate(self, per_pass: float) -> float:
        return PASSES[self.setting.mode] * per_pass / (self.timing.median / 1e3)

    @property
    def compute_utilization(self) -> float:
        """Operations per second, as a fraction of the device's peak."""
        return self.ops_per_second / self.peaks.ops_per_second

    @property
    def bandwidth_utilization(self) -> float:
        """Bytes per second, as a fraction of the device's peak."""
        return self.bytes_per_second / self.peaks.bytes_per_second

    def roofline(self) -> str:
        """The rates and utilizations, in one line."""
        return (
            f"{self.ops_per_second / 1e9:,.0f} GFLOP/s, {self.compute_utilization:.0%} of peak compute; "
            f"{self.bytes_per_second / 1e9:,.1f} GB/s, {self.bandwidth_utilization:.0%} of peak bandwidth"
        )

    def __str__(self) -> str:
        t, s = self.timing, self.setting
        size = format_size(s.input_size[1:])
        steps = ", ".join(f"{name} {timing.median:.4g} ms" for name, timing in self.steps.items())
        about = f"{s.mode}, {s.batch_size} × {size}, {s.dtype}, {s.cache} cache, {self.environment['device_name']}"
        memory = "" if self.memory_allocated is None else f"memory {self.memory_allocated / 2**30:.2f} GiB allocated, "
        if self.memory_reserved is not None:
            memory += f"{self.memory_reserved / 2**30:.2f} GiB reserved\n  "
        processes = f" in {self.processes} processes" if self.processes > 1 else ""
        lines = [
            *textwrap.wrap(f"{self.label}: {t.median:.4g} ms, {t.format_interval()}", _COLUMNS),
            *self._remarks(),
            *textwrap.wrap(about, _COLUMNS),
            f"mean {t.mean:.4g}, p10 {t.p10:.4g}, p90 {t.p90:.4g}, p99 {t.p99:.4g} ms of {t.repetitions}{processes}",
            f"{self.images_per_second:,.4g} images/s" + ("" if self.latency is None else " back to back"),
            *([steps] if steps else []),
            *self._calls(),
            *self._state(),
            f"{memory}{Counts.__str__(self.complexity)}",
            self.roofline(),
        ]
        return "\n  ".join(lines)

    def _remarks(self) -> list[str]:
        remarks = []
        if not self.precision_met:
            wide = self.timing.half_width > self.setting.precision
            remarks.append("wider than asked for" if wide else "too few repetitions, or they still drift")
        if not self.warm_up_steady:
            remarks.append("not steady at the end of the warm-up")
        return [", ".join(remarks)] if remarks else []

    def _calls(self) -> list[str]:
        if self.latency is None:
            return []
        line = f"one call {self.latency.median:.4g} ms"
        if self.launch is None or self.device_time is None:
            return [f"{line}; it cannot be launched ahead of the GPU"]
        return [
            f"{line}; launch {self.launch.median:.4g} ms, GPU {self.device_time.median:.4g} ms: "
            f"bound by the {self.bound_by}"
        ]

    def _state(self) -> list[str]:
        state = self.device_state or {}
        parts = []
        if "sm_mhz" in state:
            parts.append(f"clock {state['sm_mhz']:.0f} MHz ({state['sm_mhz_min']:.0f} to {state['sm_mhz_max']:.0f})")
        parts += [f"{state[name]:.0f} {unit}" for name, unit in (("watts", "W"), ("celsius", "°C")) if name in state]
        parts += [f"slowed by {why} {share:.0%} of the time" for why, share in state.get("throttled", {}).items()]
        return textwrap.wrap(", ".join(parts), _COLUMNS)

    @property
    def label(self) -> str:
        """The model's name with its arguments."""
        return label_of(self.model, self.model_args)

    def to_row(self) -> dict[str, Any]:
        """All fields as plain values for JSON, and the rates that follow from them, for other programs."""
        row = asdict(self)
        del row["complexity"]
        counts = self.complexity.to_dict()
        return {
            **row,
            **{name: counts[name] for name in (*_COUNTS, *_LATER_COUNTS)},
            "setting": self.setting.to_dict(),
            "bound_by": self.bound_by,
            "images_per_second": self.images_per_second,
            "ops_per_second": self.ops_per_second,
            "bytes_per_second": self.bytes_per_second,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Measurement":
        """Read what `to_row` wrote.

        Raises:
            ValueError: a row in which something is missing.
        """
        optional = {f.name for f in fields(cls) if f.default is not MISSING}
        try:
            names = [f.name for f in fields(cls) if f.name in row or f.name not in optional]
            values = {name: row[name] for name in names if name != "complexity"}
            values |= {name: Timing(**row[name]) for name in _CALL_TIMINGS if row.get(name) is not None}
            values |= {
                "setting": Setting.from_dict(row["setting"]),
                "timing": Timing(**row["timing"]),
                "steps": {name: Timing(**timing) for name, timing in row["steps"].items()},
                "complexity": _complexity(row),
                "peaks": DevicePeaks(**row["peaks"]),
            }
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"a row of {row.get('model')!r} is not a complete measurement: {error}") from error


def _complexity(row: Mapping[str, Any]) -> Complexity:
    counts = {name: row[name] for name in _COUNTS} | {name: row.get(name, 0) for name in _LATER_COUNTS}
    setting = row["setting"]
    return Complexity(**counts, input_size=tuple(setting["input_size"]), dtype=setting["dtype"])


def upgrade_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of version 1 as one of version 2, in which operations are not called flops."""
    renamed = {"settled": "warm_up_steady", "reached": "precision_met", "flops_per_second": "ops_per_second"}
    upgraded = {renamed.get(name, name): value for name, value in row.items()}
    if (ceilings := upgraded.pop("ceilings", None)) is not None:
        upgraded["peaks"] = {"ops_per_second": ceilings["flops"], "bytes_per_second": ceilings["bytes"]}
    return upgraded
