"""Fit the cards in the package to the tables of times in timm's repository, and compare forms of prediction.

    python benchmarks/make_cards.py RESULTS_FOLDER --counts counts.jsonl

RESULTS_FOLDER is the folder ``results`` of https://github.com/huggingface/pytorch-image-models. The models' complexity
is kept in the file of ``--counts``, so that a second run takes a minute. Writes ``timm_regnet_ds/latency/cards.json``
and prints the table of errors for docs/latency.md.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from timm_regnet_ds.files.atomic import write_text
from timm_regnet_ds.files.tables import markdown
from timm_regnet_ds.latency.cards import CARDS_FILE
from timm_regnet_ds.latency.fitting import Fit, cross_validate, fit_times
from timm_regnet_ds.latency.model import LARGE_RESIDUAL, LatencyModel
from timm_regnet_ds.latency.timm_results import TimmTable, read_timm_results, timed_models

FORMS = ("bytes", "flops-acts", "flops", "acts")

# Numbers of models from which a card is fitted that starts from KNOWN; figures are means over this many draws.
FEW, DRAWS = (10, 20, 40), 20
KNOWN, TARGETS = "rtx4090", ("rtx3090", "rtx5090", "rtx4090-compiled")


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit the cards in the package.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--counts", type=Path, default=Path("counts.jsonl"))
    options = parser.parse_args()
    tables = [read_timm_results(path) for path in sorted(options.folder.glob("benchmark-infer-*.csv"))]
    tables.sort(key=lambda table: (table.device.is_cpu, table.device.key, _setting_of(table), _age(table)))
    newest = {_plain_name(table): table.torch for table in tables}  # in each setting, the last
    cards, rows, fits = {}, [], {}
    for table in sorted(tables, key=lambda t: (t.device.is_cpu, t.device.key, _setting_of(t), _age_reversed(t))):
        name = _plain_name(table)
        if newest[name] != table.torch:
            name += f"-torch{table.torch.removesuffix('.0')}"
        timed, dropped = timed_models(table, options.counts, progress=True)
        fit = fit_times(
            timed,
            table.setting,
            table.device.name,
            form="flops-acts" if table.device.is_cpu else "bytes",
            torch=table.torch,
            dropped=dropped,
        )
        cards[name], fits[name] = _short(fit), fit
        norms = ["–", "–"]
        if table.setting["dtype"].startswith("amp"):
            other, _ = timed_models(replace(table, fast_norm=not table.fast_norm), options.counts, progress=True)
            norms = ["fast" if table.fast_norm else "float32", _error(other, "bytes")]
        errors = [_error(timed, form) for form in FORMS]
        rows.append([name, str(fit.model.error.models), str(len(dropped)), *errors, *norms])
        print("|", " | ".join(rows[-1]), "|", flush=True)
    saved = {"kind": "latency-cards", "version": 1, "cards": cards}
    write_text(CARDS_FILE, json.dumps(saved, indent=1) + "\n")
    print("\n" + markdown(["card", "models", "dropped", *FORMS, "norms", "bytes, norms otherwise"], rows))
    print("\n" + markdown(["fit of", *(f"{n} models" for n in FEW)], _few(fits)))


def _setting_of(table: TimmTable) -> str:
    parts = [
        "-compiled" if table.setting["compile"] else "",
        "-channels-last" if table.setting["channels_last"] else "",
        "" if table.dtype == ("fp32" if table.device.is_cpu else "amp") else f"-{table.dtype.replace('_', '-')}",
    ]
    return "".join(parts)


def _plain_name(table: TimmTable) -> str:
    return table.device.key + _setting_of(table)


def _age(table: TimmTable) -> tuple[int, ...]:
    return tuple(map(int, table.torch.split(".")))


def _age_reversed(table: TimmTable) -> tuple[int, ...]:
    return tuple(-number for number in _age(table))


def _short(fit: Fit) -> dict[str, object]:
    """The fields of the fit, with four digits; of the residuals, those that make predictions warn."""
    model = fit.model
    values = asdict(model)
    values["coefficients"] = [float(f"{c:.5g}") for c in model.coefficients]
    for error in ("error", "family_error"):
        values[error] = {k: round(v, 4) if isinstance(v, float) else v for k, v in values[error].items()}
    values["residuals"] = {family: r for family, r in model.residuals.items() if r > LARGE_RESIDUAL}
    if not model.setting["compile"]:
        values["setting"] = {**values["setting"], "compile": None}
    values["batch_size"] = 1 if model.batch_sizes == (1, 1) else 64  # the defaults of bench
    return {name: value for name, value in values.items() if value is not None}


def _few(fits: dict[str, Fit]) -> list[list[str]]:
    """Errors for all models of a card, of fits to few of them."""
    rows = []
    for name in TARGETS:
        for start in (fits[KNOWN].model, None):
            cells = []
            for n in FEW:
                draws = [_error_of_few(fits[name], n, start, seed) for seed in range(DRAWS)] if start or n > 14 else []
                median, p90 = np.mean(draws, axis=0) if draws else (np.nan, np.nan)
                cells.append(f"{median:.1%} / {p90:.1%}" if draws else "–")
            rows.append([f"{name}, from {KNOWN}" if start else f"{name}, by itself", *cells])
    return rows


def _error_of_few(full: Fit, n: int, start: LatencyModel | None, seed: int) -> tuple[float, float]:
    names = sorted({row.label for row in full.rows})
    chosen = set(np.random.default_rng(seed).choice(names, n, replace=False))
    some = [row for row in full.rows if row.label in chosen]
    model = fit_times(some, full.model.setting, full.model.device_name, start=start).model
    unseen = [row for row in full.rows if row.label not in chosen]
    predicted = [model.predict(row.complexity, batch_size=row.batch_size) / row.milliseconds for row in unseen]
    median, p90 = np.quantile(np.abs(np.array(predicted) - 1), (0.5, 0.9))
    return float(median), float(p90)


def _error(timed: list, form: str) -> str:
    random, family = (cross_validate(timed, form, by_family) for by_family in (False, True))
    return f"{random.median:.1%} / {random.p90:.1%}, {family.median:.1%} / {family.p90:.1%}"


if __name__ == "__main__":
    main()
