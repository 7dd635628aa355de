"""Studies: measured here at small sizes, and drawn from rows whose times are known."""

import json

import pytest
from bench_models import result
from timm.models import create_model

import timm_regnet_ds as trd
from timm_regnet_ds.bench.runner import read_results
from timm_regnet_ds.bench.studies import STUDIES, run_study
from timm_regnet_ds.bench.studies.paper_points import draw_paper_points
from timm_regnet_ds.bench.studies.runtime_proxy import BASES, FACTORS, STRATEGIES
from timm_regnet_ds.cli import main
from timm_regnet_ds.common.plots import new_figure
from timm_regnet_ds.papers.times import BUILT_FROM, INFERENCE_V100, REXNET, REXNET_LITE, TRAINING_V100

BASE = {"efficientnet_b0": (0.39, 5.3, 6.7), "regnety_500mf": (0.5, 5.6, 4.2), "regnetz_500mf": (0.5, 7.1, 5.9)}

pytestmark = pytest.mark.usefixtures("one_worker")


def write(path, results):
    path.write_text("".join(json.dumps({"kind": "measurement", "version": 2, **r.to_row()}) + "\n" for r in results))
    return path


def scaled(time, **setting):
    """Rows of all scaled bases, whose milliseconds are ``time`` of flops, params and acts."""
    for base in BASES:
        for strategy in STRATEGIES:
            for factor in FACTORS:
                g = trd.resolve_strategy(strategy).growth(factor)
                flops, params, acts = (x * by for x, by in zip(BASE[base], (g.flops, g.params, g.acts), strict=True))
                tags = {"base": base, "strategy": strategy, "factor": factor}
                counts = (int(flops * 1e9), int(params * 1e6), int(acts * 1e6))
                args = {"base": base, "factor": factor, "strategy": strategy}
                yield result("scaled", counts, time(flops, params, acts), args, tags, mode="train", **setting)


def cells(text, first):
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(
    ("time", "verdict"),
    [(lambda f, p, a: 0.1 + a, "holds"), (lambda f, p, a: 0.1 + f, "does not hold")],
    ids=["acts", "flops"],
)
def test_runtime_proxy_says_whether_acts_predict_time(time, verdict, tmp_path):
    rows = write(tmp_path / "rows.jsonl", scaled(time))
    readme, *pictures = run_study(STUDIES["runtime-proxy"], tmp_path / "study", rows=[rows])
    text = readme.read_text()
    for base in BASES:
        _, models, flops, _, acts, said = cells(text, base)
        assert models == str(len(STRATEGIES) * len(FACTORS))
        assert said == verdict
        assert float((acts if verdict == "holds" else flops).split()[0]) > 0.999
    assert [picture.name for picture in pictures] == [f"{base}.png" for base in BASES] + ["all_bases.png"]
    assert all(f"]({picture.name})" in text and picture.stat().st_size > 5000 for picture in pictures)


@pytest.mark.parametrize(("milliseconds", "drawn"), [(0.3, True), (2.0, True), (200.0, False), (0.001, False)])
def test_points_of_the_paper_are_drawn_where_they_share_the_axis(milliseconds, drawn):
    axes = new_figure()[1][0, 0]
    axes.plot([0, 1], [0, milliseconds])
    axes.set_ylim(bottom=0)
    times = {"regnety_002": 0.5, "no_such_model": 1000.0}
    assert draw_paper_points(axes, times, "acts", "in the paper") == drawn
    assert len(axes.lines) == 1 + drawn


def test_scaling_puts_times_beside_those_of_fast_scaling(tmp_path):
    results = []
    for way, by in (("strategy dWr", 1.0), ("strategy dwr", 1.5), ("α = 0.33", 1.5)):
        for factor in (1, 2, 4):
            tags = {"base": "regnetz_500mf", "way": way, "factor": factor}
            counts = (factor * 500_000_000, 7_000_000, factor * 6_000_000)
            results.append(result("scaled", counts, by * factor, {"way": way, "to": factor}, tags, mode="train"))
    readme, picture = run_study(STUDIES["scaling"], tmp_path, rows=[write(tmp_path / "r.jsonl", results)])
    assert cells(readme.read_text(), "strategy dwr") == ["strategy dwr", "1.5 (1.50×)", "3 (1.50×)", "6 (1.50×)"]
    assert picture.name == "regnetz_500mf.png"


def test_baselines_put_the_ratios_beside_the_papers(tmp_path):
    results = []
    for name, printed in INFERENCE_V100.items():
        c = trd.measure(name) if name in ("regnetx_8gf", "regnety_8gf", "efficientnet_b5") else None
        counts = (c.flops, c.params, c.acts) if c else (10**9, 10**7, 10**7)
        results += [
            result(name, counts, 64 * printed, tags={"model": name, "mode": mode}, mode=mode, batch_size=64)
            for mode in ("inference", "train")
        ]
    readme, *pictures = run_study(STUDIES["baselines"], tmp_path, rows=[write(tmp_path / "r.jsonl", results)])
    ratio = cells(readme.read_text(), "efficientnet_b5 / regnetx_8gf")
    assert ratio[3:] == ["5.36", "5.36"]
    assert [picture.name for picture in pictures] == ["inference.png", "train.png"]


