"""What scales of every architecture of timm, found out by scaling them all: ``timm-regnet-ds scale --all``."""

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import timm
import torch
from timm.models import list_models, model_entrypoint
from torch import nn

from timm_regnet_ds.complexity import measure_factory
from timm_regnet_ds.files.atomic import write_text
from timm_regnet_ds.files.tables import csv_text
from timm_regnet_ds.scaling.building.capture import bypass_interception
from timm_regnet_ds.scaling.scale import scale

__all__ = ["COLUMNS", "FACTORS", "architectures", "row", "write"]

FACTORS = (0.5, 2.0, 4.0, 8.0)
_RATIOS = tuple(f"x{factor:g}" for factor in FACTORS)
COLUMNS = ("architecture", "class", "d", "w", "g", "r", "flops", *_RATIOS, "to_2x", "reason")


def architectures() -> list[str]:
    """Names of timm's own architectures."""
    return sorted(name for name in list_models() if model_entrypoint(name).__module__.startswith("timm.models."))


def row(name: str) -> dict[str, Any]:
    """What scales of an architecture: the entries of `COLUMNS`.

    ``d``, ``w`` and ``r`` are 1 where flops grow when only depth, width or resolution is scaled by 4; ``g`` where
    the width of groups grows with the width, and empty where there are none. ``x2`` is flops reached by dWr at
    factor 2 over the base's, ``to_2x`` those with twice the base's as the target.
    """
    found: dict[str, Any] = {"architecture": name, "d": 0, "w": 0, "r": 0}
    reasons: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for column, measure in _MEASURES:
            if column in (*_RATIOS, "to_2x") and not (found["d"] and found["w"]):
                continue
            try:
                found[column] = measure(name, found)
            except Exception as error:  # one architecture's failure is a reason in its row
                reasons.append(str(error).removeprefix(f"{name} ") or type(error).__name__)
    return found | {"reason": "; ".join(dict.fromkeys(reasons))}


def _class(name: str, _: dict[str, Any]) -> str:
    return str(scale(name, 1.0, strategy="r").model_cls.__name__)


def _flops(name: str, _: dict[str, Any]) -> int:
    return scale(name, 1.0, strategy="r").base_complexity.flops


def _axis(strategy: str, name: str, _: dict[str, Any]) -> int:
    return int(scale(name, 4.0, strategy=strategy).growth.flops > 1)


def _groups(name: str, found: dict[str, Any]) -> int | None:
    if not found["w"]:
        return None
    model = scale(name, 4.0, strategy="w")
    before = _group_widths(model.create_base)
    return int(fmean(_group_widths(model.create)) > fmean(before)) if before else None


def _group_widths(make: Callable[[], nn.Module]) -> list[int]:
    with bypass_interception():
        model, _ = measure_factory("model", make)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    return [conv.in_channels // conv.groups for conv in convs if 1 < conv.groups < conv.in_channels]


def _ratio(factor: float, name: str, _: dict[str, Any]) -> float:
    return round(scale(name, factor).growth.flops, 4)


def _twice(name: str, found: dict[str, Any]) -> float:
    return round(scale(name, flops=2 * found["flops"]).growth.flops, 4)


_MEASURES: tuple[tuple[str, Callable[[str, dict[str, Any]], Any]], ...] = (
    ("class", _class),
    ("flops", _flops),
    *((axis, partial(_axis, axis)) for axis in "dwr"),
    ("g", _groups),
    *((column, partial(_ratio, factor)) for column, factor in zip(_RATIOS, FACTORS, strict=True)),
    ("to_2x", _twice),
)


def write(folder: str | os.PathLike[str], names: Iterable[str] | None = None) -> None:
    """Scale architectures, all by default, and write ``coverage.md`` and ``coverage.csv``.

    A run that is killed goes on where it stopped: finished rows are in ``coverage.part``.
    """
    from tqdm import tqdm

    wanted = list(names or architectures())
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    part = path / "coverage.part"
    versions = {"timm": timm.__version__, "timm_regnet_ds": version("timm-regnet-ds")}
    rows = {found["architecture"]: found for found in _finished(part) if found.pop("versions", None) == versions}
    missing = [name for name in wanted if name not in rows]
    with part.open("a", encoding="utf-8") as store, tqdm(total=len(wanted), initial=len(wanted) - len(missing)) as bar:
        store.write("\n")  # after a line that a killed run may have left unfinished
        for found in _in_processes(missing):
            rows[found["architecture"]] = found
            store.write(json.dumps(found | {"versions": versions}) + "\n")
            store.flush()
            bar.update()
    ordered = [rows[name] for name in wanted]
    write_text(path / "coverage.csv", csv_text(ordered, COLUMNS))
    write_text(path / "coverage.md", _markdown(ordered))
    part.unlink()


def _finished(part: Path) -> Iterator[dict[str, Any]]:
    if part.exists():
        for line in part.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:  # the run was killed while it wrote this line
                continue


def _in_processes(names: list[str]) -> Iterator[dict[str, Any]]:
    spawn = get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for future in as_completed([pool.submit(row, name) for name in names]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _within(rows: list[dict[str, Any]], column: str, wanted: float, share: float) -> int:
    return sum(bool(row.get(column)) and abs(row[column] / wanted - 1) <= share for row in rows)


def _markdown(rows: list[dict[str, Any]]) -> str:
    whole = [row for row in rows if row.get("d") and row.get("w") and row.get("r")]
    lines = [
        "# What scales",
        "",
        f"Every architecture of timm {timm.__version__}, as `timm-regnet-ds scale --all` found it. d, w, r: flops grow "
        "when depth, width or resolution alone is scaled; g: so does the width of groups (– where there are none). "
        "×0.5 to ×8: flops reached over the base's at these factors under dWr; to 2×: with twice the base's flops as "
        "the target. The same rows are in [coverage.csv](coverage.csv).",
        "",
        f"- {len(whole)} of {len(rows)} architectures scale in depth, width and resolution, of "
        f"{len({row.get('class') for row in rows})} classes.",
        *(
            f"- Factor {factor:g}: {_within(whole, column, factor, 0.1)} within 10%, "
            f"{_within(whole, column, factor, 0.25)} within 25%."
            for column, factor in zip(_RATIOS, FACTORS, strict=True)
        ),
        f"- To twice the flops: {_within(whole, 'to_2x', 2, 0.03)} within 3%.",
        "",
    ]
    classes: dict[str, list[dict[str, Any]]] = {}
    for found in rows:
        classes.setdefault(found.get("class", "?"), []).append(found)
    for name, members in sorted(classes.items()):
        ratios = " | ".join(f"×{factor:g}" for factor in FACTORS)
        lines += [
            f"## {name}",
            "",
            f"| architecture | d | w | g | r | {ratios} | to 2× | |",
            "|:--|" + ":-:|" * 4 + "--:|" * 5 + ":--|",
        ]
        lines += [_markdown_row(found) for found in members]
        lines.append("")
    return "\n".join(lines)


def _markdown_row(found: dict[str, Any]) -> str:
    marks = {1: "✓", 0: "", None: "–"}
    axes = [marks[found.get(axis)] for axis in "dwgr"]
    ratios = [f"{found[column]:.2f}" if found.get(column) else "" for column in (*_RATIOS, "to_2x")]
    return f"| {' | '.join([found['architecture'], *axes, *ratios, found['reason']])} |"
