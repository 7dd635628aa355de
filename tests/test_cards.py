"""The formula of bytes, fits to tables of timm, and the cards in the package."""

import csv
import json

import numpy as np
import pytest
import timm
import torch
from timm.layers import is_fast_norm, set_fast_norm

import timm_regnet_ds as trd
from timm_regnet_ds.cli import main
from timm_regnet_ds.complexity import Complexity
from timm_regnet_ds.latency import LatencyModel, card, cards
from timm_regnet_ds.latency.fitting import FAILED, Dropped, TimedModel, fit_times
from timm_regnet_ds.latency.forms import FORMS
from timm_regnet_ds.latency.report import write_fit_report
from timm_regnet_ds.latency.timm_results import read_timm_results, timed_models

# Milliseconds per multiply-add (dense, grouped), byte (products, others, weights), operator and call.
TRUE = (1e-11, 3e-11, 1.3e-9, 1.1e-9, 2e-9, 0.004, 0.3)
SETTING = {"mode": "inference", "dtype": "amp", "channels_last": False, "compile": None}


def timed(n=60, true=TRUE, noise=0.0, seed=0):
    chance = np.random.default_rng(seed)
    for i in range(n):
        flops, moved = int(10 ** chance.uniform(8, 10.5)), int(10 ** chance.uniform(7, 9))
        c = Complexity(
            flops,
            params=10**7,
            acts=10**7,
            bytes=moved,
            weight_bytes=int(10 ** chance.uniform(7, 9)),
            operators=int(chance.integers(50, 900)),
            product_bytes=int(moved * chance.uniform(0.1, 0.9)),
            grouped_flops=int(flops * chance.choice([0, 0, 0.3])),
            dtype="amp",
        )
        batch = int(chance.choice([1, 64, 256]))
        time = float(np.dot(true, FORMS["bytes"].values(c, batch))) * chance.lognormal(0, noise)
        yield TimedModel(f"model_{i}", f"family_{i % 12}", c, batch, time)


def test_a_fit_recovers_what_the_times_were_made_of():
    fit = fit_times(list(timed()), SETTING, "a card").model
    assert fit.coefficients == pytest.approx(TRUE, rel=1e-6)
    assert fit.error.worst < 1e-6
    assert fit.family_error.worst < 1e-6
    assert fit.family_error.by_family
    assert fit.batch_sizes == (1, 256)
    assert fit.spread is None


def test_a_few_wrong_times_do_not_change_the_fit():
    rows = list(timed(100))
    rows[:8] = [TimedModel(r.label, r.family, r.complexity, r.batch_size, 3 * r.milliseconds) for r in rows[:8]]
    fit = fit_times(rows, SETTING, "a card").model
    assert fit.coefficients == pytest.approx(TRUE, rel=0.02)


def test_few_models_start_from_a_known_card():
    known = fit_times(list(timed()), SETTING, "a card").model
    half = [2 * c for c in TRUE]
    unseen = list(timed(200, half, seed=9))
    few = list(timed(10, half, noise=0.1, seed=1))
    with pytest.raises(ValueError, match=r"at least 14 models; there are 10; a fit that starts from a known card"):
        fit_times(few, SETTING, "a slower card")
    fit = fit_times(few, SETTING, "a slower card", start=known).model
    assert fit.error.models == 10
    assert 0 < fit.spread < 0.3
    errors = [fit.predict(r.complexity, batch_size=r.batch_size) / r.milliseconds - 1 for r in unseen]
    assert np.median(np.abs(errors)) < 0.08


def test_a_card_of_another_form_is_no_start():
    of_cpu = fit_times(list(timed()), SETTING, "a processor", form="flops-acts").model
    with pytest.raises(ValueError, match="fitted by the form flops-acts, and these rows need bytes"):
        fit_times(list(timed()), SETTING, "a card", start=of_cpu)


