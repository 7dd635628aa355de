"""ReXNet against EfficientNet. Rethinking Channel Dimensions for Efficient Model Design, Tables 5, A1 and A2."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timm_regnet_ds.bench.measurement import Measurement
from timm_regnet_ds.bench.plots import GREY, logarithmic, new_figure
from timm_regnet_ds.bench.runner import Job, Result
from timm_regnet_ds.bench.setting import Setting
from timm_regnet_ds.files.atomic import save_figure
from timm_regnet_ds.files.tables import markdown
from timm_regnet_ds.papers.times import REXNET, REXNET_LITE, RexnetTimes

from .study import Findings, Study, measured

__all__ = ["REXNET_STUDY"]

TABLES = {"ReXNet and EfficientNet (Tables 5, A1)": REXNET, "The lite ones (Table A2)": REXNET_LITE}

# Of the two sides: how they are named in rows, and images in a batch.
PLACES = {"cpu": 1, "cuda": 64}


def _jobs(given: Mapping[str, Any]) -> list[Job]:
    """Batch 1 on the CPU, and 64 in float32 and float16 on the GPU where there is one, or on the device asked for."""
    first = Setting(**given)
    # What is asked for of the GPU is not asked of the CPU.
    of_both = {name: value for name, value in given.items() if name in ("precision", "seconds", "seed", "input_size")}
    kinds = {first.kind} if "device" in given else {"cpu", first.kind}
    jobs = []
    for kind in sorted(kinds):
        own = given if kind == first.kind else of_both
        device = first.device if kind == first.kind else "cpu"
        dtypes = [own["dtype"]] if "dtype" in own else ["fp32"] if kind == "cpu" else ["fp32", "fp16"]
        for dtype in dtypes:
            setting = Setting(**{"batch_size": PLACES[kind], **own, "device": device, "dtype": dtype})
            jobs += [
                Job(name, setting, tags={"model": name, "place": kind, "dtype": dtype})
                for name in {**REXNET, **REXNET_LITE}
            ]
    return jobs


def _printed(times: RexnetTimes, place: str, dtype: str) -> float | None:
    """What the paper prints, in milliseconds for the batch."""
    if place == "cpu":
        return times.cpu
    return times.gpu_fp16 if dtype == "fp16" else times.gpu


def _find(results: Sequence[Result], output: Path) -> Findings:
    sides = list(
        dict.fromkeys(
            (r.job.tags["place"], r.job.tags["dtype"]) for r in results if r.measurement and "place" in r.job.tags
        )
    )
    if not sides:
        raise ValueError(f"rexnet needs measurements of its models; there are none among {len(results)} rows")
    parts, pictures = [], []
    for place, dtype in sides:
        where = f"{'CPU' if place == 'cpu' else 'GPU'}, {dtype}"
        by_name = {m.model: m for m in measured(results, place=place, dtype=dtype)}
        for title, printed in TABLES.items():
            rows = [
                _row(name, by_name[name], _printed(times, place, dtype))
                for name, times in printed.items()
                if name in by_name
            ]
            if rows:
                parts.append(f"### {title}: {where}\n\n{markdown(_HEADER, rows)}")
        pictures.append(_picture(where, place, dtype, by_name, output))
    return Findings("\n\n".join(parts), pictures)


_HEADER = ("model", "flops (G)", "params (M)", "batch", "ms", "95% interval", "the paper's ms")


def _row(name: str, m: Measurement, printed: float | None) -> list[str]:
    t = m.timing
    return [
        *(name, f"{m.complexity.flops / 1e9:.2f}", f"{m.complexity.params / 1e6:.1f}", str(m.setting.batch_size)),
        *(f"{t.median:.4g}", f"{t.low:.4g} to {t.high:.4g}", "–" if printed is None else f"{printed:g}"),
    ]


FAMILIES = {
    "rexnet_lite": "ReXNet-lite",
    "rexnet_plain": "ReXNet (plain)",
    "rexnet_": "ReXNet",
    "efficientnet_lite": "EfficientNet-lite",
    "efficientnet_": "EfficientNet",
}


def _picture(where: str, place: str, dtype: str, by_name: Mapping[str, Measurement], output: Path) -> Path:
    figure, axes = new_figure(width=6.4, height=4.6)
    one = axes[0, 0]
    families: dict[str, list[tuple[float, float]]] = {family: [] for family in FAMILIES.values()}
    paper = []
    for name, m in by_name.items():
        family = next(family for prefix, family in FAMILIES.items() if name.startswith(prefix))
        flops = m.complexity.flops / 1e9
        families[family].append((flops, m.timing.median))
        printed = _printed({**REXNET, **REXNET_LITE}[name], place, dtype)
        if printed is not None:
            paper.append((flops, printed))
    for family, points in families.items():
        if points:
            one.plot(*zip(*sorted(points), strict=True), "o-", markersize=4, linewidth=1, label=family)
    if paper:
        machine = "Xeon E5-2630" if place == "cpu" else "V100"
        one.plot(*zip(*paper, strict=True), "x", color=GREY, zorder=0, label=f"the paper's, {machine}")
    batch = PLACES[place] if not by_name else next(iter(by_name.values())).setting.batch_size
    one.set(xlabel="flops (GF)", ylabel=f"time of {batch} image{'s' if batch > 1 else ''} (ms)")
    logarithmic(one)
    one.set_title(where, fontsize=9)
    one.legend(fontsize=7)
    return save_figure(figure, output / f"{place}_{dtype}.png")


REXNET_STUDY = Study("rexnet", "ReXNet beside EfficientNet", _jobs, _find)
