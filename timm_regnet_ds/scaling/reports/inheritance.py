"""How exactly scaled models inherit their base's weights, measured on one architecture of each class."""

import gc
import signal
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from timm_regnet_ds.files.rows import RowsFile
from timm_regnet_ds.scaling.arithmetic.strategy import STRATEGIES, Multipliers
from timm_regnet_ds.scaling.building.base import Base, base_of
from timm_regnet_ds.scaling.building.build import build_changed, changes_of
from timm_regnet_ds.scaling.fitting.target import Target
from timm_regnet_ds.scaling.fitting.transform import apply_rules
from timm_regnet_ds.scaling.scale import Scaler
from timm_regnet_ds.weights import Inherited, inherit
from timm_regnet_ds.weights.inherited import EXACT

__all__ = ["CASES", "markdown_text", "measure_case", "run"]

# How models are scaled with `inherit_exactly`: by two in depth or in width, by four with dWr.
_EXACTLY = ("depth 2", "width 2", "dWr 4")

# Besides, as `scale` does by default, with dWr: to twice the flops, and to half of them.
CASES = (*_EXACTLY, "to 2 x flops", "0.5")

# Images are as small as the architecture allows, down to this side.
_SIDE = 64

# Arguments that make the largest of the architectures quick to run.
SMALLER: dict[str, dict[str, Any]] = {
    "beit_base_patch16_224": {"depth": 4},
    "deepseek_vit_412m": {"depth": 4, "img_size": 84},
    "deepseek_vit_412m_enc": {"depth": 4, "img_size": 84},
    "gemma4_vit_167m": {"depth": 4, "img_size": 96},
    "gemma4_vit_167m_enc": {"depth": 4, "img_size": 96},
    "mobilenetv5_300m_enc": {"channel_multiplier": 0.5},
    "mobilenetv5_base": {"channel_multiplier": 0.5},
    "naflexvit_base_patch16_gap": {"pretrained_cfg_overlay": {"input_size": (3, 64, 64)}},
    "qwen3_vit_88m": {"depth": 4, "img_size": 64},
    "qwen3_vit_88m_enc": {"depth": 4, "img_size": 64},
    "samvit_base_patch16_224": {"depth": 4, "global_attn_indexes": [1, 3]},
}


def measure_case(name: str, case: str) -> dict[str, Any]:
    """Scale an architecture and let it inherit.

    The base has random weights, which are perturbed so that layers which begin at zero count as well.

    Returns:
        ``error``, ``policy``, ``reasons``, ``added`` (number of added modules) and ``seconds``.
    """
    scaler = Scaler(base_of(name, SMALLER.get(name, {}), None), STRATEGIES["dWr"], inherit_exactly=case in _EXACTLY)
    base = scaler.base
    by = _multipliers(scaler, case)
    torch.manual_seed(0)
    trained, side = _smallest(base)
    grown, size = _build(base, by, side)
    between = None
    if by.depth != 1 and by.width != 1:
        with torch.device("meta"):
            between, _ = _build(base, Multipliers(1.0, by.width, by.group_width), side)
    _perturb(trained, torch.randn(4, *size))
    start = time.perf_counter()
    found: Inherited = inherit(trained, grown, between, input_size=size)
    return {
        "error": float(f"{found.error:.3g}") if found.error < float("inf") else 1e9,
        "policy": found.policy,
        "reasons": [reason[:200] for reason in found.reasons[:3]],
        "added": len(found.added),
        "seconds": round(time.perf_counter() - start, 1),
    }


def _multipliers(scaler: Scaler, case: str) -> Multipliers:
    """By how much depth, width and group width grow; resolution, which adds no weights, stays."""
    if case == "depth 2":
        return Multipliers(depth=2.0)
    if case == "width 2":
        return Multipliers(width=2.0, group_width=2.0)
    if case == "to 2 x flops":
        flops = scaler.base_shares.complexity.flops
        return replace(scaler.to(Target("flops", 2.0 * flops), None)._multipliers, resolution=1.0)
    factor = 4.0 if case == "dWr 4" else 0.5
    return replace(scaler.scale_args(factor).multipliers, resolution=1.0)


def _build(base: Base, by: Multipliers, side: float) -> tuple[nn.Module, Any]:
    by = Multipliers(by.depth, by.width, by.group_width, side)
    scaled = apply_rules(base.spec, base.args, base.input_size, by)
    return build_changed(base, changes_of(base, scaled.args, scaled.input_size)), scaled.input_size


