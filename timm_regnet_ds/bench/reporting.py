"""Measurements as a table in Markdown, as CSV, and as pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timm_regnet_ds._text import format_size
from timm_regnet_ds.files.atomic import save_figure, write_text
from timm_regnet_ds.files.tables import csv_text, markdown

from .measurement import Measurement
from .plots import MEASURES, draw_roofline, draw_times, new_figure
from .runner import Result

__all__ = ["report", "table", "write_csv"]

_HEADER = (
    *("model", "size", "batch", "ms", "95% interval", "p10", "p90", "p99", "images/s"),
    *("flops (G)", "params (M)", "acts (M)", "GFLOP/s", "of matrix", "GB/s", "of copy", "memory (GiB)"),
)


def report(results: Sequence[Result], output: str | Path) -> list[Path]:
    """Write ``report.md``, ``rows.csv``, ``times.png`` and ``roofline.png``; return where they are.

    Rows are grouped by card and setting.

    Raises:
        ValueError: there is no measurement among the results.
    """
    output = Path(output)
    groups = grouped(results)
    if not groups:
        raise ValueError(f"nothing to report: of {len(results)} rows none is a measurement")
    parts = ["# Measurements", _NOTE]
    for name, group in groups.items():
        parts += [f"## {name}", _about(group[0]), table(group)]
    failed = [result for result in results if result.failure is not None]
    if failed:
        parts += ["## Failed", "\n".join(f"- {result.job.label}: {result.failure}" for result in failed)]
    measured = [m for group in groups.values() for m in group]
    written = [write_text(output / "report.md", "\n\n".join(parts) + "\n"), write_csv(measured, output / "rows.csv")]
    figure, axes = new_figure(columns=3)
    for one, measure in zip(axes.flat, MEASURES, strict=True):
        draw_times(one, groups, measure)
    written.append(save_figure(figure, output / "times.png"))
    figure, axes = new_figure(columns=len(groups))
    for one, (name, group) in zip(axes.flat, groups.items(), strict=True):
        draw_roofline(one, {"models": group})
        one.set_title(name, fontsize=8)
    written.append(save_figure(figure, output / "roofline.png"))
    return written


_NOTE = (
    "Milliseconds of a repetition, of which the 95% interval is the median's; a multiply-add is two operations; "
    "bytes are those of params and acts, at least."
)


def grouped(results: Sequence[Result]) -> dict[str, list[Measurement]]:
    """The measurements by card and setting."""
    groups: dict[str, list[Measurement]] = {}
    for result in results:
        if result.measurement:
            groups.setdefault(describe(result), []).append(result.measurement)
    return groups


def describe(result: Result) -> str:
    """Card and setting in a line."""
    asked = result.job.setting
    switches = [
        name for name in ("channels_last", "cuda_graphs", "fold_bn", "grad_checkpointing") if getattr(asked, name)
    ]
    compiled = [f"compile {asked.compile}"] if asked.compile else []
    batch = f"batch {asked.batch_size}"
    size = [] if asked.input_size is None else [f"images of {_side(asked.input_size)}"]
    return ", ".join([result.device_name, asked.mode, batch, *size, asked.dtype, *switches, *compiled])


def _side(size: Any) -> str:
    return format_size(size[1:]) if isinstance(size, tuple) else f"{size}×{size}"


def _about(m: Measurement) -> str:
    e = m.environment
    names = ("driver", "torch", "cuda", "cudnn", "timm", "timm_regnet_ds", "python", "at")
    known = ", ".join(f"{name} {e[name]}" for name in names if e.get(name))
    if e.get("clocks"):
        known += ", clocks " + ", ".join(f"{name} {value} MHz" for name, value in e["clocks"].items())
    ceilings = f"matrix product {m.ceilings.flops / 1e9:,.0f} GFLOP/s, copy {m.ceilings.bytes / 1e9:,.1f} GB/s"
    return f"{known}; threads {m.setting.threads}, seed {m.setting.seed}. The device's own: {ceilings}."


def table(measurements: Sequence[Measurement]) -> str:
    """A table in Markdown, a row for each measurement."""
    return markdown(_HEADER, map(_cells, measurements))


def _cells(m: Measurement) -> list[str]:
    t, c = m.timing, m.complexity
    memory = "–" if m.memory_allocated is None else f"{m.memory_allocated / 2**30:.2f}"
    interval = f"{t.low:.4g} to {t.high:.4g}{'' if m.reached else ' (wide)'}"
    return [
        *(
            m.label,
            format_size(m.setting.input_size[1:]),
            str(m.setting.batch_size),
            f"{t.median:.4g}",
            interval,
        ),
        *(f"{t.p10:.4g}", f"{t.p90:.4g}", f"{t.p99:.4g}", f"{m.images_per_second:.4g}"),
        *(f"{c.flops / 1e9:.3f}", f"{c.params / 1e6:.2f}", f"{c.acts / 1e6:.2f}"),
        *(f"{m.flops_per_second / 1e9:.4g}", f"{m.matrix_share:.1%}"),
        *(f"{m.bytes_per_second / 1e9:.4g}", f"{m.copy_share:.1%}", memory),
    ]


def write_csv(measurements: Sequence[Measurement], path: str | Path) -> Path:
    """A row for each measurement with all that it says, nested names joined by dots."""
    return write_text(path, csv_text([_flat(m.to_row()) for m in measurements]))


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