def test_rexnet_puts_times_beside_the_papers(tmp_path):
    results = []
    for place, batch in (("cpu", 1), ("cuda", 64)):
        for name, printed in {**REXNET, **REXNET_LITE}.items():
            tags = {"model": name, "place": place, "dtype": "fp32"}
            time = printed.cpu if place == "cpu" else printed.gpu
            results.append(result(name, (10**9, 10**7, 10**7), time, tags=tags, batch_size=batch))
    readme, *pictures = run_study(STUDIES["rexnet"], tmp_path, rows=[write(tmp_path / "r.jsonl", results)])
    assert cells(readme.read_text(), "rexnet_lite_200")[4:] == ["49", "48.51 to 49.49", "49"]
    assert [picture.name for picture in pictures] == ["cpu_fp32.png", "cuda_fp32.png"]


def test_printed_times_are_of_models_that_there_are():
    for name in {**TRAINING_V100, **INFERENCE_V100, **REXNET, **REXNET_LITE}.keys() - BUILT_FROM.keys():
        assert trd.measure(name).flops > 0
    # EfficientNet-B5 takes 504 ms for 64 images, RegNetX-8GF 94: "about 5 times faster".
    assert INFERENCE_V100["efficientnet_b5"] / INFERENCE_V100["regnetx_8gf"] == pytest.approx(504 / 94)


def test_resnext_152_is_the_papers():
    """Designing Network Design Spaces, Table 3: 11.7 B flops, 60.0 M params, 29.7 M acts."""
    job = next(job for job in STUDIES["baselines"].jobs({}) if job.tags["model"] == "resnext152_32x4d")
    c = trd.measure(create_model(job.model, **job.model_args), 224)
    assert (round(c.flops / 1e9, 1), round(c.params / 1e6, 1), round(c.acts / 1e6, 1)) == (11.7, 60.0, 29.7)
    assert job.setting.input_size == 224


@pytest.mark.parametrize(
    ("name", "only", "up_to"),
    [
        ("runtime-proxy", "*regnetz_500mf, factor=0.*strategy=w)", "12mf"),
        ("scaling", "*regnetz_500mf, factor=0.5, strategy=?)", "12mf"),
        ("baselines", "regnetx_200mf", "9mf"),
        ("rexnet", "rexnet_*[01][09]0", "12mf"),
    ],
)
def test_studies_measure_what_they_draw(name, only, up_to, tmp_path, capsys):
    settings = ["--device", "cpu", "--threads", "1", "--seconds", "0.1", "--precision", "50%"]
    settings += ["--input-size", "32", "--batch-size", "2"]
    arguments = ["study", name, "--output", str(tmp_path), "--only", only, "--up-to", up_to, *settings]
    assert main(arguments) == 0
    assert f"wrote {tmp_path / 'README.md'}" in capsys.readouterr().out
    results = read_results([tmp_path / "rows.jsonl"])
    assert results
    assert all(r.measurement for r in results)
    before = (tmp_path / "rows.jsonl").read_bytes()
    assert main(arguments) == 0
    assert (tmp_path / "rows.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runtime"], "unknown study 'runtime'; did you mean 'runtime-proxy'"),
        (["rexnet", "--up-to", "1mf"], "study rexnet has no model that matches '*' and has at most 1mf"),
        (["rexnet", "--up-to", "small"], "target 'small' is not a number followed by one of"),
        (["rexnet", "--rows", "no.jsonl"], "no file"),
        (["rexnet", "--rows", "no.jsonl", "--up-to", "1gf"], "--rows only plots existing measurements"),
        (["rexnet", "--rows", "no.jsonl", "--deadline", "9"], "--rows only plots existing measurements"),
        (["rexnet", "--device", "cuda:9"], "no device 'cuda:9'"),
    ],
)
def test_wrong_commands_exit_with_2(arguments, message, capsys, tmp_path):
    assert main(["study", *arguments, "--output", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", list(STUDIES))
def test_rows_without_what_a_study_needs_are_refused(name, tmp_path):
    rows = write(tmp_path / "rows.jsonl", [result("resnet18", (1, 1, 1), 1)])
    with pytest.raises(ValueError, match=f"{name} needs"):
        run_study(STUDIES[name], tmp_path, rows=[rows])


@pytest.mark.parametrize("given", [{"up_to": "1gf"}, {"only": "a*"}, {"settings": {"seconds": 1}}, {"deadline": 9.0}])
def test_nothing_that_chooses_measurements_goes_with_rows(given, tmp_path):
    with pytest.raises(ValueError, match=f"nothing is measured: leave {next(iter(given))} out"):
        run_study(STUDIES["rexnet"], tmp_path, rows=[tmp_path / "rows.jsonl"], **given)


def test_a_study_is_of_one_device(tmp_path):
    rows = [*scaled(lambda f, p, a: a), *scaled(lambda f, p, a: a, device_name="another")]
    with pytest.raises(ValueError, match="a study is of one cpu device, and these rows are of a device, another"):
        run_study(STUDIES["runtime-proxy"], tmp_path, rows=[write(tmp_path / "r.jsonl", rows)])
