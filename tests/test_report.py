"""The report: populations read from rows, their tables, and plots that show every model."""

import csv
import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from timm_regnet_ds.files.rows import RowsFile
from timm_regnet_ds.models import RegNetCfg
from timm_regnet_ds.populations.report import read_populations, report
from timm_regnet_ds.populations.report.plots import PLOTS
from timm_regnet_ds.populations.report.weighting import normalize
from timm_regnet_ds.populations.statistics import ks_test

STUDY = Path(__file__).parents[1] / "benchmarks" / "results" / "fashion-mnist"

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


def row(space, index, error, flops=380e6, properties=None, **changes):
    return {
        "space": space,
        "index": index,
        "seed": 0,
        "config": {},
        "flops": int(flops),
        "params": int(flops / 70),
        "acts": int(flops / 50),
        "error": error,
        "failure": None if error is not None else "diverged",
        "epochs": 10,
        "dataset": "fashion-mnist",
        "resolution": 32,
        "learning_rate": 0.05,
        "weight_decay": 5e-5,
        "seconds": 12.5,
        "properties": properties or {"depth": 3 + index % 7},
    } | changes


def write(path, rows, version=1):
    """Write rows in the format of RowsFile, but without waiting for the disk after each row."""
    head = {"kind": "population", "version": version}
    path.write_text("".join(json.dumps(head | one) + "\n" for one in rows))
    return path


def regnets(n, rng):
    """Rows of RegNets whose errors grow with the distance of their depth from 20 blocks."""
    rows = []
    while len(rows) < n:
        depth, w0, wa, wm = int(rng.integers(4, 40)), 8 * int(rng.integers(1, 20)), rng.uniform(1, 99), 2.2
        stages = RegNetCfg(depth, w0, wa, wm).stages()
        parameters = {"depth": depth, "w0": w0, "wa": wa, "widths": stages.widths, "depths": stages.depths}
        error = round(float(30 + abs(depth - 20) / 2 + rng.gamma(2, 1)), 2)
        rows.append(row("RegNetX", len(rows), error, rng.uniform(360e6, 400e6), parameters))
    return rows


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def two_spaces(tmp_path_factory):
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("rows")
    others = [row("Cells", i, float(rng.uniform(35, 45)), rng.uniform(360e6, 400e6)) for i in range(40)]
    failed = [row("Cells", 40, None), row("Cells", 41, None, failure="out of memory"), row("Cells", 42, None)]
    return [write(folder / "a.jsonl", regnets(60, rng)), write(folder / "b.jsonl", others + failed)]


@pytest.fixture(scope="module")
def written(two_spaces, tmp_path_factory):
    """The paths of a report of both spaces, with ε = 40%, in a directory that did not exist."""
    return report(two_spaces, tmp_path_factory.mktemp("reports") / "new" / "out", epsilon=40)


@pytest.fixture(scope="module")
def figures(two_spaces):
    populations = read_populations(two_spaces)
    normalizations = [normalize(populations, "flops")]
    return {name: figure for draw in PLOTS for name, figure in draw(populations, normalizations)}


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_written(written):
    names = [path.name for path in written]
    assert names[:3] == ["report.md", "spaces.csv", "ks.csv"]
    assert set(names[3:]) == {
        "edf.png",
        "complexity.png",
        "random_search.png",
        "scatter_RegNetX.png",
        "scatter_Cells.png",
        "structure_RegNetX.png",
    }
    assert sorted(written) == sorted(written[0].parent.iterdir())
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written[3:])
    page = written[0].read_text()
    assert all(f"]({name})" in page for name in names[3:])


def test_the_table_of_spaces(two_spaces, written):
    regnet, cells = read_csv(written[1])
    errors = np.array([r["error"] for r in RowsFile(two_spaces[0], "population", 1).read()])
    assert (regnet["space"], regnet["models"], regnet["failed"]) == ("RegNetX", "60", "0")
    assert (cells["space"], cells["models"], cells["failed"]) == ("Cells", "40", "3")
    expected = {
        "min error (%)": errors.min(),
        "mean error (%)": errors.mean(),
        "median error (%)": np.median(errors),
        "area to 40%": 1 - np.minimum(1, errors / 40).mean(),
    }
    assert {name: float(regnet[name]) for name in expected} == pytest.approx(expected)
    assert 360 <= float(regnet["least flops (MF)"]) < float(regnet["largest flops (MF)"]) <= 400
    page = written[0].read_text()
    assert "- 2 of Cells failed: diverged\n- 1 of Cells failed: out of memory\n" in page
    assert f"| RegNetX | 60 | 0 | {errors.min():.4g} | {errors.mean():.4g} |" in page


def test_the_table_of_pairs(two_spaces, written):
    (pair,) = read_csv(written[2])
    populations = read_populations(two_spaces)
    plain = ks_test(*(p.errors for p in populations))
    weights = normalize(populations, "flops").weights
    given = ks_test(*(p.errors for p in populations), *(weights[p.space] for p in populations))
    found = {name: float(pair[name]) for name in ("D", "p", "D given flops", "p given flops")}
    expected = (plain.statistic, plain.pvalue, given.statistic, given.pvalue)
    assert found == pytest.approx(dict(zip(found, expected, strict=True)))


