"""A table of what scales in every architecture of timm, made by scaling them all: ``timm-regnet-ds scale --all``."""

import fnmatch
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

from timm_regnet_ds.common.check import did_you_mean
from timm_regnet_ds.complexity import build_without_weights
from timm_regnet_ds.files.atomic import write_text
from timm_regnet_ds.files.rows import RowsFile
from timm_regnet_ds.files.tables import csv_text
from timm_regnet_ds.scaling.arithmetic.strategy import resolve_strategy
from timm_regnet_ds.scaling.building.base import Base, base_of
from timm_regnet_ds.scaling.building.capture import bypass_interception
from timm_regnet_ds.scaling.fitting.target import Target
from timm_regnet_ds.scaling.scale import Scaler

__all__ = ["COLUMNS", "FACTORS", "architectures", "compute", "markdown_text", "matching", "row", "write"]

FACTORS = (0.5, 2.0, 4.0, 8.0)
_RATIOS = tuple(f"x{factor:g}" for factor in FACTORS)
COLUMNS = ("architecture", "class", "d", "w", "g", "r", "flops", *_RATIOS, "to_2x", "reason")


def architectures() -> list[str]:
    """Names of timm's own architectures."""
    return sorted(name for name in list_models() if model_entrypoint(name).__module__.startswith("timm.models."))


def row(name: str) -> dict[str, Any]:
    """Scale an architecture and return the entries of `COLUMNS`.

    ``d``, ``w`` and ``r`` are 1 where flops grow when only depth, width or resolution is scaled by 4. ``g`` is 1 where
    group widths grow with the width, and empty for architectures without grouped convolutions. ``x2`` is the flops
    of the model scaled by dWr and factor 2, divided by the base's; for ``to_2x`` the target is twice the base's flops.
    """
    found: dict[str, Any] = {"architecture": name, "d": 0, "w": 0, "r": 0}
    reasons: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            base = base_of(name, {}, None)
        except Exception as error:
            return found | {"reason": str(error).removeprefix(f"{name} ") or type(error).__name__}
        for column, entry in _ENTRIES:
            if column in (*_RATIOS, "to_2x") and not (found["d"] and found["w"]):
                continue
            try:
                found[column] = entry(base, found)
            except Exception as error:  # the failure of one architecture becomes the reason in its row
                reasons.append(str(error).removeprefix(f"{name} ") or type(error).__name__)
    return found | {"reason": "; ".join(dict.fromkeys(reasons))}


def _scaler(base: Base, strategy: str) -> Scaler:
    return Scaler(base, resolve_strategy(strategy))


def _class(base: Base, _: dict[str, Any]) -> str:
    return str(base.build.model_cls.__name__)


def _flops(base: Base, _: dict[str, Any]) -> int:
    return _scaler(base, "r").base_shares.complexity.flops


def _axis(strategy: str, base: Base, _: dict[str, Any]) -> int:
    return int(_scaler(base, strategy).by(4.0).growth.flops > 1)


def _groups(base: Base, found: dict[str, Any]) -> int | None:
    if not found["w"]:
        return None
    model = _scaler(base, "w").by(4.0)
    before = _group_widths(model.create_base)
    return int(fmean(_group_widths(model.create)) > fmean(before)) if before else None


def _group_widths(make: Callable[[], nn.Module]) -> list[int]:
    with bypass_interception():
        model = build_without_weights(make)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    return [conv.in_channels // conv.groups for conv in convs if 1 < conv.groups < conv.in_channels]


def _ratio(factor: float, base: Base, _: dict[str, Any]) -> float:
    return round(_scaler(base, "dWr").by(factor).growth.flops, 4)


def _twice(base: Base, found: dict[str, Any]) -> float:
    return round(_scaler(base, "dWr").to(Target("flops", 2.0 * found["flops"]), None).growth.flops, 4)


_ENTRIES: tuple[tuple[str, Callable[[Base, dict[str, Any]], Any]], ...] = (
    ("class", _class),
    ("flops", _flops),
    *((axis, partial(_axis, axis)) for axis in "dwr"),
    ("g", _groups),
    *((column, partial(_ratio, factor)) for column, factor in zip(_RATIOS, FACTORS, strict=True)),
    ("to_2x", _twice),
)


def write(folder: str | os.PathLike[str], names: Iterable[str] | None = None) -> None:
    """Scale architectures, by default all, and write ``coverage.md`` and ``coverage.csv``.

    Finished rows are kept in ``coverage.part`` until then, so that a killed run continues where it stopped.
    """
    wanted = list(names or architectures())
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    part = RowsFile(path / "coverage.part", "coverage", 1)
    versions = {"timm": timm.__version__, "timm_regnet_ds": version("timm-regnet-ds")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an incomplete last row is computed again
        finished = part.read_if_exists()
    rows = {found["architecture"]: found for found in finished if found.pop("versions") == versions}
    for found in compute([name for name in wanted if name not in rows], total=len(wanted)):
        rows[found["architecture"]] = found
        part.append(found | {"versions": versions})
    ordered = [rows[name] for name in wanted]
    write_text(path / "coverage.csv", csv_text(ordered, COLUMNS))
    write_text(path / "coverage.md", markdown_text(ordered))
    part.path.unlink(missing_ok=True)


def matching(pattern: str) -> list[str]:
    """The architectures of timm whose name matches a shell pattern such as ``convnext*``.

    Raises:
        ValueError: no architecture matches.
    """
    names = architectures()
    if found := fnmatch.filter(names, pattern):
        return found
    raise ValueError(f"no architecture of timm matches {pattern!r}{did_you_mean(pattern.strip('*?'), names)}")


def compute(names: list[str], total: int | None = None) -> Iterator[dict[str, Any]]:
    """The rows of architectures, as they become ready; several processes compute them, and a bar shows progress."""
    from tqdm import tqdm

    total = total or len(names)
    with tqdm(total=total, initial=total - len(names)) as bar:
        for found in _in_processes(names):
            bar.update()
            yield found


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


def markdown_text(rows: list[dict[str, Any]]) -> str:
    """The page of docs: a summary, and a table per class."""
    scales_in_all = [row for row in rows if row.get("d") and row.get("w") and row.get("r")]
    lines = [
        "# What scales",
        "",
        f"Every architecture of timm {timm.__version__}, as `timm-regnet-ds scale --all` found it. d, w, r: flops grow "
        "when depth, width or resolution alone is scaled; g: so does the width of groups (– where there are none). "
        "×0.5 to ×8: flops reached over the base's at these factors under dWr; to 2×: with twice the base's flops as "
        "the target. The same rows are in [coverage.csv](coverage.csv).",
        "",
        f"- {len(scales_in_all)} of {len(rows)} architectures scale in depth, width and resolution, of "
        f"{len({row.get('class') for row in rows})} classes.",
        *(
            f"- Factor {factor:g}: {_within(scales_in_all, column, factor, 0.1)} within 10%, "
            f"{_within(scales_in_all, column, factor, 0.25)} within 25%."
            for column, factor in zip(_RATIOS, FACTORS, strict=True)
        ),
        f"- To twice the flops: {_within(scales_in_all, 'to_2x', 2, 0.03)} within 3%.",
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
