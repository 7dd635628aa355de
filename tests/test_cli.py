"""The command line: tables at 80 columns, json, one line and exit code 2 for wrong input."""

import argparse
import json
import os
import runpy
import shlex
import subprocess
import sys
from importlib.metadata import version
from multiprocessing import get_context

import pytest
import timm
from timm.utils import ParseKwargs

import timm_regnet_ds as trd
from timm_regnet_ds.cli import main
from timm_regnet_ds.files.rows import RowsFile


def test_models_lists_ours_with_their_complexity(capsys):
    assert main(["models", "regnetz_4gf*"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["model", "input", "flops", "(G)", "params", "(M)", "acts", "(M)"]
    assert [row.split() for row in rows] == [
        ["regnetz_4gf", "256×256", "4.050", "28.119", "24.256"],
        ["regnetz_4gf_dWr_16gf", "272×272", "15.909", "95.319", "51.259"],
    ]
    assert all(len(line) <= 80 for line in [header, *rows])


def test_printed_values_follow_the_measured_ones(capsys):
    assert main(["models", "--printed", "regnety_32gf"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.endswith("printed")
    assert row.split() == ["regnety_32gf", "224×224", "32.280", "145.047", "30.262", "32.3/145.0/30.3"]
    assert len(row) <= 80


def test_measure_takes_any_model_of_timm(capsys):
    assert main(["measure", "resnet18", "regnetx_200mf", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["model"] for row in rows] == ["resnet18", "regnetx_200mf"]
    c = trd.measure("resnet18")
    assert (rows[0]["flops"], rows[0]["params"], rows[0]["acts"]) == (c.flops, c.params, c.acts)
    assert rows[0]["input_size"] == [3, 224, 224]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["measure", "regnetz_500mg"], "'regnetz_500mf'"),
        (["measure", "resnet18", "no_such_model_at_all"], "no_such_model_at_all"),
        (["models", "nothing*"], "no model of this project matches 'nothing*'"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("timm-regnet-ds: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["model"], ["measure"], ["models", "--jsn"]])
def test_a_wrong_call_is_one_line_too(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("timm-regnet-ds")
    assert "--help" in error
    assert error.count("\n") == 1


COMMAND = os.path.join(os.path.dirname(sys.executable), "timm-regnet-ds")


def test_a_reader_that_stops_early_is_no_error():
    done = subprocess.run(
        f"'{COMMAND}' models 'regnetx*' | head -1", shell=True, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("model")
    assert "timm-regnet-ds:" not in done.stderr


def test_the_installed_command_prints_no_traceback(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [COMMAND, "measure", "resnet18x"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(COMMAND, run_name="__main__")
    assert stopped.value.code == 2
    assert "resnet18" in capsys.readouterr().err


def test_every_model_fits_the_table():
    assert max(map(len, trd.list_models())) <= 25


@pytest.mark.parametrize(
    "arguments",
    [
        ["channelnet", "--factor", "2"],
        ["vit_tiny_patch16_224.augreg_in21k_ft_in1k", "--to", "2gf", "--strategy", "dwr"],
        ["resnet18", "--factor", "2", "--alpha", "0.4"],
    ],
)
def test_scale_ends_with_what_builds_its_result(arguments, capsys):
    assert main(["scale", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    python, train = lines.index("in Python:"), lines.index("options of timm's train.py:")
    model = eval("".join(line.strip() + " " for line in lines[python + 1 : train]), {"timm": timm})
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--model-kwargs", nargs="*", default={}, action=ParseKwargs)
    options = parser.parse_args(shlex.split("\n".join(lines[train + 1 :]).replace("\\\n", " ")))
    again = timm.create_model(options.model, **options.model_kwargs)
    flops = float(lines[3].split()[3])
    assert trd.measure(model) == trd.measure(again)
    assert trd.measure(model).flops / 1e9 == pytest.approx(flops, rel=1e-3)


def test_scale_all_takes_a_pattern(capsys, tmp_path, monkeypatch):
    # Forked processes need not import torch again.
    monkeypatch.setattr("timm_regnet_ds.scaling.reports.coverage.get_context", lambda _: get_context("fork"))
    assert main(["scale", "--all", "test_byobnet*"]) == 0
    assert "| test_byobnet | ✓ | ✓ |" in capsys.readouterr().out
    assert main(["scale", "--all", "no_such_thing*"]) == 2
    assert "no architecture of timm matches 'no_such_thing*'" in capsys.readouterr().err
    part = RowsFile(tmp_path / "coverage.part", "coverage", 1)
    row = {"architecture": "test_byobnet", "d": 1, "w": 1, "r": 1, "class": "kept", "reason": ""}
    part.append(row | {"versions": {"timm": timm.__version__, "timm_regnet_ds": version("timm-regnet-ds")}})
    assert main(["scale", "--all", "test_byobnet", "--output", str(tmp_path)]) == 0
    assert sorted(path.suffix for path in tmp_path.glob("coverage*")) == [".csv", ".md"]
    assert "test_byobnet,kept,1,1,,1" in (tmp_path / "coverage.csv").read_text()  # not computed again
