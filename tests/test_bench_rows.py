"""Many measurements: rows that survive kills, reports, comparisons, and the commands."""

import contextlib
import csv
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from bench_models import QUICK, TINY, InstantWorker, count_builds, fork_and_exit, fork_twice, result
from killed import run_and_kill

from timm_regnet_ds.bench.comparing import compare
from timm_regnet_ds.bench.counting import JobCounts
from timm_regnet_ds.bench.jobs import Job
from timm_regnet_ds.bench.peaks import DevicePeaks
from timm_regnet_ds.bench.progress import ExpectedTimes
from timm_regnet_ds.bench.reporting import report
from timm_regnet_ds.bench.runner import read_results, results_file, run_jobs
from timm_regnet_ds.bench.setting import Setting
from timm_regnet_ds.bench.worker import DeadlineError, ProcessDiedError, Worker, WorkerEndedError
from timm_regnet_ds.cli import main
from timm_regnet_ds.complexity import Complexity

QUICKLY = ["--device", "cpu", "--threads", "1", "--seconds", "0.2", "--precision", "50%", "--input-size", "64"]

pytestmark = pytest.mark.usefixtures("one_worker")


def jobs(widths):
    return [Job("anynet", Setting(**QUICK), {**TINY, "widths": [width, width]}) for width in widths]


def test_a_model_that_fails_is_a_row_and_the_rest_goes_on(tmp_path):
    path = tmp_path / "rows.jsonl"
    broken = Job("anynet", Setting(**QUICK), {**TINY, "widths": [0, 8]})
    refused = Job("vit_tiny_patch16_224", Setting(**{**QUICK, "input_size": 100}))
    results = list(run_jobs([broken, refused, *jobs([8])], path))
    assert "widths must be a whole number" in results[0].failure
    assert "fails on an image of size 3×100×100" in results[1].failure
    assert results[2].failure is None
    again = read_results([path])
    assert again == results
    assert again[2].measurement == results[2].measurement