def test_every_panel_says_what_it_shows_and_in_which_unit(figures):
    for name, figure in figures.items():
        figure.draw_without_rendering()
        for axis in figure.axes:
            assert axis.get_xlabel(), name
            assert axis.get_title(), name
            assert axis.has_data(), name
        assert figure.axes[0].get_ylabel(), name
    assert [axis.get_xlabel() for axis in figures["complexity"].axes] == ["flops (MF)", "params (M)", "acts (M)"]
    assert {axis.get_xlabel() for axis in figures["edf"].axes} == {"top-1 error (%)"}
    legend = [text.get_text() for text in figures["random_search"].axes[0].get_legend().get_texts()]
    assert legend == ["RegNetX (n=60)", "Cells (n=40)"]


def test_scatters_show_every_property_that_varies(two_spaces, figures):
    axes = {axis.get_xlabel(): axis for axis in figures["scatter_RegNetX"].axes}
    assert {"flops (MF)", "depth", "w0", "wa", "e_fit", "w1", "d1"} <= set(axes)
    (points,) = axes["depth"].collections
    population = read_populations(two_spaces)[0]
    expected = np.column_stack((population.properties["depth"], population.errors))
    np.testing.assert_array_equal(np.asarray(points.get_offsets()), expected)
    # The best depth is 20 by construction; the line marks its estimate.
    assert 15 <= axes["depth"].lines[0].get_xdata()[0] <= 25


def test_structures_show_the_best_and_the_worst(two_spaces, figures):
    figure = figures["structure_RegNetX"]
    errors = np.sort(read_populations(two_spaces)[0].errors)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[0] == "the 20 best"
    assert titles[4] == "the 20 worst"
    assert titles[1].startswith(f"error {errors[0]:.1f}%")
    assert titles[5].startswith(f"error {errors[-1]:.1f}%")


def test_properties_by_stage_and_their_fit(tmp_path):
    staged = row("AnyNetX", 0, 30.0, properties={"bottle_ratio": 0.5, "widths": [16, 32], "depths": [1, 4]})
    (population,) = read_populations([write(tmp_path / "a.jsonl", [staged, row("AnyNetX", 1, 31.0)])])
    found = population.properties
    assert {name: found[name][0] for name in ("bottle_ratio", "w1", "w2", "d1", "d2", "flops")} == {
        "bottle_ratio": 0.5,
        "w1": 16,
        "w2": 32,
        "d1": 1,
        "d2": 4,
        "flops": 380,
    }
    assert found["e_fit"][0] == population.linear_fits[0].error
    assert math.isnan(found["w1"][1])
    assert found["depth"][1] == 4


def test_one_model_alone_has_a_report(tmp_path):
    paths = report(write(tmp_path / "a.jsonl", [row("Cells", 0, 30.0)]), tmp_path / "out")
    assert {path.name for path in paths} == {
        "report.md",
        "spaces.csv",
        "edf.png",
        "complexity.png",
        "random_search.png",
    }
    assert "Not normalized by flops: the populations share no range" in paths[0].read_text()


