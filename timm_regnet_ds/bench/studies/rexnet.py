"""ReXNet compared with EfficientNet. Rethinking Channel Dimensions for Efficient Model Design, Tables 5, A1 and A2."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timm_regnet_ds.bench.jobs import Job, Result
from timm_regnet_ds.bench.measurement import Measurement
from timm_regnet_ds.bench.setting import Setting
from timm_regnet_ds.common.plots import GREY, make_log, new_figure
from timm_regnet_ds.files.atomic import save_figure
from timm_regnet_ds.files.tables import markdown
from timm_regnet_ds.papers.times import REXNET, REXNET_LITE, RexnetTimes

from .study import Study, StudyResult, with_tags

__all__ = ["REXNET_STUDY"]

TABLES = {"ReXNet and EfficientNet (Tables 5, A1)": REXNET, "ReXNet-lite and EfficientNet-lite (Table A2)": REXNET_LITE}

# The paper's batch sizes by type of device. Rows have the type of device in the tag ``place``.
BATCH_SIZES = {"cpu": 1, "cuda": 64}


def _jobs(user_settings: Mapping[str, Any]) -> list[Job]:
    """Batch 1 on the CPU, and 64 in float32 and float16 on a GPU if there is one; or on the device that is given."""
    first = Setting(**user_settings)
    # What is given of the computation, such as the dtype, and the batch size are for the GPU and not for the CPU.
    gpu_only = {*Setting.comparable_fields()} - {"input_size"}
    common = {name: value for name, value in user_settings.items() if name not in gpu_only}
    device_types = {first.device_type} if "device" in user_settings else {"cpu", first.device_type}
    jobs = []
    for device_type in sorted(device_types):
        own = user_settings if device_type == first.device_type else common
        device = first.device if device_type == first.device_type else "cpu"
        dtypes = [own["dtype"]] if "dtype" in own else ["fp32"] if device_type == "cpu" else ["fp32", "fp16"]
        for dtype in dtypes:
            setting = Setting(**{"batch_size": BATCH_SIZES[device_type], **own, "device": device, "dtype": dtype})
            jobs += [
                Job(name, setting, tags={"model": name, "place": device_type, "dtype": dtype})
                for name in {**REXNET, **REXNET_LITE}
            ]
    return jobs


def _printed(times: RexnetTimes, device_type: str, dtype: str) -> float | None:
    """The paper's milliseconds for the batch; None if it prints none."""
    if device_type == "cpu":
        return times.cpu
    return times.gpu_fp16 if dtype == "fp16" else times.gpu


def _analyse(results: Sequence[Result], output: Path) -> StudyResult:
    sides = list(
        dict.fromkeys(
            (r.job.tags["place"], r.job.tags["dtype"]) for r in results if r.measurement and "place" in r.job.tags
        )
    )
    if not sides:
        raise ValueError(f"rexnet needs measurements of its models; the {len(results)} rows have none")
    parts, plots = [], []
    for device_type, dtype in sides:
        where = f"{'CPU' if device_type == 'cpu' else 'GPU'}, {dtype}"
        by_name = {m.model: m for m in with_tags(results, place=device_type, dtype=dtype)}
        for title, printed in TABLES.items():
            rows = [
                _row(name, by_name[name], _printed(times, device_type, dtype))
                for name, times in printed.items()
                if name in by_name
            ]
            if rows:
                parts.append(f"### {title}: {where}\n\n{markdown(_HEADER, rows)}")
        plots.append(_plot(where, device_type, dtype, by_name, output))
    return StudyResult("\n\n".join(parts), plots)


_HEADER = ("model", "flops (G)", "params (M)", "batch", "ms", "95% interval", "ms, in the paper")


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


def _plot(where: str, device_type: str, dtype: str, by_name: Mapping[str, Measurement], output: Path) -> Path:
    figure, axes = new_figure(width=6.4, height=4.6)
    one = axes[0, 0]
    families: dict[str, list[tuple[float, float]]] = {family: [] for family in FAMILIES.values()}
    paper = []
    for name, m in by_name.items():
        family = next(family for prefix, family in FAMILIES.items() if name.startswith(prefix))
        flops = m.complexity.flops / 1e9
        families[family].append((flops, m.timing.median))
        printed = _printed({**REXNET, **REXNET_LITE}[name], device_type, dtype)
        if printed is not None:
            paper.append((flops, printed))
    for family, points in families.items():
        if points:
            one.plot(*zip(*sorted(points), strict=True), "o-", markersize=4, linewidth=1, label=family)
    if paper:
        machine = "Xeon E5-2630" if device_type == "cpu" else "V100"
        one.plot(*zip(*paper, strict=True), "x", color=GREY, zorder=0, label=f"{machine}, in the paper")
    batch = BATCH_SIZES[device_type] if not by_name else next(iter(by_name.values())).setting.batch_size
    one.set(xlabel="flops (GF)", ylabel=f"time of {batch} image{'s' if batch > 1 else ''} (ms)")
    make_log(one.xaxis, one.yaxis)
    one.set_title(where, fontsize=9)
    one.legend(fontsize=7)
    return save_figure(figure, output / f"{device_type}_{dtype}.png")


REXNET_STUDY = Study("rexnet", "ReXNet compared with EfficientNet", _jobs, _analyse)
