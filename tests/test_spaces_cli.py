"""The commands about design spaces."""

import json

import pytest

from timm_regnet_ds.cli import main
from timm_regnet_ds.populations.rows import population_file
from timm_regnet_ds.spaces import SPACES, get_space


def test_spaces_are_listed_with_their_counts(capsys):
    assert main(["space", "list"]) == 0
    _, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert [row[0] for row in rows] == list(SPACES)
    assert dict(rows)["anynetx_c"] == f"{get_space('anynetx_c').count():,}"


def test_a_sample_is_within_its_limits_and_comes_back(capsys):
    assert (
        main(["space", "sample", "regnetx", "-n", "20", "--flops", "360mf", "400mf", "--acts", "-", "5ma", "--json"])
        == 0
    )
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 20
    assert all(360e6 <= row["flops"] <= 400e6 and row["acts"] <= 5e6 for row in rows)
    assert main(["space", "contains", "regnetx", json.dumps(rows[0])]) == 0
    assert capsys.readouterr().out == "yes\n"
    assert main(["space", "contains", "regnetx", json.dumps(rows[0]["config"] | {"wm": 3.5})]) == 1
    assert capsys.readouterr().out.startswith("no: wm ")


def test_a_sample_is_a_table(capsys):
    assert main(["space", "sample", "darts", "-n", "2", "--seed", "3"]) == 0
    header, *lines, last = capsys.readouterr().out.splitlines()
    assert header.split() == ["flops", "(M)", "params", "(M)", "acts", "(M)"]
    assert sum(line.startswith("    normal=") for line in lines) == 2
    assert max(map(len, lines)) <= 80
    assert last == "2 of 2 drawn"


def test_recover_finds_regnety_500mf(capsys):
    assert main(["space", "recover", "RegNetY-500MF"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[3].split()[:2] == ["17", "32"]
    assert "8.2–8.29" in out.splitlines()[3]
    assert all(len(line) <= 80 for line in out.splitlines())


def test_a_sweep_fills_its_rows_and_a_report_draws_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "spaces: [resnext_a]\nmodels: 3\nparams: [10kp, 60kp]\ndataset: digits\nresolution: 8\nepochs: 1\n"
        "output: rows.jsonl\n"
    )
    assert main(["sweep", str(plan)]) == 0
    assert "3 models in" in capsys.readouterr().out
    assert len(population_file(tmp_path / "rows.jsonl").read()) == 3
    assert main(["space", "report", str(tmp_path / "rows.jsonl"), "--output", str(tmp_path / "report")]) == 0
    assert (tmp_path / "report" / "edf.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["space", "sample", "regnet"], "unknown space 'regnet'; did you mean 'regnet"),
        (["space", "sample", "regnetx", "--flops", "1mf", "2mf"], "no configuration of regnetx among"),
        (["space", "sample", "regnetx", "--flops", "2mp", "3mp"], "flops takes a number or one such as '400mf'"),
        (["space", "sample", "regnetx", "--flops", "400mf", "300mf"], "is above the high bound"),
        (["space", "contains", "regnetx", "{"], "JSON is not a configuration"),
        (["space", "contains", "regnetx", '{"depht": 3}'], "a configuration of regnetx has no depht"),
        (["space", "contains", "regnetx", '{"depth": 3}'], "a configuration of regnetx needs w0, wa, wm"),
        (["space", "recover", "RegNetY"], "unknown network 'RegNetY'"),
        (["space", "report", "no.jsonl"], "no file"),
        (["sweep", "no.yaml"], "no file"),
    ],
)
def test_wrong_input_exits_with_2(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
