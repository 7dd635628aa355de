"""`make cuda`: its steps tried on the CPU, and its line on a machine without a GPU."""

import importlib
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from bench_models import result

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "first_card.py"

pytestmark = pytest.mark.usefixtures("one_worker")


@pytest.fixture
def first_card(monkeypatch):
    spec = importlib.util.spec_from_file_location("first_card", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "first_card", module)
    spec.loader.exec_module(module)
    return module


def test_its_models_are_60_that_timm_has(first_card):
    from timm.models import is_model

    assert len(set(first_card.MODELS)) == 60
    assert all(map(is_model, first_card.MODELS))


def test_without_a_gpu_it_is_one_line(first_card, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert first_card.main([]) == 0
    assert capsys.readouterr().out == "make cuda needs a CUDA device, and this machine has none\n"


def test_what_is_not_installed_is_named_and_fails(first_card, monkeypatch, capsys):
    monkeypatch.setattr(first_card, "NEEDED", ("torch", "no_such_package"))
    assert first_card.main([]) == 1
    assert capsys.readouterr().err == "make cuda needs no_such_package: pip install '.[study]'\n"


def test_a_step_or_a_test_that_failed_is_named_and_fails(first_card, tmp_path, monkeypatch, capsys):
    def fail(run):
        raise RuntimeError("a fault")

    tests = {"summary": ["2 failed"], "failures": ["FAILED tests/x.py::test_y - E"]}
    monkeypatch.setattr(first_card, "STEPS", {"tests": lambda run: tests, "clock": fail, "models": _measured})
    arguments = ["--output", str(tmp_path), "--device", "cpu"]
    assert first_card.main(arguments) == 1
    assert capsys.readouterr().err == "FAILED tests/x.py::test_y - E\nThe clock beside others (ms): a fault\n"
    assert "Not run: it fails: a fault." in (tmp_path / "README.md").read_text()
    monkeypatch.setattr(first_card, "STEPS", {"models": _measured})
    assert first_card.main(arguments) == 0


def _measured(run):
    return {"measured": 1, "failed": 1}


def test_make_prints_nothing_else():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    found = subprocess.run(
        ["make", "--no-print-directory", "cuda", f"CUDA_PYTHON={sys.executable}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0
    assert found.stdout == "make cuda needs a CUDA device, and this machine has none\n"


def test_the_tests_of_a_file_are_run_once(first_card, tmp_path, monkeypatch):
    ran = []

    def run(command, **_):
        ran.append(command[-1])
        if len(ran) == 2:
            raise subprocess.TimeoutExpired(command, 1)
        return subprocess.CompletedProcess(
            command, 1, "FAILED tests/x.py::test_y - E\n==== 1 failed, 2 passed ====\n", ""
        )

    monkeypatch.setattr(first_card.subprocess, "run", run)
    asked = first_card.Run(tmp_path, "cuda:0", (), 1.0, time.monotonic() + 60)
    with pytest.raises(first_card.OutOfTimeError):
        first_card.run_tests(asked)
    found = first_card.run_tests(asked)
    assert ran.count(ran[0]) == 1
    assert found["summary"][0] == f"{Path(ran[0]).name}: 1 failed, 2 passed"
    assert "- FAILED tests/x.py::test_y - E" in first_card._describe("tests", found)


def test_the_cards_in_the_package_are_put_beside_it(first_card, monkeypatch):
    class Card:
        def __init__(self, factor, noise=0.0):
            self.factor, self.noise = factor, noise

        def predict(self, complexity, batch_size):
            if self.factor is None:
                raise ValueError("counted in another number format")
            return batch_size * complexity.acts * self.factor * (1 + self.noise * (complexity.acts % 2))

    known = {"far": Card(1.0, noise=0.5), "near": Card(0.5), "other format": Card(None)}
    module = importlib.import_module("timm_regnet_ds.latency.cards")
    monkeypatch.setattr(module, "cards", lambda: known)
    measured = [result(f"model_{acts}", (1, 1, acts), 1.0 * acts).measurement for acts in range(1, 9)]
    found = first_card._neighbours(measured)
    assert [row["card"] for row in found] == ["near", "far"]
    assert found[0]["times beside it"] == 2
    assert found[0]["off from that, median"] == 0
    assert "| near | 2 | 0 |" in first_card._describe("card", {"text": "t", "neighbours": found})


def test_its_steps_make_a_folder_and_go_on_where_they_were_stopped(first_card, tmp_path, monkeypatch):
    monkeypatch.setattr(first_card, "STUDIED", "*regnetz_500mf*strategy=dWr)")
    arguments = [
        "--output",
        str(tmp_path),
        "--device",
        "cpu",
        "--models",
        "test_resnet",
        "test_vit",
        "--seconds",
        "0.2",
    ]
    assert first_card.main([*arguments, "--minutes", "0"]) == 0
    assert "Not complete yet: tests, clock, memory, models, card, study." in (tmp_path / "README.md").read_text()
    assert first_card.main([*arguments, "--minutes", "20"]) == 0
    text = (tmp_path / "README.md").read_text()
    assert "Not complete yet" not in text
    assert "it fails" not in text
    assert "2 models in `rows.jsonl`, 0 failed." in text
    assert "3 models: [runtime-proxy](runtime-proxy/README.md)." in text
    assert (tmp_path / "runtime-proxy" / "README.md").exists()
    clock = json.loads((tmp_path / "parts" / "clock.json").read_text())[0]
    assert clock["harness"] > 0
    assert clock["torch.utils.benchmark"] > 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jsonl")}
    (tmp_path / "parts" / "card.json").unlink()
    assert first_card.main([*arguments, "--minutes", "20"]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jsonl")} == before
    assert str(tmp_path) not in (tmp_path / "README.md").read_text()
