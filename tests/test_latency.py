"""Prediction of time: fitted to rows, checked on models that the fit has not seen."""

import json

import numpy as np
import pytest
from bench_models import result

import timm_regnet_ds as trd
from timm_regnet_ds.bench import LatencyModel
from timm_regnet_ds.cli import main

# Milliseconds per multiply-add, act, param, operator and call.
TRUE = (2e-9, 1e-7, 3e-8, 0.01, 0.5)


def rows(n=60, noise=0.0, **setting):
    chance = np.random.default_rng(0)
    for i in range(n):
        flops, acts, params = (int(10 ** chance.uniform(low, low + 2)) for low in (8, 6, 6))
        operators, batch = int(chance.integers(50, 500)), int(chance.choice([1, 8]))
        terms = (batch * flops, batch * acts, params, operators, 1)
        time = float(np.dot(TRUE, terms)) * chance.lognormal(0, noise)
        yield result(f"model_{i}", (flops, params, acts), time, operators=operators, batch_size=batch, **setting)


def test_a_fit_recovers_what_the_times_were_made_of():
    fit = LatencyModel.fit(rows())
    assert fit.coefficients == pytest.approx(TRUE, rel=1e-6)
    assert fit.error.worst < 1e-6
    assert fit.error.models == 60


def test_the_error_is_that_of_models_not_seen():
    assert 0.07 < LatencyModel.fit(rows(noise=0.15)).error.median < 0.2


def test_no_coefficient_is_negative():
    assert all(c >= 0 for c in LatencyModel.fit(rows(noise=0.8)).coefficients)


def test_predictions_are_of_any_model():
    fit = LatencyModel.fit(rows())
    c = trd.measure("resnet18")
    expected = np.dot(TRUE, (8 * c.flops, 8 * c.acts, c.params, c.operators, 1))
    assert fit.predict("resnet18", batch_size=8) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="pass batch_size"):
        fit.predict("resnet18")


def test_a_fit_survives_its_file(tmp_path):
    fit = LatencyModel.fit(rows())
    assert LatencyModel.load(fit.save(tmp_path / "card.json")) == fit


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"kind": "latency-model", "version": 9}'])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "card.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"card\.json is not a latency-model of version 1 or 2"):
        LatencyModel.load(path)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"dtype": "bf16"}, "these rows have dtype fp32 and bf16"),
        ({"mode": "train"}, "these rows have mode inference and train"),
        ({"device_name": "another"}, "these rows are of a device, another"),
    ],
)
def test_a_fit_is_of_one_device_in_one_setting(others, message):
    with pytest.raises(ValueError, match=message):
        LatencyModel.fit([*rows(20), *rows(20, **others)])


def test_too_few_models_are_refused():
    with pytest.raises(ValueError, match="at least 10 models; there are 9"):
        LatencyModel.fit(rows(9))


# Scaling within a budget of time


class Acts:
    """Predicts a millisecond for each million acts."""

    def predict(self, complexity):
        return complexity.acts / 1e6


@pytest.mark.parametrize(("strategy", "budget"), [("dWr", 10.0), ("dWr", 5.0), ("d", 5.0), ("w", 5.0), ("r", 5.0)])
def test_scaling_keeps_within_the_budget(strategy, budget):
    model = trd.scale("regnetx_400mf", latency_ms=budget, on=Acts(), strategy=strategy)
    assert 0.85 * budget <= model.complexity.acts / 1e6 <= budget


@pytest.mark.parametrize("budget", [3.613, 5.783, 7.2])
def test_a_budget_is_kept_where_the_search_comes_near_from_above(budget):
    class Flops:
        def predict(self, complexity):
            return complexity.flops / 1e9

    model = trd.scale("regnetz_500mf", latency_ms=budget, on=Flops())
    assert 0.93 * budget <= model.complexity.flops / 1e9 <= budget


def test_scaling_beyond_a_budget_is_an_error():
    with pytest.raises(ValueError, match=r"regnetx_400mf by w reaches no less than .* ms, not 0.1 ms"):
        trd.scale("regnetx_400mf", latency_ms=0.1, on=Acts(), strategy="w")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on": Acts()}, "on goes with latency_ms, and there is none"),
        ({"batch_size": 8}, "batch_size goes with latency_ms, and there is none"),
        ({"latency_ms": 5, "on": "rtx409"}, "unknown card 'rtx409'; did you mean 'rtx4090'"),
        ({"latency_ms": 5, "on": "rtx4090", "batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"latency_ms": 5, "on": Acts(), "to": "4gf"}, "one target is needed, not two"),
        ({"latency_ms": 5, "on": Acts(), "factor": 4}, "exclude each other"),
        ({"latency_ms": -5, "on": Acts()}, "latency_ms must be a finite number above 0"),
    ],
)
def test_wrong_budgets_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        trd.scale("regnetx_400mf", **arguments)


def test_the_commands_fit_predict_and_scale(tmp_path, capsys):
    path, fit = tmp_path / "rows.jsonl", str(tmp_path / "card.json")
    with open(path, "w") as file:
        for row in rows(30):
            file.write(json.dumps({"kind": "measurement", "version": 2, **row.to_row()}) + "\n")
    assert main(["latency", "fit", str(path), "--output", fit]) == 0
    assert "30 models, each predicted by a fit without it (10 folds)" in capsys.readouterr().out
    assert main(["latency", "predict", fit, "resnet18", "regnetx_200mf", "--batch-size", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "batch 1 off by" in " ".join(" ".join(lines).split())
    predicted = [line.split() for line in lines if line.startswith(("resnet18 ", "regnetx_200mf "))]
    assert float(predicted[0][1]) == pytest.approx(LatencyModel.load(fit).predict("resnet18", batch_size=1), rel=1e-3)
    assert main(["latency", "predict", fit, "resnet1"]) == 2