def _smallest(base: Base) -> tuple[nn.Module, float]:
    """The base for small images, and the multiplier of resolution that gives it."""
    largest = base.input_size[-1]
    wanted = max(_SIDE, base.spec.resolution_multiple(base.args))
    side = min(1.0, wanted / largest)
    try:
        model, size = _build(base, Multipliers(), side)
        with torch.no_grad():
            model.eval()(torch.randn(1, *size))
    except Exception:  # too small for its windows
        return _build(base, Multipliers(), 1.0)[0], 1.0
    return model, side


@torch.no_grad()
def _perturb(model: nn.Module, images: torch.Tensor) -> None:
    """Weights as training may leave them: none is zero, and statistics of norms are those of some images."""
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        spread = float(p.std()) if p.numel() > 1 else 0.0
        noise = torch.randn(p.shape, generator=generator)
        if p.ndim > 1 and spread > 1e-4:
            p.add_(noise * spread * 0.2)
        elif p.ndim <= 1 and p.numel() and float(p.abs().mean()) < 1e-2:
            p.add_(noise * 0.1)
        elif p.ndim <= 1:
            p.mul_(torch.rand(p.shape, generator=generator) + 0.5)
        else:
            p.add_(noise * 0.05)
    norms = [
        m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    if norms:
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        mean: Any = norm.running_mean
        variance: Any = norm.running_var
        mean.add_(0.1 * variance.sqrt() * torch.randn(mean.shape, generator=generator))
        variance.mul_(torch.rand(variance.shape, generator=generator) + 0.5).clamp_(1e-3)
    model.eval()


def run(
    architectures: Iterable[tuple[str, str]], rows: RowsFile, cases: Iterable[str] = CASES, limit: float = 600.0
) -> Iterator[dict[str, Any]]:
    """Measure architectures one after the other; rows that the file already has are not measured again.

    Args:
        architectures: (class, architecture) of each.
        rows: where each row is appended as soon as it is measured.
        cases: which of `CASES` to measure.
        limit: the most seconds of the processor for one row, which other processes do not shorten.
    """
    done = {(row["architecture"], row["case"]) for row in rows.read_if_exists()}
    for class_name, name in architectures:
        for case in cases:
            if (name, case) in done:
                continue
            row = {"class": class_name, "architecture": name, "case": case, "timm": timm.__version__}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    with _time_limit(limit):
                        row |= measure_case(name, case)
                except _TimeLimitError:
                    row |= {"error": None, "reasons": [f"took more than {limit:g} s of the processor"]}
                except Exception as error:  # one architecture's failure is a reason in its row
                    row |= {"error": None, "reasons": [f"{type(error).__name__}: {error}"[:300]]}
            rows.append(row)
            yield row
            gc.collect()


class _TimeLimitError(BaseException):
    """No `Exception`, so that nothing on the way catches it."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise _TimeLimitError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def rows_file(path: str | Path) -> RowsFile:
    """The file of rows that `run` appends to."""
    return RowsFile(Path(path), "inheritance", 1)


def markdown_text(rows: Iterable[dict[str, Any]]) -> str:
    """The table: errors of every class, and why they are not exact."""
    by_class: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_class.setdefault((row["class"], row["architecture"]), {})[row["case"]] = row
    cases = [case for case in CASES if any(case in found for found in by_class.values())]
    lines = []
    for case in cases:
        errors = [found[case]["error"] for found in by_class.values() if case in found]
        exact = sum(error is not None and error < EXACT for error in errors)
        failed = sum(error is None for error in errors)
        lines.append(f"- {case}: {exact} of {len(errors)} exact (below 1e-4), {failed} without a result.")
    lines += ["", f"| class | architecture | {' | '.join(cases)} | why not exact |"]
    lines.append("|:--|:--|" + "--:|" * len(cases) + ":--|")
    for (class_name, name), found in sorted(by_class.items()):
        cells = [_cell(found.get(case)) for case in cases]
        reasons = dict.fromkeys(
            f"{case}: {row['reasons'][0]}"
            for case, row in found.items()
            if row.get("reasons") and not (row["error"] is not None and row["error"] < EXACT)
        )
        lines.append(f"| {class_name} | {name} | {' | '.join(cells)} | {'; '.join(reasons).replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    error = row["error"]
    if error is None:
        return "–"
    return "exact" if error < EXACT else f"{error:.1g}" if error < 1e4 else "> 1e4"
