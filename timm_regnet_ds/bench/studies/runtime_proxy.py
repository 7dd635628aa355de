"""Do activations predict time? Fast and Accurate Model Scaling, §4, Figures 1, 2, 11 and 12."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timm_regnet_ds.bench.jobs import Job, Result
from timm_regnet_ds.bench.measurement import Measurement
from timm_regnet_ds.bench.plots import draw_times, pearson
from timm_regnet_ds.bench.setting import Setting
from timm_regnet_ds.common.plots import new_figure
from timm_regnet_ds.complexity import UNITS
from timm_regnet_ds.files.atomic import save_figure
from timm_regnet_ds.files.tables import markdown
from timm_regnet_ds.papers.times import TRAINING_V100

from .paper_points import draw_paper_points
from .study import Study, StudyResult, with_tags

__all__ = ["RUNTIME_PROXY"]

BASES = ("efficientnet_b0", "regnety_500mf", "regnetz_500mf")
STRATEGIES = ("w", "dw", "dwr", "dWr")
FACTORS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0, 16.0, 23.0, 32.0, 45.0, 64.0)

# The paper's claim: for each base, Pearson's r of time and acts is at least this.
CLAIMED = 0.99
# Pearson's r in the paper, for EfficientNet-B0 and, of acts, for all three bases together.
PRINTED = {("efficientnet_b0", "flops"): "0.81", ("efficientnet_b0", "params"): "0.56", ("all", "acts"): "0.95"}


def _jobs(user_settings: Mapping[str, Any]) -> list[Job]:
    own = {"mode": "train", "batch_size": "max" if Setting(**user_settings).device_type == "cuda" else 2}
    setting = Setting(**{**own, **user_settings})
    return [
        Job(
            "scaled",
            setting,
            {"base": base, "factor": factor, "strategy": strategy},
            {"base": base, "strategy": strategy, "factor": factor},
        )
        for base in BASES
        for strategy in STRATEGIES
        for factor in FACTORS
    ]


def _analyse(results: Sequence[Result], output: Path) -> StudyResult:
    by_base = {base: list(with_tags(results, base=base)) for base in BASES}
    by_base = {base: group for base, group in by_base.items() if len(group) > 2}
    if not by_base:
        raise ValueError(
            f"runtime-proxy needs at least three measurements of a base; the {len(results)} rows have fewer"
        )
    plots = [_plot(base, results, output) for base in by_base]
    plots.append(_all_bases(by_base, output))
    groups = {**by_base, "all": [m for group in by_base.values() for m in group]}
    table = {name: {metric: _r(group, metric) for metric in UNITS} for name, group in groups.items()}
    rows = [
        [
            name,
            str(len(groups[name])),
            *(_with_printed(name, metric, r) for metric, r in row.items()),
            _holds(name, row),
        ]
        for name, row in table.items()
    ]
    text = markdown(["base", "models", *(f"r of {metric}" for metric in UNITS), f"acts ≥ {CLAIMED}"], rows)
    return StudyResult(
        f"Pearson's r of the time per image with each metric (in brackets, the paper's):\n\n{text}", plots
    )


def _r(group: Sequence[Measurement], metric: str) -> float:
    return pearson([getattr(m.complexity, metric) for m in group], [1 / m.images_per_second for m in group])


def _with_printed(name: str, metric: str, r: float) -> str:
    printed = PRINTED.get((name, metric), f"≥ {CLAIMED}" if metric == "acts" else "")
    return f"{r:.3f} ({printed})" if printed else f"{r:.3f}"


def _holds(name: str, row: Mapping[str, float]) -> str:
    if name == "all":
        return "not claimed"
    return "holds" if row["acts"] >= CLAIMED else "does not hold"


def _plot(base: str, results: Sequence[Result], output: Path) -> Path:
    groups = {strategy: list(with_tags(results, base=base, strategy=strategy)) for strategy in STRATEGIES}
    groups = {strategy: group for strategy, group in groups.items() if group}
    figure, axes = new_figure(columns=3)
    for one, metric in zip(axes.flat, UNITS, strict=True):
        draw_times(one, groups, metric)
        r = _r([m for group in groups.values() for m in group], metric)
        one.set_title(f"{base}, all strategies: r = {r:.3f}", fontsize=9)
        if next(iter(groups.values()))[0].setting.training:
            own = {name: time for name, time in TRAINING_V100.items() if name.startswith(base)}
            draw_paper_points(one, own, metric, "V100, in the paper")
    return save_figure(figure, output / f"{base}.png")


def _all_bases(by_base: Mapping[str, Sequence[Measurement]], output: Path) -> Path:
    figure, axes = new_figure(width=6, height=4.6)
    draw_times(axes[0, 0], by_base, "acts")
    setting = next(iter(by_base.values()))[0].setting
    if setting.training:
        draw_paper_points(axes[0, 0], TRAINING_V100, "acts", "V100, in the paper")
    axes[0, 0].set_title("A training step" if setting.training else "Inference", fontsize=9)
    return save_figure(figure, output / "all_bases.png")


RUNTIME_PROXY = Study("runtime-proxy", "Activations as a proxy for time", _jobs, _analyse)