def test_resume_measures_what_is_not_there(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert len(list(run_jobs(jobs([8, 16]), path))) == 2
    added = list(run_jobs(jobs([8, 16, 24]), path, resume=True))
    assert [r.job.model_args["widths"] for r in added] == [[24, 24]]
    assert len(list(run_jobs(jobs([8]), path))) == 1
    assert len(read_results([path])) == 4


# The process that measures


@pytest.fixture(scope="module")
def ended_workers():
    """A worker whose calls are ended at their deadline; that ends the worker, which others must not share."""
    with Worker() as worker:
        yield worker


def test_a_call_that_takes_its_process_down_is_a_failure_and_the_next_succeeds(worker):
    killer = threading.Thread(target=_kill_child, args=(worker.process.pid,))
    killer.start()
    with pytest.raises(ProcessDiedError, match="its process was ended by SIGKILL"):
        worker.call(time.sleep, 60)
    killer.join()
    assert worker.call(math.hypot, 3, 4) == 5


def _kill_child(pid):
    os.kill(_wait_for_child(pid), signal.SIGKILL)


def _wait_for_child(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while not (found := children.read_text().split()):
        time.sleep(0.1)
    return int(found[0])


def test_calls_raise_what_their_functions_raise(worker):
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        worker.call(math.sqrt, -1)
    with pytest.raises(RuntimeError, match=r"^4$"):
        worker.call(sys.exit, 4)
    for code in (3, 0):
        with pytest.raises(ProcessDiedError, match=f"its process was ended with exit code {code}"):
            worker.call(os._exit, code)


def test_a_call_that_hangs_is_ended_at_its_deadline_and_the_next_succeeds(ended_workers):
    start = time.monotonic()
    with pytest.raises(DeadlineError, match="took longer than its deadline of 1 s and was ended"):
        ended_workers.call_within(1, time.sleep, 120)
    assert time.monotonic() - start < 60
    assert ended_workers.call(math.hypot, 3, 4) == 5


def test_a_model_that_hangs_is_a_row_and_the_rest_goes_on(tmp_path, monkeypatch, ended_workers):
    monkeypatch.setattr("timm_regnet_ds.bench.runner.Worker", lambda: contextlib.nullcontext(ended_workers))
    hangs, works = jobs([8, 16])
    results = run_jobs([hangs], tmp_path / "rows.jsonl", deadline=0.01)
    assert next(results).failure == "it took longer than its deadline of 0.01 s and was ended"
    assert next(run_jobs([works], tmp_path / "rows.jsonl")).failure is None
    assert [r.failure is None for r in read_results([tmp_path / "rows.jsonl"])] == [False, True]


def test_forks_of_a_call_share_what_it_has_prepared(worker):
    assert worker.call(fork_twice, "prepared") == ["prepared", "prepared"]
    with pytest.raises(ProcessDiedError, match="ended with exit code 3"):
        worker.call(fork_and_exit)


def test_a_worker_that_has_ended_says_so():
    with Worker() as worker:
        worker.process.kill()
        with pytest.raises(WorkerEndedError, match="has ended with exit code -9"):
            worker.call(math.sqrt, 4)


def test_what_a_call_prints_is_not_its_answer(capfd):
    with Worker() as worker:
        assert worker.call(print, "a line") is None
    assert "a line" in capfd.readouterr().err


@pytest.mark.parametrize("when", ["during the call", "while the worker starts"])
def test_no_call_goes_on_when_the_caller_is_killed(when):
    code = (
        "import threading, time; from timm_regnet_ds.bench.worker import Worker; w = Worker();"
        "threading.Thread(target=w.call, args=(time.sleep, 120), daemon=True).start();"
        "print(w.process.pid, flush=True); time.sleep(120)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    worker = int(caller.stdout.readline())
    children = [_wait_for_child(worker)] if when == "during the call" else []
    caller.kill()
    caller.wait()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any(map(_is_running, [worker, *children])):
        time.sleep(0.2)
    assert not any(map(_is_running, [worker, *children]))


def _is_running(pid):
    """A process that has ended, but whose exit code nobody has read, has an empty command line."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


# Runs that are killed


@pytest.mark.filterwarnings("ignore:.*is incomplete")
def test_killed_at_any_instant_a_run_loses_the_measurement_in_progress_alone(tmp_path, monkeypatch):
    """With made-up times, so that the run is nearly always between two rows or in the middle of one."""
    path, chance = tmp_path / "rows.jsonl", random.Random(1)
    wanted = jobs(range(8, 8 * 81, 8))

    def work(say):
        monkeypatch.setattr("timm_regnet_ds.bench.runner.Worker", lambda: InstantWorker(say))
        for _ in run_jobs(wanted, path, resume=True, processes=1):
            say("row")

    kills, begun, before = 20, 0, 0
    for _ in range(kills):
        said = run_and_kill(work, chance.randint(1, 5), chance.uniform(0, 0.01))
        begun += said.count("begun")
        rows = results_file(path).read_if_exists()
        assert len(rows) >= before + said.count("row")
        before = len(rows)
    begun += run_and_kill(work, 3 * len(wanted)).count("begun")
    assert [result.job for result in read_results([path])] == wanted
    assert len(wanted) <= begun <= len(wanted) + kills


@pytest.mark.filterwarnings("default:.*is incomplete")
def test_a_broken_last_line_is_left_out(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    list(run_jobs(jobs([8]), path))
    with open(path, "a") as file:
        file.write('{"kind": "measurement", "ver')
    assert main(["report", str(path), "--output", str(tmp_path / "report")]) == 0
    assert f"timm-regnet-ds: {path}: line 2 is incomplete and was skipped\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "is not a measurement of version 2, but kind measurement, version 3"),
        ({"kind": "population"}, "is not a measurement of version 2, but kind population, version 2"),
        ({"timing": {}}, "is not a complete measurement"),
        ({"setting": {}}, "is not a complete measurement"),
    ],
    ids=str,
)
def test_rows_of_something_else_are_refused(tmp_path, change, message, capsys):
    path = tmp_path / "rows.jsonl"
    list(run_jobs(jobs([8]), path))
    path.write_text(json.dumps(json.loads(path.read_text()) | change) + "\n")
    assert main(["report", str(path), "--output", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert main(["report", str(tmp_path / "none.jsonl")]) == 2


def test_rows_of_version_1_are_read(request):
    measured, failed = read_results([request.path.with_name("measurements_v1.jsonl")])
    m = measured.measurement
    assert (m.warm_up_steady, m.precision_met, m.timing.repetitions, m.complexity.flops) == (False, False, 9, 395424)
    assert (m.peaks.ops_per_second, m.peaks.bytes_per_second) == (99900654408.10477, 7367994142.183073)
    assert m.to_row()["ops_per_second"] == pytest.approx(588459731.1833733)
    assert failed.failure == "widths must be a whole number of at least 1, not 0"


def test_a_run_resumes_in_a_file_of_version_1(tmp_path, request, monkeypatch):
    monkeypatch.setattr("timm_regnet_ds.bench.runner.device_name", lambda device: "AMD EPYC")
    path = tmp_path / "rows.jsonl"
    path.write_bytes(request.path.with_name("measurements_v1.jsonl").read_bytes())
    there = Job("anynet", Setting(**{**QUICK, "mode": "train"}), TINY)
    assert [r.job for r in run_jobs([there, *jobs([8])], path, resume=True)] == jobs([8])
    assert len(read_results([path])) == 3


def test_rows_without_the_later_columns_are_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    list(run_jobs(jobs([8]), path))
    row = json.loads(path.read_text())
    for column in ("latency", "launch", "device_time", "device_state", "wall_seconds", "bound_by", "bytes"):
        del row[column]
    del row["setting"]["cache"], row["asked"]["cache"]
    path.write_text(json.dumps(row) + "\n")
    m = read_results([path])[0].measurement
    assert (m.setting.cache, m.latency, m.wall_seconds) == ("warm", None, None)
    assert list(run_jobs(jobs([8]), path, resume=True)) == []


# How long a run takes


def test_a_model_is_built_and_counted_once_for_all_processes(worker):
    assert next(run_jobs(jobs([8]), processes=3)).measurement.processes == 3
    assert worker.call(count_builds, jobs([8])[0]) == (1, 1)


def expected(processes, measured, complexity=None):
    """With peaks of a TFLOP/s and of 100 GB/s."""
    counts = SimpleNamespace(of=lambda job: complexity, slowness=1.5)
    return ExpectedTimes(processes, measured, counts, lambda job: DevicePeaks(1e12, 1e11))


def test_the_estimate_is_of_all_that_a_model_takes():
    many = [result("a", (1, 1, 1), 1, seconds=2).job] * 10
    assert expected(None, []).seconds(many) == pytest.approx(10 * (2 + 1.5 * 1.2))
    slow = result("a", (1, 1, 1), 1, seconds=2)
    measured = [replace(slow, measurement=replace(slow.measurement, wall_seconds=7.5))]
    assert expected(None, measured).seconds(many) == pytest.approx(75)


def test_the_estimate_knows_models_whose_repetitions_take_longer_than_their_seconds():
    # A training step: three times 2 · 8 · 50 G operations and 8 · 2.4 G bytes and 0.8 G bytes of weights: 3 s.
    slow = Complexity(50 * 10**9, 1, 1, bytes=24 * 10**8, weight_bytes=8 * 10**8)
    job = result("a", (1, 1, 1), 1, seconds=2, batch_size=8, mode="train").job
    assert expected(2, [], slow).seconds([job]) == pytest.approx(1.5 * (2 * 5 * 3 + 1.2))
    # Another model took twice what it was expected to, and 4 s beside its five repetitions in each of two processes.
    took = result("b", (1, 1, 1), 6000, seconds=2, batch_size=8, mode="train")
    known = replace(took, measurement=replace(took.measurement, processes=2, wall_seconds=64))
    later = expected(2, [], slow)
    later.add(known)
    assert later.seconds([job, job]) == pytest.approx(2 * (2 * 5 * 6 + 4))


def test_the_largest_batch_and_models_that_cannot_be_counted_take_their_seconds():
    counts = JobCounts()
    assert counts.of(Job("anynet", Setting(**QUICK), {"depths": [0], "widths": [8]})) is None
    assert counts.of(jobs([8])[0]).flops > 0
    assert counts.slowness >= 1
    largest = replace(jobs([8])[0], setting=Setting(**{**QUICK, "batch_size": "max", "seconds": 1.0}))
    assert expected(1, [], Complexity(10**15, 1, 1)).seconds([largest]) == pytest.approx(1 + 1.5 * 1.2)


def test_a_run_says_how_long_it_takes_and_goes_on_saying(capsys):
    list(run_jobs(jobs(range(8, 48, 8)), progress=True))
    lines = [line for line in capsys.readouterr().err.splitlines() if "measure" in line]
    assert re.fullmatch(r"5 of 5 models to measure, in about \d+ s", lines[0])
    assert [re.fullmatch(r"(\d) of 5 measured, about \d+ s left", line)[1] for line in lines[1:]] == ["3", "4"]


# Reports


def test_a_report_has_every_measurement(tmp_path):
    results = [result(f"model_{i}", (i * 10**9, i * 10**6, i * 10**6), i) for i in range(1, 4)]
    results += [result("model_1", (10**9, 10**6, 10**6), 0.5, dtype="bf16")]
    paths = report(results, tmp_path)
    assert sorted(path.name for path in paths) == ["report.md", "roofline.png", "rows.csv", "times.png"]
    assert all(path.stat().st_size > 0 for path in paths)
    text = (tmp_path / "report.md").read_text()
    assert text.count("\n| model_") == 4
    assert "a device, inference, batch 1, images of 224×224, bf16" in text
    with open(tmp_path / "rows.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["timing.median"] for row in rows] == ["1", "2", "3", "0.5"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)


def test_a_report_of_nothing_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="none of the 0 rows is a measurement"):
        report([], tmp_path)


# Comparisons


def test_ratios_have_the_intervals_of_both():
    a = [result("one", (1, 1, 1), 10), result("two", (1, 1, 1), 20), result("only_a", (1, 1, 1), 1)]
    b = [result("two", (1, 1, 1), 10, dtype="bf16"), result("one", (1, 1, 1), 20, dtype="bf16")]
    found = compare(a, b)
    assert found.differ == (("dtype", "fp32", "bf16"),)
    assert [(r.model, r.ratio) for r in found.ratios] == [("one", 2.0), ("two", 0.5)]
    assert found.only_a == ("only_a",)
    assert found.ratios[0].high / 2 == pytest.approx(1 + 0.01 * 2**0.5, rel=1e-3)
    assert found.ratios[0].low < 2 < found.ratios[0].high
    assert all(len(line) <= 80 for line in str(found).splitlines())


def test_settings_that_vary_within_a_side_must_be_alike():
    a = [result("one", (1, 1, 1), t, batch_size=n) for n, t in ((1, 10), (8, 20))]
    b = [result("one", (1, 1, 1), t, batch_size=n) for n, t in ((8, 30), (1, 5))]
    assert sorted(r.ratio for r in compare(a, b).ratios) == [0.5, 1.5]


def test_nothing_in_common_is_an_error():
    with pytest.raises(ValueError, match=r"no model is in both: A has 1 measurements \(one\), B 1 \(two\)"):
        compare([result("one", (1, 1, 1), 1)], [result("two", (1, 1, 1), 1)])


# Commands


def test_the_command_prints_a_table_and_appends_rows(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    listed = tmp_path / "list.txt"
    listed.write_text("anynet  # the first\n\nregnet\n")
    arguments = ["bench", "--file", str(listed), "--output", str(path), *QUICKLY]
    assert main([*arguments, "--model-kwargs", "num_classes=10", "--batch-size", "2"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["anynet(num_classes=10)", "regnet(num_classes=10)"]
    assert max(map(len, [header, *lines])) <= 80
    assert main([*arguments, "--model-kwargs", "num_classes=10", "--batch-size", "2", "--resume"]) == 0
    assert len(read_results([path])) == 2
    assert main(["compare", str(path), str(path), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [row["ratio"] for row in rows] == [1, 1]


def test_json_is_the_row(capsys):
    assert main(["bench", "anynet", "--json", "--mode", "train", "--dtype", "amp", *QUICKLY]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["model"] == "anynet"
    assert row["setting"]["mode"] == "train"
    assert row["setting"]["dtype"] == "amp"
    assert row["timing"]["median"] > 0
    assert list(row["steps"]) == ["forward", "backward", "optimizer"]


def test_failures_exit_with_1_after_the_others(capsys):
    assert main(["bench", "vit_tiny_patch16_224", "anynet", *QUICKLY]) == 1
    _, failed, measured = capsys.readouterr().out.splitlines()
    assert failed.startswith("vit_tiny_patch16_224 failed: ")
    assert measured.startswith("anynet")


def test_what_argparse_refuses_is_a_line_too(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "anynet", "--input-size", "3,4"])
    assert stop.value.code == 2
    assert "'3,4' is neither a side nor channels,height,width" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "bench needs models"),
        (["anynett"], "did you mean 'anynet'"),
        (["--filter", "nothing*"], "no timm model matches 'nothing*'"),
        (["anynet", "--resume"], "--resume goes with --output"),
        (["anynet", "--device", "cuda:9"], "no device 'cuda:9'"),
        (["anynet", "--compile", "fast"], "unknown compile mode 'fast'"),
        (["--file", "no/such/file"], "no file"),
    ],
)
def test_wrong_commands_exit_with_2(arguments, message, capsys):
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err
