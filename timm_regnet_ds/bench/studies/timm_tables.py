"""Do activations predict time on real cards? The runtime-proxy study, drawn from the tables in timm's repository."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from timm_regnet_ds.bench.plots import pearson
from timm_regnet_ds.common.plots import colours, make_log, new_figure
from timm_regnet_ds.files.atomic import save_figure, write_text
from timm_regnet_ds.files.tables import csv_text, markdown
from timm_regnet_ds.latency.fitting import TimedModel
from timm_regnet_ds.latency.timm_results import TimmTable, read_timm_results, timed_models

__all__ = ["draw_timm_tables"]

# Families with fewer models than this are not shown by themselves.
LEAST = 8

_LABELS = {"flops": "flops (GF)", "acts": "acts (M)", "bytes": "bytes (GB)"}
_UNITS = {"flops": 1e9, "acts": 1e6, "bytes": 1e9}
_SHOWN = 7  # families with colours of their own, the same in all pictures


@dataclass(frozen=True)
class _Panel:
    """A table, its models with their complexity, and the number of rows that were dropped."""

    table: TimmTable
    rows: Sequence[TimedModel]
    dropped: int

    @property
    def title(self) -> str:
        s = self.table.setting
        how = f"{self.table.dtype}, {'compiled' if s['compile'] else 'eager'}"
        memory = "channels last" if s["channels_last"] else "channels first"
        return f"{self.table.device.key}, {how}, {memory}, torch {self.table.torch}"

    @property
    def slug(self) -> str:
        return self.table.path.stem.removeprefix("benchmark-infer-")

    def values(self, metric: str, rows: Sequence[TimedModel] | None = None) -> Any:
        """Flops, acts or bytes for each image. The bytes of weights are shared by the images of the batch."""
        rows = self.rows if rows is None else rows
        if metric == "bytes":
            return np.array([r.complexity.bytes + r.complexity.weight_bytes / r.batch_size for r in rows])
        return np.array([float(getattr(r.complexity, metric)) for r in rows])

    def r(self, rows: Sequence[TimedModel] | None = None) -> dict[str, float]:
        """Pearson's r of the logarithm of the time per image with that of each metric."""
        rows = self.rows if rows is None else rows
        times = np.log([row.milliseconds / row.batch_size for row in rows]).tolist()
        return {metric: pearson(np.log(self.values(metric, rows)).tolist(), times) for metric in _LABELS}

    def families(self) -> Mapping[str, list[TimedModel]]:
        """The models of families with enough of them, the largest family first."""
        by: dict[str, list[TimedModel]] = {}
        for row in self.rows:
            by.setdefault(row.family, []).append(row)
        return {name: rows for name, rows in sorted(by.items(), key=lambda x: -len(x[1])) if len(rows) >= LEAST}


def draw_timm_tables(paths: Sequence[str | Path], counts: str | Path | None, output: str | Path) -> list[Path]:
    """Write ``README.md``, ``families.csv`` and a picture for each table to a folder; return their paths.

    Args:
        paths: files ``benchmark-infer-*.csv``.
        counts: file in which the complexity of models is kept.
        output: the folder.

    Raises:
        ValueError: a file that is not such a table, or has too few models.
        FileNotFoundError: no such file.
    """
    output = Path(output)
    panels = []
    for path in paths:
        table = read_timm_results(path)
        rows, dropped = timed_models(table, counts, progress=True)
        if len(rows) < LEAST:
            raise ValueError(f"{path} has {len(rows)} models that can be counted; at least {LEAST} are needed")
        panels.append(_Panel(table, rows, len(dropped)))
    panels.sort(key=lambda p: (p.table.device.is_cpu, p.title))
    shown = _family_colours(panels)
    drawn = [_draw(panel, shown, output / f"{panel.slug}.png") for panel in panels]
    pictures = [_summary(panels, output / "summary.png"), *drawn]
    families = [
        {
            "table": panel.slug,
            "family": name,
            "models": len(rows),
            **{f"r_{metric}": f"{r:.3f}" for metric, r in panel.r(rows).items()},
        }
        for panel in panels
        for name, rows in panel.families().items()
    ]
    readme = "\n\n".join([_INTRODUCTION, _table(panels), *(f"![{p.stem}]({p.name})" for p in pictures)])
    return [
        write_text(output / "README.md", readme + "\n"),
        write_text(output / "families.csv", csv_text(families)),
        *pictures,
    ]