def test_the_report_of_a_fit_escapes_names(tmp_path):
    dropped = [Dropped("a\n# Heading", FAILED, "<script>alert(1)</script>")]
    fit = fit_times(list(timed(16, noise=0.1)), SETTING, "a <b>card", dropped=dropped)
    text = write_fit_report(fit, tmp_path / "card.md")[0].read_text()
    assert "# Predicted time: a &lt;b>card, " in text
    assert text.endswith("\n- a # Heading: &lt;script>alert(1)&lt;/script>\n")


def test_a_fit_survives_its_file(tmp_path):
    fit = fit_times(list(timed(16, noise=0.1)), SETTING, "a card", torch="2.9.1").model
    assert LatencyModel.load(fit.save(tmp_path / "card.json")) == fit


def test_files_of_version_1_load(tmp_path):
    error = {"median": 0.1, "p90": 0.3, "worst": 0.5, "models": 60, "folds": 10}
    saved = {"kind": "latency-model", "version": 1, "coefficients": [2e-9, 1e-7, 3e-8, 0.01, 0.5], "batch_size": 8}
    saved |= {"device_name": "a device", "setting": {"mode": "inference", "dtype": "fp32"}, "error": error}
    path = tmp_path / "old.json"
    path.write_text(json.dumps(saved))
    c = trd.measure("resnet18")
    expected = 8 * (2e-9 * c.flops + 1e-7 * c.acts) + 3e-8 * c.params + 0.01 * c.operators + 0.5
    assert LatencyModel.load(path).predict(c) == pytest.approx(expected)


def test_the_number_format_of_a_complexity_is_checked():
    c = trd.measure("resnet18", dtype="amp")
    assert card("rtx4090").predict(c) == pytest.approx(card("rtx4090").predict("resnet18"))
    with pytest.raises(ValueError, match="counted in fp32 and NVIDIA GeForce RTX 4090 was measured in amp"):
        card("rtx4090").predict(trd.measure("resnet18"))


# The cards in the package


# Cards whose tables were run with timm's fast norms.
WITH_FAST_NORMS = ("rtx4090", "rtxpro6000")


@pytest.mark.parametrize(
    ("name", "model", "batch", "published"),
    [
        # infer_step_time in timm's tables, in milliseconds.
        ("rtx4090", "resnet50", 1024, 237.959),
        ("rtx4090", "regnety_040", 1024, 261.833),
        ("rtx4090", "convnext_tiny", 1024, 212.65),
        ("rtx4090", "resnet50_gn", 1024, 266.205),
        ("rtx5090", "resnet50_gn", 1024, 352.546),
        ("rtx5090-compiled", "vit_base_patch16_224", 1024, 233.832),
        ("rtx3090-channels-last", "efficientnet_b0", 1024, 124.241),
        ("rtxpro6000", "mobilenetv3_large_100", 2048, 103.478),
        ("i7-12700h-compiled", "resnet50", 1, 32.78),
    ],
)
def test_predictions_are_near_published_times(name, model, batch, published):
    known = card(name)
    set_fast_norm(name in WITH_FAST_NORMS)
    try:
        off = abs(known.predict(model, batch_size=batch, input_size=224) / published - 1)
    finally:
        set_fast_norm(False)
    assert off <= known.family_error.p90


def test_norms_in_float32_take_longer():
    known = card("rtx4090")
    default = known.predict("convnext_tiny", batch_size=64)
    set_fast_norm(True)
    try:
        assert known.predict("convnext_tiny", batch_size=64) < 0.9 * default
    finally:
        set_fast_norm(False)


def test_every_card_tells_its_errors_and_its_setting():
    assert {"rtx3090", "rtx4090", "rtx5090", "rtxpro6000", "rtx4090-compiled", "rtx4090-channels-last"} <= set(cards())
    for name, known in cards().items():
        assert 0 < known.error.median < 0.25, name
        assert known.error.median <= known.error.p90 <= known.error.worst
        assert known.family_error.models == known.error.models > 700
        assert ("compiled" in name) == (known.setting.get("compile") == "default")
        assert ("channels-last" in name) == known.setting["channels_last"]
        assert known.torch


