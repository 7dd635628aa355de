"""How fast are the strategies? The times of Fast and Accurate Model Scaling, Figures 4 to 7, 11 and 12."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timm_regnet_ds.bench.jobs import Job, Result
from timm_regnet_ds.bench.measurement import Measurement
from timm_regnet_ds.bench.setting import Setting
from timm_regnet_ds.common.plots import colours, make_log, new_figure
from timm_regnet_ds.files.atomic import save_figure
from timm_regnet_ds.files.tables import markdown
from timm_regnet_ds.papers.times import TRAINING_V100
from timm_regnet_ds.scaling import STRATEGIES

from .paper_points import draw_paper_points
from .study import Study, StudyResult, with_tags

__all__ = ["SCALING"]

BASES = ("efficientnet_b0", "regnety_500mf", "regnetz_500mf")
ALPHAS = (0.0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 0.8, 1.0)
FACTORS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def _jobs(user_settings: Mapping[str, Any]) -> list[Job]:
    own = {"mode": "train", "batch_size": "max" if Setting(**user_settings).device_type == "cuda" else 2}
    setting = Setting(**{**own, **user_settings})
    ways: list[tuple[str, dict[str, Any]]] = [(f"strategy {name}", {"strategy": name}) for name in STRATEGIES]
    ways += [(f"α = {alpha:.2f}", {"alpha": alpha}) for alpha in ALPHAS]
    return [
        Job("scaled", setting, {"base": base, "factor": factor, **way}, {"base": base, "way": label, "factor": factor})
        for base in BASES
        for label, way in ways
        for factor in FACTORS
    ]


def _analyse(results: Sequence[Result], output: Path) -> StudyResult:
    ways: list[str] = list(dict.fromkeys(r.job.tags["way"] for r in results if r.measurement and "way" in r.job.tags))
    if not ways:
        raise ValueError(f"scaling needs measurements of scaled models; the {len(results)} rows have none")
    bases = [base for base in BASES if any(with_tags(results, base=base))]
    plots = []
    for base in bases:
        figure, axes = new_figure(columns=2, rows=2, width=5.4)
        for row, kind in enumerate(("strategy", "α")):
            groups = {way: list(with_tags(results, base=base, way=way)) for way in ways if way.startswith(kind)}
            groups = {way: group for way, group in groups.items() if group}
            if not groups:
                continue
            _draw(axes[row, 0], groups, "acts (M)", lambda m: m.complexity.acts / 1e6)
            _draw(axes[row, 1], groups, "time per image (ms)", lambda m: 1e3 / m.images_per_second)
        setting = next(with_tags(results, base=base)).setting
        if setting.training:
            own = {name: ms for name, ms in TRAINING_V100.items() if name.startswith(base)}
            draw_paper_points(axes[0, 1], own, "flops", "dWr on V100, in the paper")
        figure.suptitle(f"{base}, scaled: {'a training step' if setting.training else 'inference'}", fontsize=10)
        plots.append(save_figure(figure, output / f"{base}.png"))
    tables = [f"### {base}\n\n{_table(base, ways, results)}" for base in bases]
    return StudyResult("\n\n".join([_INTRODUCTION, *tables]), plots)


_INTRODUCTION = (
    "Milliseconds per image, of the base scaled to a multiple of its flops. In brackets, the ratio to the time of "
    "strategy dWr at the same factor."
)


def _draw(axes: Any, groups: Mapping[str, Sequence[Measurement]], label: str, value: Any) -> None:
    for way, colour in colours(groups).items():
        line = sorted(groups[way], key=lambda m: m.complexity.flops)
        axes.plot(
            [m.complexity.flops / 1e9 for m in line],
            [value(m) for m in line],
            "o-",
            color=colour,
            markersize=3.5,
            linewidth=1,
            label=way,
        )
    axes.set(xlabel="flops (GF)", ylabel=label)
    make_log(axes.xaxis, axes.yaxis)
    axes.legend(fontsize=7)


def _table(base: str, ways: Sequence[str], results: Sequence[Result]) -> str:
    factors = [factor for factor in FACTORS if any(with_tags(results, base=base, factor=factor))]
    times = {(way, factor): _time(results, base, way, factor) for way in ways for factor in factors}
    rows = [[way, *(_cell(times[way, s], times.get(("strategy dWr", s))) for s in factors)] for way in ways]
    return markdown(["scaled by", *(f"{s:g}× flops" for s in factors)], rows)


def _time(results: Sequence[Result], base: str, way: str, factor: float) -> float | None:
    return next((1e3 / m.images_per_second for m in with_tags(results, base=base, way=way, factor=factor)), None)


def _cell(time: float | None, of_dwr: float | None) -> str:
    if time is None:
        return "–"
    return f"{time:.4g}" + (f" ({time / of_dwr:.2f}×)" if of_dwr else "")


SCALING = Study("scaling", "The speed of scaling strategies", _jobs, _analyse)
