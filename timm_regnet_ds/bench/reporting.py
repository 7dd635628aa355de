"""Measurements as a table in Markdown, as CSV, and as plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timm_regnet_ds.common.plots import new_figure
from timm_regnet_ds.common.text import format_size
from timm_regnet_ds.complexity import UNITS
from timm_regnet_ds.files.atomic import save_figure, write_text
from timm_regnet_ds.files.tables import csv_text, markdown, markdown_line

from .jobs import Result
from .measurement import Measurement
from .plots import draw_roofline, draw_times
from .setting import Setting

__all__ = ["report", "table", "write_csv"]

_HEADER = (
    *("model", "size", "batch", "ms", "95% interval", "p10", "p90", "p99", "images/s"),
    *("one call", "launch", "GPU", "bound by"),
    *("flops (G)", "params (M)", "acts (M)", "GFLOP/s", "of peak", "GB/s", "of peak", "memory (GiB)"),
)


def report(results: Sequence[Result], output: str | Path) -> list[Path]:
    """Write ``report.md``, ``rows.csv``, ``times.png`` and ``roofline.png`` to a folder; return their paths.

    Measurements are grouped by device and setting.

    Raises:
        ValueError: no result is a measurement.
    """
    output = Path(output)
    groups = grouped(results)
    if not groups:
        raise ValueError(f"nothing to report: none of the {len(results)} rows is a measurement")
    parts = ["# Measurements", _NOTE]
    for name, group in groups.items():
        parts += [f"## {markdown_line(name)}", _describe_environment(group[0]), table(group)]
    failed = [result for result in results if result.failure is not None]
    if failed:
        parts += [
            "## Failed",
            "\n".join(f"- {markdown_line(f'{result.job.label}: {result.failure}')}" for result in failed),
        ]
    measured = [m for group in groups.values() for m in group]
    written = [write_text(output / "report.md", "\n\n".join(parts) + "\n"), write_csv(measured, output / "rows.csv")]
    figure, axes = new_figure(columns=3)
    for one, metric in zip(axes.flat, UNITS, strict=True):
        draw_times(one, groups, metric)
    written.append(save_figure(figure, output / "times.png"))
    figure, axes = new_figure(columns=len(groups))
    for one, (name, group) in zip(axes.flat, groups.items(), strict=True):
        draw_roofline(one, {"models": group})
        one.set_title(name, fontsize=8)
    written.append(save_figure(figure, output / "roofline.png"))
    return written


_NOTE = (
    "Times are milliseconds of a repetition, with the 95% interval of their median; on a GPU, also of one call on an "
    "idle GPU, of its launch, and of the GPU alone. A multiply-add counts as two operations. Bytes are those that "
    "all operators read and write."
)


def grouped(results: Sequence[Result]) -> dict[str, list[Measurement]]:
    """The measurements by device and setting."""
    groups: dict[str, list[Measurement]] = {}
    for result in results:
        if result.measurement:
            groups.setdefault(describe(result), []).append(result.measurement)
    return groups


def describe(result: Result) -> str:
    """Device and setting as asked for, in one line; fields that change nothing are left out."""
    asked = result.job.setting
    parts = [result.device_name, asked.mode, f"batch {asked.batch_size}"]
    if asked.input_size is not None:
        parts.append(f"images of {_side(asked.input_size)}")
    parts.append(asked.dtype)
    skipped = {"mode", "dtype", *(() if asked.training else ("optimizer",))}
    skipped |= {"threads"} if asked.device_type == "cuda" else set()
    for name in Setting.computation_fields():
        value = getattr(asked, name)
        if value and name not in skipped:
            parts.append(name if value is True else f"{name} {value}")
    return ", ".join(parts)


def _side(size: Any) -> str:
    return format_size(size[1:]) if isinstance(size, tuple) else f"{size}×{size}"


def _describe_environment(m: Measurement) -> str:
    e = m.environment
    names = ("driver", "torch", "cuda", "cudnn", "timm", "timm_regnet_ds", "python", "at")
    known = ", ".join(f"{name} {e[name]}" for name in names if e.get(name))
    if e.get("clocks"):
        known += ", clocks " + ", ".join(f"{name} {value} MHz" for name, value in e["clocks"].items())
    ops, moved = m.peaks.ops_per_second / 1e9, m.peaks.bytes_per_second / 1e9
    peaks = f"matrix product {ops:,.0f} GFLOP/s, copy {moved:,.1f} GB/s"
    return f"{markdown_line(known)}; threads {m.setting.threads}, seed {m.setting.seed}. Peaks of the device: {peaks}."


def table(measurements: Sequence[Measurement]) -> str:
    """A table in Markdown with one row per measurement."""
    return markdown(_HEADER, map(_cells, measurements))


def _cells(m: Measurement) -> list[str]:
    t, c = m.timing, m.complexity
    memory = "–" if m.memory_allocated is None else f"{m.memory_allocated / 2**30:.2f}"
    note = ("" if m.precision_met else " (wide)") if t.has_interval else f" (range of {t.repetitions})"
    interval = f"{t.low:.4g} to {t.high:.4g}{note}"
    return [
        *(
            m.label,
            format_size(m.setting.input_size[1:]),
            str(m.setting.batch_size),
            f"{t.median:.4g}",
            interval,
        ),
        *(f"{t.p10:.4g}", f"{t.p90:.4g}", f"{t.p99:.4g}", f"{m.images_per_second:.4g}"),
        *("–" if call is None else f"{call.median:.4g}" for call in (m.latency, m.launch, m.device_time)),
        m.bound_by or "–",
        *(f"{c.flops / 1e9:.3f}", f"{c.params / 1e6:.2f}", f"{c.acts / 1e6:.2f}"),
        *(f"{m.ops_per_second / 1e9:.4g}", f"{m.compute_utilization:.1%}"),
        *(f"{m.bytes_per_second / 1e9:.4g}", f"{m.bandwidth_utilization:.1%}", memory),
    ]


def write_csv(measurements: Sequence[Measurement], path: str | Path) -> Path:
    """Write one row per measurement with all its values; nested names are joined by dots."""
    return write_text(path, csv_text([_flat(m.to_row()) for m in measurements]))


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