_INTRODUCTION = f"""# Activations as a proxy for time, on the cards of timm's tables

Written by `timm-regnet-ds study runtime-proxy --timm-results FILES` from `results/benchmark-infer-*.csv` of timm's
repository. Rows whose params are not those of the model today are dropped. A family has the same colour in all
pictures.

Pearson's r of the logarithm of the time per image with the logarithms of flops, acts and bytes. Bytes are those that
all operators move in the number format of the table. "Within a family" is the median over the families (modules of
timm) with at least {LEAST} models, and the number of them in which this metric has the largest r; `families.csv` has
all of them."""


def _table(panels: Sequence[_Panel]) -> str:
    rows = []
    for panel in panels:
        within = [panel.r(rows) for rows in panel.families().values()]
        leads = [max(r, key=lambda metric: r[metric]) for r in within]
        rows.append(
            [panel.title, str(len(panel.rows)), str(panel.dropped)]
            + [f"{r:.3f}" for r in panel.r().values()]
            + [f"{np.median([r[m] for r in within]):.3f} ({leads.count(m)})" if within else "–" for m in _LABELS]
        )
    header = ["device", "rows", "dropped", *(f"r of {m}" for m in _LABELS)]
    return markdown([*header, *(f"within a family: {m}" for m in _LABELS)], rows)


def _summary(panels: Sequence[_Panel], path: Path) -> Path:
    figure, axes = new_figure(width=8.4, height=0.3 * len(panels) + 1.4)
    one = axes[0, 0]
    for i, metric in enumerate(_LABELS):
        one.plot([p.r()[metric] for p in panels], range(len(panels)), "osD"[i], color=f"C{i}", label=metric)
    one.set_yticks(range(len(panels)), [p.title for p in panels], fontsize=7.5)
    one.invert_yaxis()
    one.set(xlabel="Pearson's r of log time per image, all models of a table")
    figure.legend(fontsize=8, loc="outside upper right", ncols=3)
    return save_figure(figure, path)


def _family_colours(panels: Sequence[_Panel]) -> Mapping[str, str]:
    """Colours of the families with the most models in all tables together."""
    count = Counter(row.family for panel in panels for row in panel.rows)
    return colours([family for family, models in count.most_common(_SHOWN) if models >= LEAST])


def _draw(panel: _Panel, shown: Mapping[str, str], path: Path) -> Path:
    figure, axes = new_figure(columns=3, width=3.6, height=3.4)
    times = np.array([row.milliseconds / row.batch_size for row in panel.rows])
    of = np.array([row.family if row.family in shown else "" for row in panel.rows])
    r = panel.r()
    for one, metric in zip(axes.flat, _LABELS, strict=True):
        x = panel.values(metric) / _UNITS[metric]
        for i, (family, colour) in enumerate({"": "0.75", **shown}.items()):
            those = of == family
            one.plot(x[those], times[those], ".", markersize=4, color=colour, label=family or "others", zorder=i + 1)
        one.set(xlabel=f"{_LABELS[metric]} for an image", ylabel="time for an image (ms)")
        one.set_title(f"{metric}: r = {r[metric]:.3f}", fontsize=9)
        make_log(one.xaxis, one.yaxis, decades=True)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), fontsize=6.5, markerscale=2, loc="outside center right")
    figure.suptitle(f"{panel.title}: {len(panel.rows)} measurements", fontsize=10)
    return save_figure(figure, path)
