"""RegNet compared with ResNe(X)t and EfficientNet. Designing Network Design Spaces, Figures 11 to 14 and Tables 3, 4.

The paper's ResNeXt-152 is timm's ResNet with its arguments.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timm_regnet_ds.bench.jobs import Job, Result
from timm_regnet_ds.bench.measurement import Measurement
from timm_regnet_ds.bench.plots import LABELS
from timm_regnet_ds.bench.setting import Setting
from timm_regnet_ds.common.plots import make_log, new_figure
from timm_regnet_ds.common.text import format_size
from timm_regnet_ds.complexity import UNITS
from timm_regnet_ds.files.atomic import save_figure
from timm_regnet_ds.files.tables import markdown
from timm_regnet_ds.papers.times import BUILT_FROM, INFERENCE_V100

from .paper_points import draw_paper_points
from .study import Study, StudyResult, with_tags

__all__ = ["BASELINES"]

FAMILIES = {
    "regnetx_": "RegNetX",
    "regnety_": "RegNetY",
    "resnet": "ResNet",
    "resnext": "ResNeXt",
    "efficientnet_": "EfficientNet",
}

# The models that Tables 3 and 4 compare.
GROUPS = {
    "Table 3a, about equal acts": (
        ("regnetx_3_2gf", "resnet50"),
        ("regnetx_3_2gf", "resnext50_32x4d"),
        ("regnetx_6_4gf", "resnet101"),
        ("regnetx_12gf", "resnext101_32x4d"),
        ("regnetx_12gf", "resnet152"),
    ),
    "Table 3b, about equal flops": (
        ("regnetx_4gf", "resnet50"),
        ("regnetx_4gf", "resnext50_32x4d"),
        ("regnetx_8gf", "resnet101"),
        ("regnetx_8gf", "resnext101_32x4d"),
        ("regnetx_12gf", "resnet152"),
        ("regnetx_12gf", "resnext152_32x4d"),
    ),
    "Table 4, about equal flops": (
        ("regnety_400mf", "efficientnet_b0"),
        ("regnety_600mf", "efficientnet_b1"),
        ("regnety_800mf", "efficientnet_b2"),
        ("regnety_1_6gf", "efficientnet_b3"),
        ("regnety_4gf", "efficientnet_b4"),
        ("regnety_8gf", "efficientnet_b5"),
        ("regnetx_8gf", "efficientnet_b5"),
    ),
}
# The image sizes of the paper, for models whose default in timm is another.
SIZES = dict.fromkeys(
    ("resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x4d", "resnext152_32x4d"), 224
)

MODES = ("inference", "train")


def _jobs(user_settings: Mapping[str, Any]) -> list[Job]:
    modes = [user_settings["mode"]] if "mode" in user_settings else MODES
    return [
        Job(
            model,
            Setting(**{"input_size": SIZES.get(name), **user_settings, "mode": mode}),
            model_args,
            tags={"model": name, "mode": mode},
        )
        for mode in modes
        for name in INFERENCE_V100
        for model, model_args in [BUILT_FROM.get(name, (name, {}))]
    ]


def _analyse(results: Sequence[Result], output: Path) -> StudyResult:
    modes = [mode for mode in MODES if any(with_tags(results, mode=mode))]
    if not modes:
        raise ValueError(f"baselines needs measurements of its models; the {len(results)} rows have none")
    plots, parts = [], []
    for mode in modes:
        times = {name: m for name in INFERENCE_V100 for m in with_tags(results, mode=mode, model=name)}
        plots.append(_plot(mode, times, output))
        batch = next(iter(times.values())).setting.batch_size
        parts.append(f"### {mode.capitalize()}, batch {batch}\n\n{_table(times, mode)}")
        parts += [f"{title}:\n\n{text}" for title, group in GROUPS.items() if (text := _ratios(times, group))]
    return StudyResult("\n\n".join(parts), plots)


def _table(times: Mapping[str, Measurement], mode: str) -> str:
    header = ["model", "size", "flops (G)", "params (M)", "acts (M)", "ms per image"]
    rows = [
        [
            *(name, format_size(m.setting.input_size[1:]), f"{m.complexity.flops / 1e9:.2f}"),
            *(f"{m.complexity.params / 1e6:.1f}", f"{m.complexity.acts / 1e6:.1f}", f"{1e3 / m.images_per_second:.4g}"),
            *([f"{INFERENCE_V100[name]:.3f}"] if mode == "inference" else []),
        ]
        for name, m in times.items()
    ]
    return markdown([*header, *(["V100, in the paper"] if mode == "inference" else [])], rows)


def _ratios(times: Mapping[str, Measurement], pairs: Sequence[tuple[str, str]]) -> str:
    rows = [
        [
            f"{other} / {regnet}",
            *(
                f"{getattr(times[other].complexity, metric) / getattr(times[regnet].complexity, metric):.2f}"
                for metric in ("flops", "acts")
            ),
            f"{times[regnet].images_per_second / times[other].images_per_second:.2f}",
            f"{INFERENCE_V100[other] / INFERENCE_V100[regnet]:.2f}",
        ]
        for regnet, other in pairs
        if regnet in times and other in times
    ]
    return markdown(["ratio", "flops", "acts", "time", "V100 inference, in the paper"], rows) if rows else ""


def _plot(mode: str, times: Mapping[str, Measurement], output: Path) -> Path:
    figure, axes = new_figure(columns=2, width=5.2, height=4.2)
    for one, metric in zip(axes.flat, ("flops", "acts"), strict=True):
        unit = UNITS[metric].size
        for i, (prefix, family) in enumerate(FAMILIES.items()):
            group = [m for name, m in times.items() if name.startswith(prefix)]
            points = sorted((getattr(m.complexity, metric) / unit, 1e3 / m.images_per_second) for m in group)
            if points:
                one.plot(*zip(*points, strict=True), "o-", color=f"C{i}", markersize=4, linewidth=1, label=family)
        one.set(xlabel=LABELS[metric], ylabel="time per image (ms)")
        make_log(one.xaxis, one.yaxis)
        one.legend(fontsize=7)
        if mode == "inference":
            draw_paper_points(one, INFERENCE_V100, metric, "V100, in the paper")
    figure.suptitle("Inference" if mode == "inference" else "A training step", fontsize=10)
    return save_figure(figure, output / f"{mode}.png")


BASELINES = Study("baselines", "RegNet compared with ResNe(X)t and EfficientNet", _jobs, _analyse)