def test_a_space_of_which_every_model_failed_is_in_the_table_alone(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(importlib.import_module("timm_regnet_ds.populations.report.report"), "PLOTS", PLOTS[:2])
    rows = [*regnets(10, rng), row("Cells", 0, None)]
    report(write(tmp_path / "a.jsonl", rows), tmp_path / "out")
    _, cells = read_csv(tmp_path / "out" / "spaces.csv")
    assert (cells["models"], cells["failed"], cells["mean error (%)"]) == ("0", "1", "")
    assert "| Cells | 0 | 1 | – |" in (tmp_path / "out" / "report.md").read_text()


def test_rows_of_the_first_published_version_are_read():
    populations = read_populations([STUDY / "rows.jsonl"])
    names = ["anynetx_a", "anynetx_e", "regnetx", "resnext_a", "resnext_b"]
    assert sorted((p.space, len(p), p.failures.total()) for p in populations) == [(name, 32, 0) for name in names]
    means = {row["space"]: float(row["mean error (%)"]) for row in read_csv(STUDY / "report" / "spaces.csv")}
    assert {p.space: p.errors.mean() for p in populations} == pytest.approx(means)


def test_a_setting_that_a_row_lacks_had_its_default(tmp_path):
    older, newer = row("A", 0, 30.0), row("B", 0, 31.0, batch_size=128, optimizer="sgd")
    assert "batch_size" not in older
    assert len(read_populations([write(tmp_path / "a.jsonl", [older, newer])])) == 2


def test_names_that_are_no_file_names(tmp_path):
    rows = [row(space, i, 30.0 + i) for space in ("a/b", "a b", "a|b") for i in range(3)]
    paths = report(write(tmp_path / "a.jsonl", rows), tmp_path / "out")
    assert {"scatter_a%2Fb.png", "scatter_a%20b.png", "scatter_a%7Cb.png"} <= {path.name for path in paths}
    page = (tmp_path / "out" / "report.md").read_text()
    assert "(scatter_a%252Fb.png)" in page
    assert "| a\\|b | 3 |" in page


def test_normalization_takes_fewer_bins_where_models_are_few(tmp_path, rng):
    def populations(n):
        rows = [row(space, i, 30.0, rng.uniform(1e8, 2e8)) for space in ("a", "b") for i in range(n)]
        return read_populations([write(tmp_path / f"{n}.jsonl", rows)])

    assert normalize(populations(400), "flops").bins == 10
    few = normalize(populations(8), "flops")
    assert 2 <= few.bins < 8
    for p in populations(8):
        assert few.weights[p.space].shape == (8,)


def test_a_report_leaves_no_half_written_file(tmp_path, monkeypatch):
    """The disk is full while a report replaces an older one."""
    rows, out = write(tmp_path / "a.jsonl", [row("Cells", 0, 30.0)]), tmp_path / "out"
    report(rows, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    write_text = Path.write_text

    def full(path, content, **options):
        write_text(path, content[:100], **options)
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space left"):
        report(rows, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_25000_rows_keep_their_distributions(tmp_path):
    """Errors normal around 30 and 31, σ = 2: the table's figures within 5 standard errors, D its closed form."""
    rng, n = np.random.default_rng(2), 12_500
    rows = [
        row(space, i, error, flops, {"depth": depth})
        for space, mean in (("A", 30), ("B", 31))
        for i, (error, flops, depth) in enumerate(
            zip(
                rng.normal(mean, 2, n).tolist(),
                rng.uniform(360e6, 400e6, n),
                rng.integers(1, 40, n).tolist(),
                strict=True,
            )
        )
    ]
    report(write(tmp_path / "a.jsonl", rows), tmp_path / "out", epsilon=50)
    for found, mean in zip(read_csv(tmp_path / "out" / "spaces.csv"), (30, 31), strict=True):
        assert found["models"] == str(n)
        assert float(found["mean error (%)"]) == pytest.approx(mean, abs=5 * 2 / math.sqrt(n))
        assert float(found["median error (%)"]) == pytest.approx(mean, abs=5 * 2 * math.sqrt(math.pi / 2 / n))
        assert float(found["area to 50%"]) == pytest.approx(1 - mean / 50, abs=5 * 2 / math.sqrt(n) / 50)
    # sup |Φ((x−30)/2) − Φ((x−31)/2)| = 2Φ(1/4) − 1 = erf(1/(4√2)); each EDF is within the DKW band of its own.
    (pair,) = read_csv(tmp_path / "out" / "ks.csv")
    band = 2 * math.sqrt(math.log(2 / 1e-6) / (2 * n))
    for name in ("D", "D given flops"):
        assert float(pair[name]) == pytest.approx(math.erf(1 / (4 * math.sqrt(2))), abs=band)


# Bad input


def test_rows_of_two_versions_are_refused(tmp_path):
    files = [
        write(tmp_path / "1.jsonl", [row("A", 0, 30.0)]),
        write(tmp_path / "2.jsonl", [row("A", 1, 30.0)], version=2),
    ]
    with pytest.raises(ValueError, match=r"2\.jsonl, line 1 is not a population of version 1"):
        report(files, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows of a population in .*a.jsonl"),
        ([row("A", 0, None), row("B", 0, None)], "none of the 2 models has an error: all failed"),
        ([row("A", 0, float("nan"))], r"a\.jsonl, line 1 is not valid JSON: NaN is not a number of JSON"),
        ([row("A", 0, 0.3), row("A", 1, 130.0)], "model 1 of A .* at least 0 and at most 100, not 130.0"),
        ([row("A", 3, 30.0), row("A", 3, 30.0)], r"model 3 of A \(seed 0\) is already in .*a.jsonl"),
        (
            [row("A", 0, 30.0), row("A", 1, 30.0, epochs=20)],
            "under the same training, not with epochs 10 in .* and 20 in",
        ),
        ([row("A", 0, 30.0), row("A", 1, 30.0, resolution=64)], "not with resolution 32 in .* and 64 in"),
        ([row("A", 0, 30.0), row("A", 1, 30.0, batch_size=64)], "not with batch_size 128 in .* and 64 in"),
        (
            [row("A", 0, 30.0), row("B", 0, 30.0, dataset="digits")],
            "not with dataset .* in .* and digits in .*model 0 of B",
        ),
        ([{"space": "A", "index": 0}], "lacks seed, flops, params, acts, error"),
    ],
)
def test_bad_rows_are_named(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        report([write(tmp_path / "a.jsonl", rows)], tmp_path / "out")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        report(tmp_path / "none.jsonl", tmp_path / "out")
    with pytest.raises(ValueError, match="no rows of a population in no file"):
        report([], tmp_path / "out")


def test_an_epsilon_that_is_no_error(two_spaces, tmp_path):
    with pytest.raises(ValueError, match="epsilon must be a finite number above 0, not 0"):
        report(two_spaces, tmp_path / "out", epsilon=0)
