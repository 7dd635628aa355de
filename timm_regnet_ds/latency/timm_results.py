"""The tables of times in timm's repository: ``results/benchmark-infer-*.csv``."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from timm.layers import is_fast_norm, set_fast_norm
from timm.models import create_model, is_model

from timm_regnet_ds.complexity import Complexity, measure_factory
from timm_regnet_ds.files.rows import RowsFile

from .families import family_of
from .fitting import CHANGED, FAILED, UNCOUNTED, UNKNOWN, Dropped, TimedModel
from .forms import bytes_format

__all__ = ["Device", "TimmTable", "read_timm_results", "timed_models"]

_NAME = re.compile(
    r"benchmark-infer-(?P<dtype>[a-z0-9_]+)-(?P<layout>nchw|nhwc)-pt(?P<torch>\d+)(-cu\d+)?-(cpu-)?"
    r"(?P<device>[a-z0-9_]+)(?P<compiled>-dynamo)?\.csv"
)
_COLUMNS = ("model", "infer_step_time", "infer_batch_size", "infer_img_size", "param_count")

# Number formats in names of tables, and those of this package.
_DTYPES = {**{name: name for name in ("amp", "amp_bf16", "bf16", "fp16", "fp32")}, "float32": "fp32"}

# A row is dropped if its params differ from those of the model today by more than this share and 0.006 M, since the
# tables round to 0.01 M.
_PARAMS, _ROUNDING = 0.003, 0.006


# In tables with ``--fast-norm``, ResNet-50 with GroupNorm takes 1.12 to 1.33 times as long as with BatchNorm; in the
# others 2.1 to 2.3 times, and 1.53 times where it is compiled.
_SLOW_NORM = 1.45


class Device(NamedTuple):
    """The device of a table: its short name, and its name as torch, or the processor, gives it."""

    key: str
    name: str
    is_cpu: bool = False


_DEVICES = {
    "3090": Device("rtx3090", "NVIDIA GeForce RTX 3090"),
    "4090": Device("rtx4090", "NVIDIA GeForce RTX 4090"),
    "5090": Device("rtx5090", "NVIDIA GeForce RTX 5090"),
    "pro6000maxq": Device("rtxpro6000", "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition"),
    "i9_10940x": Device("i9-10940x", "Intel(R) Core(TM) i9-10940X CPU @ 3.30GHz", True),
    "i7_12700h": Device("i7-12700h", "12th Gen Intel(R) Core(TM) i7-12700H", True),
}


class _Row(NamedTuple):
    model: str
    side: int
    batch_size: int
    milliseconds: float
    params: float  # millions


@dataclass(frozen=True)
class TimmTable:
    """One table: a device in one setting.

    Attributes:
        path: the file.
        device: the device.
        dtype: the number format as the file's name has it; ``setting["dtype"]`` is its name in this package.
        setting: fields of `timm_regnet_ds.bench.Setting` that describe the computation.
        torch: torch's version.
        rows: models with their times.
        failed: rows without a time.
        fast_norm: whether it was run with timm's ``--fast-norm``, as far as its times tell.
    """

    path: Path
    device: Device
    dtype: str
    setting: Mapping[str, Any]
    torch: str
    rows: Sequence[_Row]
    failed: Sequence[Dropped]
    fast_norm: bool


def read_timm_results(path: str | Path) -> TimmTable:
    """Read a table, whose file name tells the device and the setting.

    Raises:
        ValueError: a file whose name is not of this kind, or that lacks a column.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    match = _NAME.fullmatch(path.name)
    if match is None or match["dtype"] not in _DTYPES:
        raise ValueError(
            f"{path.name} is not named as timm's tables of inference are, such as "
            "benchmark-infer-amp-nchw-pt291-cu128-4090.csv"
        )
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        lacking = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if lacking:
            raise ValueError(f"{path} is not a table of timm's benchmark: it has no column {lacking[0]}")
        rows, failed = [], []
        for line in reader:
            try:
                rows.append(_parse(line))
            except (TypeError, ValueError):
                failed.append(Dropped(str(line["model"]), FAILED))
    token = match["device"].removeprefix("rtx")
    setting = {
        "mode": "inference",
        "dtype": _DTYPES[match["dtype"]],
        "channels_last": match["layout"] == "nhwc",
        "compile": "default" if match["compiled"] else None,
    }
    device = _DEVICES.get(token) or Device(match["device"], match["device"], "-cpu-" in path.name)
    version = _version(match["torch"])
    return TimmTable(path, device, match["dtype"], setting, version, rows, failed, _has_fast_norm(rows))