def test_cards_of_bfloat16_differ_in_their_bytes():
    autocast, weights = cards()["rtxpro6000-compiled-amp-bf16"], cards()["rtxpro6000-compiled-bf16"]
    assert (autocast.dtype, weights.dtype) == ("amp_bf16", "bf16")
    assert autocast.device_name == weights.device_name
    in_bf16 = trd.measure("resnet18", dtype="bf16")
    assert weights.predict(in_bf16, batch_size=64) == pytest.approx(weights.predict("resnet18", batch_size=64))
    with pytest.raises(ValueError, match="was measured in amp_bf16"):
        autocast.predict(in_bf16, batch_size=64)


@pytest.mark.parametrize("name", ["NVIDIA GeForce RTX 4090", "nvidia geforce rtx 4090", "RTX 4090", "rtx4090"])
def test_a_card_is_found_by_its_name_as_torch_gives_it(name):
    assert card(name) is cards()["rtx4090"]


def test_the_card_of_this_machine_is_the_default(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA GeForce RTX 5090")
    assert card() is cards()["rtx5090"]
    s = trd.scale("regnetx_400mf", latency_ms=5.0)
    assert "RTX 5090" in str(s.latency)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H900")
    with pytest.raises(ValueError, match="no card for this machine's 'NVIDIA H900': pass one of rtx3090"):
        trd.scale("regnetx_400mf", latency_ms=5.0)


def test_families_that_the_fit_misses_warn():
    missed = {family for known in cards().values() for family in known.residuals}
    assert "sequencer" in missed
    name = next(n for n, known in cards().items() if "sequencer" in known.residuals)
    with pytest.warns(UserWarning, match="sequencer2d_s: the fit itself misses the measured models of sequencer by"):
        card(name).predict("sequencer2d_s", batch_size=64)


def test_scaling_to_milliseconds_on_a_card():
    s = trd.scale("regnety_400mf", latency_ms=2.0, on="rtx4090")
    assert 1.7 <= s.latency.milliseconds <= 2.0
    assert s.latency.milliseconds == pytest.approx(card("rtx4090").predict(s.create(), input_size=s.input_size))
    assert s.latency.batch_size == 64
    assert "NVIDIA GeForce RTX 4090" in str(s)
    assert "at the 90th percentile" in str(s)
    larger = trd.scale("regnety_400mf", latency_ms=6.0, on="rtx4090", batch_size=64)
    assert larger.complexity.flops > 2 * s.complexity.flops


def test_create_model_scales_to_milliseconds():
    how = {"base": "resnet18", "latency_ms": 8.0, "on": "rtx4090-compiled", "batch_size": 64}
    with torch.device("meta"):
        model = timm.create_model("scaled", **how, num_classes=10)
    assert (
        6.5
        <= card("rtx4090-compiled").predict(model, batch_size=64, input_size=model.pretrained_cfg["input_size"])
        <= 8
    )
    saved = json.loads(json.dumps(model._model_args))
    with torch.device("meta"):
        again = timm.create_model("scaled", **saved)
    assert trd.measure(again) == trd.measure(model)


def test_strategies_at_equal_time(capsys):
    assert main(["strategies", "regnetx_200mf", "--latency-ms", "3", "--on", "rtx4090"]) == 0
    title, device, error, _, header, *rows = capsys.readouterr().out.splitlines()
    assert title == "regnetx_200mf to 3 ms"
    assert "RTX 4090" in device
    assert "off by" in error
    assert header.split()[-1] == "ms"
    times = [float(row.split()[-1]) for row in rows if "×" in row]
    assert len(times) >= 6
    assert all(2.25 <= time <= 3 for time in times)
    assert all(len(row) <= 80 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["strategies", "resnet18"], "strategies needs a target: --to TARGET, or --latency-ms MS"),
        (["strategies", "resnet18", "--to", "4gf", "--on", "rtx409"], "unknown card 'rtx409'; did you mean 'rtx4090'"),
        (["strategies", "resnet18", "--to", "4gf", "--batch-size", "4"], "--batch-size goes with --on or --latency-ms"),
        (["latency", "predict", "h900", "resnet18"], "unknown card 'h900'"),
        (["latency", "predict", "no.json", "resnet18"], "no file no.json"),
        (["latency", "predict", "rtx4090", "resnet18", "--batch-size", "0"], "batch_size must be"),
        (["latency", "predict", "rtx4090", "resnet18", "--input-size", "0"], "input_size must be"),
        (["latency", "fit"], "needs rows of 'timm-regnet-ds bench', or --timm-results FILE"),
        (["latency", "fit", "--timm-results", "times.csv"], "times.csv is not named as timm's tables of inference are"),
        (["study", "rexnet", "--timm-results", "x.csv"], "--timm-results goes with the study runtime-proxy"),
        (["study", "runtime-proxy", "--counts", "x"], "--counts goes with --timm-results"),
    ],
)
def test_wrong_commands_exit_with_2(arguments, message, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert not printed.out


def test_the_list_of_cards_fits_a_terminal(capsys):
    assert main(["latency", "cards"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert [line.split()[0] for line in lines[2:]] == list(cards())


# Tables of timm

NAMES = (
    *("test_resnet", "test_byobnet", "test_efficientnet", "test_efficientnet_gn", "test_efficientnet_ln"),
    *("test_convnext", "test_convnext2", "test_convnext3", "resnet10t", "resnet18", "regnetx_002", "regnety_002"),
    *("mobilenetv2_050", "lcnet_035", "lcnet_050", "mobilenetv3_small_050", "ghostnet_050", "tinynet_e"),
    *("rexnet_100", "resnetv2_18"),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table in timm's form, of forty rows whose times follow the formula, and some that are to be dropped."""
    path = tmp_path_factory.mktemp("results") / "benchmark-infer-amp-nchw-pt291-cu128-4090.csv"
    columns = ("model", "infer_img_size", "infer_samples_per_sec", "infer_step_time", "infer_batch_size", "param_count")
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "infer_gmacs", "infer_macts"])
        for name in NAMES:
            for side, batch in ((96, 256), (128, 1024)):
                c = trd.measure(name, side, dtype="amp")
                time = float(np.dot(TRUE, FORMS["bytes"].values(c, batch)))
                writer.writerow([name, side, 1e3 * batch / time, time, f"{batch}.0", round(c.params / 1e6, 2), 0, 0])
        writer.writerow(["resnet34", 96, 1, 1, 256, 99.0, 0, 0])  # not the model of today
        writer.writerow(["resnet_of_yesterday", 96, 1, 1, 256, 1.0, 0, 0])
        writer.writerow(["resnet50", 96, "", "", "", 25.56, 0, 0])  # a run that failed
    return path


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_table_of_timm_is_fitted_and_drawn(table, tmp_path, capsys):
    counts, output = tmp_path / "counts.jsonl", tmp_path / "card.json"
    arguments = ["--timm-results", str(table), "--counts", str(counts)]
    assert main(["latency", "fit", *arguments, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert f"{len(NAMES)} models, each predicted by a fit without its family" in printed
    assert "dropped 3 rows" in printed
    assert "1 × the params are not those of the model today" in printed
    fit = LatencyModel.load(output)
    assert (fit.device_name, fit.torch, fit.dtype) == ("NVIDIA GeForce RTX 4090", "2.9.1", "amp")
    assert fit.error.median < 0.01
    report = (tmp_path / "card.md").read_text()
    assert "- resnet34: 99.0 M params in the table, 21.80 M today" in report
    assert "- resnet50: the run failed" in report
    assert "- resnet_of_yesterday: timm has no such model today" in report
    assert (tmp_path / "card.png").stat().st_size > 10_000
    before = counts.read_bytes()
    folder = tmp_path / "study"
    assert main(["study", "runtime-proxy", *arguments, "--output", str(folder)]) == 0
    assert counts.read_bytes() == before
    text = (folder / "README.md").read_text()
    row = next(
        line for line in text.splitlines() if line.startswith("| rtx4090, amp, eager, channels first, torch 2.9.1 |")
    )
    assert [cell.strip() for cell in row.split("|")][2:4] == [str(2 * len(NAMES)), "3"]
    with open(table, newline="") as file:
        drawn = [line for line in csv.DictReader(file) if line["model"] in NAMES]
    known = {
        (row["model"], row["side"]): row["counts"] for row in map(json.loads, before.splitlines()) if "counts" in row
    }
    points = []
    for line in drawn:
        c, batch = known[line["model"], int(line["infer_img_size"])], float(line["infer_batch_size"])
        points.append(
            (float(line["infer_step_time"]) / batch, c["flops"], c["acts"], c["bytes"] + c["weight_bytes"] / batch)
        )
    expected = np.corrcoef(np.log(points), rowvar=False)[0, 1:]
    assert [float(cell) for cell in row.split("|")[4:7]] == pytest.approx(expected, abs=6e-4)
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "families.csv", "summary.png", "amp-nchw-pt291-cu128-4090.png",
    }  # fmt: skip


@pytest.mark.parametrize(("slower", "fast"), [(1.16, True), (1.33, True), (1.53, False), (2.2, False)])
def test_fast_norms_of_a_table_are_told_by_its_times(slower, fast, tmp_path):
    """Whether GroupNorm ran in autocast's format: the bytes of its models are counted so."""
    path, counts = tmp_path / "benchmark-infer-amp-nchw-pt291-cu128-4090.csv", tmp_path / "counts.jsonl"
    c = trd.measure("efficientnet_b0_gn", 64)
    rows = [("resnet50", 10.0, 25.56), ("resnet50_gn", 10 * slower, 25.56), ("efficientnet_b0_gn", 5.0, c.params / 1e6)]
    lines = [f"{name},64,{ms},128,{params:.2f}" for name, ms, params in rows]
    path.write_text("\n".join(["model,infer_img_size,infer_step_time,infer_batch_size,param_count", *lines]))
    table = read_timm_results(path)
    assert table.fast_norm is fast
    timed, dropped = timed_models(table, counts)
    assert not dropped
    assert timed == timed_models(table, counts)[0]  # now from the file
    in_float32 = trd.measure("efficientnet_b0_gn", 64, dtype="amp").bytes
    assert timed[2].complexity.bytes < 0.5 * in_float32 if fast else timed[2].complexity.bytes == in_float32
    assert not is_fast_norm()


def test_a_table_that_lacks_a_column_is_refused(tmp_path, capsys):
    path = tmp_path / "benchmark-infer-amp-nchw-pt291-cu128-4090.csv"
    path.write_text("model,infer_step_time\nresnet18,1\n")
    assert main(["latency", "fit", "--timm-results", str(path)]) == 2
    assert "is not a table of timm's benchmark: it has no column infer_batch_size" in capsys.readouterr().err


def test_a_batch_that_was_not_measured_is_said(capsys):
    assert "unsure" not in card("rtx4090").expected_error(64)
    assert "; unsure, since batches of 4 to 1024 were measured" in card("rtx4090").expected_error(1)
    assert main(["latency", "predict", "rtx4090", "regnetx_200mf", "--batch-size", "1"]) == 0
    out = capsys.readouterr().out
    assert "unsure, since batches of 4" in out
    assert all(len(line) <= 80 for line in out.splitlines())