def _has_fast_norm(rows: Sequence[_Row]) -> bool:
    """Whether GroupNorm took little longer than BatchNorm: with ``--fast-norm`` it runs in autocast's format.

    Otherwise it runs in float32, with casts before and after it. The tables' names do not tell.
    """
    of_an_image = {(row.model.partition(".")[0], row.side): row.milliseconds / row.batch_size for row in rows}
    ratios = [
        ms / of_an_image["resnet50", side]
        for (name, side), ms in of_an_image.items()
        if name == "resnet50_gn" and ("resnet50", side) in of_an_image
    ]
    return bool(ratios) and min(ratios) < _SLOW_NORM


def _parse(line: Mapping[str, str]) -> _Row:
    row = _Row(
        line["model"],
        int(float(line["infer_img_size"])),
        int(float(line["infer_batch_size"])),
        float(line["infer_step_time"]),
        float(line["param_count"]),
    )
    if not (row.milliseconds > 0 and row.batch_size > 0):
        raise ValueError("no time")
    return row


def _version(digits: str) -> str:
    """``291`` is 2.9.1, ``2101`` is 2.10.1, ``113`` is 1.13."""
    if digits[0] == "1" or len(digits) < 3:
        return f"{digits[0]}.{digits[1:]}"
    return f"{digits[0]}.{digits[1:-1]}.{digits[-1]}"


def timed_models(
    table: TimmTable, counts: str | Path | None = None, progress: bool = False
) -> tuple[list[TimedModel], list[Dropped]]:
    """The rows of a table with the complexity of their models, and the rows that are dropped.

    Args:
        table: the table.
        counts: file in which the complexity of models is kept for the next time; it need not exist.
        progress: show a bar.
    """
    dtype = bytes_format(table.setting["dtype"])
    fast_norm = table.fast_norm and dtype == "amp"  # the other formats are the same with it
    dropped = [*table.failed, *(Dropped(row.model, UNKNOWN) for row in table.rows if not _is_known(row.model))]
    rows = [row for row in table.rows if _is_known(row.model)]
    wanted = list(dict.fromkeys((row.model, row.side) for row in rows))
    known = _Counts(counts)
    from tqdm import tqdm

    for name, side in tqdm(wanted, desc="counting", unit="model", disable=None if progress else True):
        known.count(name, side, dtype, fast_norm)
    timed = []
    for row in rows:
        found = known.count(row.model, row.side, dtype, fast_norm)
        if isinstance(found, str):
            dropped.append(Dropped(row.model, UNCOUNTED, found))
        elif abs(found.params / 1e6 - row.params) > _PARAMS * row.params + _ROUNDING:
            detail = f"{row.params} M params in the table, {found.params / 1e6:.2f} M today"
            dropped.append(Dropped(row.model, CHANGED, detail))
        else:
            timed.append(TimedModel(row.model, family_of(row.model), found, row.batch_size, row.milliseconds))
    return timed, dropped


def _is_known(name: str) -> bool:
    return is_model(name.partition(".")[0])


class _Counts:
    """Complexity by model, side of the image and number format, kept in a file."""

    def __init__(self, path: str | Path | None) -> None:
        self.file = None if path is None else RowsFile(Path(path), "complexity", 2)
        rows: Iterable[dict[str, Any]] = [] if self.file is None else self.file.read_if_exists()
        self.known: dict[tuple[str, int, str, bool], Complexity | str] = {
            (row["model"], row["side"], row["dtype"], row["fast_norm"]): _from_row(row) for row in rows
        }

    def count(self, name: str, side: int, dtype: str, fast_norm: bool) -> Complexity | str:
        """The complexity, or why there is none."""
        key = (name, side, dtype, fast_norm)
        if key not in self.known:
            asked = {"model": name, "side": side, "dtype": dtype, "fast_norm": fast_norm}
            row = asked | _count(name, side, dtype, fast_norm)
            self.known[key] = _from_row(row)
            if self.file is not None:
                self.file.append(row)
        return self.known[key]


def _count(name: str, side: int, dtype: str, fast_norm: bool) -> dict[str, Any]:
    try:
        with _norms(fast_norm):
            return {"counts": measure_factory(name, partial(create_model, name), side, dtype=dtype)[1].to_dict()}
    except ValueError as error:
        return {"failure": str(error)}


@contextmanager
def _norms(fast: bool) -> Iterator[None]:
    """Models are built with timm's fast norms, or without."""
    before = is_fast_norm()
    set_fast_norm(fast)
    try:
        yield
    finally:
        set_fast_norm(before)


def _from_row(row: Mapping[str, Any]) -> Complexity | str:
    counts = row.get("counts")
    if counts is None:
        return str(row.get("failure"))
    return Complexity(**{**counts, "input_size": tuple(counts["input_size"])})
