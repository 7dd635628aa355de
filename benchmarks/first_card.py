"""Measure a GPU in ten minutes and write a report to one folder: ``make cuda``.

Each step writes its part of the folder and is not repeated; a run that was stopped goes on. The steps: the tests that
need a GPU; the clock beside CUDA graphs, Triton's ``do_bench`` and ``torch.utils.benchmark``; the memory beside torch's
own peak; the times of models of all families; the card fitted to them, beside those in the package; and the
runtime-proxy study, small.

    python benchmarks/first_card.py --minutes 10

The exit code is 1 if something that it needs is not installed, or if a step or a test failed, and 0 on a machine
without a GPU, on which there is nothing to do.
"""

import argparse
import importlib.util
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("torch", "timm", "tqdm", "matplotlib", "scipy")

# Models of all kinds, small and large.
MODELS = Path(__file__).with_name("first_card_models.txt").read_text(encoding="utf-8").split()
BATCH_SIZE = {"cuda": 64, "cpu": 1}
DTYPE = {"cuda": "amp", "cpu": "fp32"}

# The clock and the memory are checked with these models and batch sizes: one that the host holds up, and two that it
# does not.
CHECKED = {"cuda": (("regnetx_002", 1), ("regnetx_002", 64), ("resnet50", 64)), "cpu": (("test_resnet", 1),)}

# RegNetZ-500MF by dwr and dWr, whose acts grow differently, up to these factors.
STUDIED = "*regnetz_500mf*strategy=d?r)"
UP_TO_FACTOR = {"cuda": 8.0, "cpu": 0.5}

# Number of cards in the package that are put beside the fitted one.
NEIGHBOURS = 5


@dataclass(frozen=True)
class Run:
    """What the command line asks for.

    Attributes:
        output: the folder.
        device: ``cuda:0`` or ``cpu``.
        models: models to measure.
        seconds: seconds for each measurement.
        until: when the run ends, on a monotonic clock.
    """

    output: Path
    device: str
    models: tuple[str, ...]
    seconds: float
    until: float

    @property
    def kind(self) -> str:
        return self.device.partition(":")[0]

    @property
    def left(self) -> float:
        return self.until - time.monotonic()

    def setting(self, **values: Any) -> Any:
        from timm_regnet_ds.bench import Setting

        asked = {"dtype": DTYPE[self.kind], "batch_size": BATCH_SIZE[self.kind], "seconds": self.seconds, **values}
        return Setting(device=self.device, **asked)


class OutOfTimeError(Exception):
    """The time is over before a step is complete."""


# The steps. Each returns values for JSON, of which the report is made.


def run_tests(run: Run) -> dict[str, Any]:
    if run.kind == "cpu":
        return {"skipped": "they need a GPU"}
    if importlib.util.find_spec("pytest") is None:
        return {"skipped": "pytest is not installed"}
    files = [path for path in sorted((ROOT / "tests").glob("test_*.py")) if "mark.cuda" in path.read_text("utf-8")]
    found = [_run_file(run, path) for path in files]
    return {
        "summary": [one["summary"] for one in found],
        "failures": [line for one in found for line in one["failures"]],
    }


def _run_file(run: Run, path: Path) -> dict[str, Any]:
    """The tests of a file that need a GPU. A file that is complete is not run again."""
    part = run.output / "parts" / f"{path.stem}.json"
    if part.exists():
        found: dict[str, Any] = json.loads(part.read_text(encoding="utf-8"))
        return found
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", f"tests/{path.name}"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=max(run.left, 1))
    except subprocess.TimeoutExpired as error:
        raise OutOfTimeError from error
    lines = done.stdout.strip().splitlines() or [f"pytest ended with {done.returncode}"]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return _save(part, {"summary": f"{path.name}: {lines[-1].strip('= ')}", "failures": failed})


def _save(path: Path, part: Any) -> Any:
    from timm_regnet_ds.files.atomic import write_text

    write_text(path, json.dumps(part, indent=1) + "\n")
    return part


def check_clock(run: Run) -> list[dict[str, Any]]:
    return [_check_clock(run, model, batch) for model, batch in _checked(run)]


def _check_clock(run: Run, model: str, batch: int) -> dict[str, Any]:
    from timm_regnet_ds.bench import bench

    setting = run.setting(batch_size=batch)
    m = bench(model, setting=setting)
    found: dict[str, Any] = {"model": model, "batch_size": batch, "harness": m.timing.median}
    for name in ("latency", "launch", "device_time"):
        timing = getattr(m, name)
        found[name] = None if timing is None else timing.median
    if run.kind == "cuda":
        found["harness, graph"] = bench(model, setting=setting.replace(cuda_graphs=True)).timing.median
    return found | _other_clocks(setting, model, batch)


def _other_clocks(setting: Any, model: str, batch: int) -> dict[str, float]:
    """Milliseconds of the same repetition by the clocks of others."""
    from torch.utils import benchmark

    with _workload(setting, model, batch) as workload:
        run = workload.steps["inference"]
        found = {
            "torch.utils.benchmark": 1e3 * benchmark.Timer("run()", globals={"run": run}).blocked_autorange().median
        }
        if setting.device_type == "cuda":
            if importlib.util.find_spec("triton") is not None:
                from triton import testing

                found["do_bench"] = testing.do_bench(run, return_mode="median")
                found["do_bench_cudagraph"] = testing.do_bench_cudagraph(run, return_mode="median")
            found["torch.cuda.CUDAGraph"] = _time_graph(workload)
    return found


def _time_graph(workload: Any) -> float:
    import torch

    workload.capture()
    replay, start, end = workload.steps["graph"], *(torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(50):
        replay()
    start.record()
    for _ in range(50):
        replay()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 50


def _workload(setting: Any, model: str, batch: int) -> Any:
    """A context with a prepared repetition of a model, in the setting's flags."""
    from contextlib import contextmanager

    from timm_regnet_ds.bench.flags import backend_flags
    from timm_regnet_ds.bench.loading import load_model
    from timm_regnet_ds.bench.workload import Workload, prepare_model

    @contextmanager
    def opened() -> Iterator[Any]:
        built, complexity = load_model(model, {}, None, 0)
        with backend_flags(setting.device, setting.threads, tf32=False):
            size = complexity.input_size
            workload = Workload(prepare_model(built, setting, size), setting, size, batch)
            workload.run()
            yield workload

    return opened()


def check_memory(run: Run) -> list[dict[str, Any]]:
    if run.kind == "cpu":
        return []
    import torch

    from timm_regnet_ds.bench import bench

    found = []
    for model, batch in _checked(run):
        setting = run.setting(batch_size=batch)
        m = bench(model, setting=setting)
        with _workload(setting, model, batch) as workload:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            workload.run()
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated()
        found.append({"model": model, "batch_size": batch, "harness": m.memory_allocated, "torch": peak})
    return found


def _checked(run: Run) -> Iterator[tuple[str, int]]:
    for checked in CHECKED[run.kind]:
        if run.left < 10 * run.seconds:
            raise OutOfTimeError
        yield checked


def measure_models(run: Run) -> dict[str, int]:
    from timm.models import is_model

    from timm_regnet_ds.bench import Job, read_results

    path = run.output / "rows.jsonl"
    _measure(run, [Job(name, run.setting()) for name in run.models if is_model(name)], path)
    results = read_results([path])
    return {"measured": sum(r.failure is None for r in results), "failed": sum(r.failure is not None for r in results)}


def _measure(run: Run, jobs: list[Any], path: Path) -> None:
    """Measure what a file of rows lacks, until the time is over."""
    from timm_regnet_ds.bench import run_jobs
    from timm_regnet_ds.bench.runner import results_file

    for _ in run_jobs(jobs, path, resume=True, progress=True, processes=1):
        if run.left < 0:
            break
    rows = results_file(path).read_if_exists()
    if len(rows) < len(jobs):
        raise OutOfTimeError


def fit_card(run: Run) -> dict[str, Any]:
    from timm_regnet_ds.bench import LatencyModel, read_results

    results = read_results([run.output / "rows.jsonl"])
    try:
        card = LatencyModel.fit(results)
    except ValueError as error:  # too few models
        return {"skipped": str(error)}
    card.save(run.output / "card.json")
    return {"text": str(card), "neighbours": _neighbours([r.measurement for r in results if r.measurement])}


def _neighbours(measurements: list[Any]) -> list[dict[str, Any]]:
    """The cards in the package whose predictions are nearest to these times, after a common factor."""
    from timm_regnet_ds.latency.cards import cards

    found = []
    for name, card in cards().items():
        try:
            ratios = [
                m.timing.median / card.predict(m.complexity, batch_size=m.setting.batch_size) for m in measurements
            ]
        except ValueError:  # it was measured in another number format
            continue
        factor = statistics.median(ratios)
        off = statistics.median(abs(ratio / factor - 1) for ratio in ratios)
        found.append({"card": name, "times beside it": factor, "off from that, median": off})
    return sorted(found, key=lambda row: row["off from that, median"])[:NEIGHBOURS]


def draw_study(run: Run) -> dict[str, Any]:
    from timm_regnet_ds.bench import STUDIES, run_study

    study = STUDIES["runtime-proxy"]
    values = {
        "device": run.device,
        "batch_size": BATCH_SIZE[run.kind],
        "dtype": DTYPE[run.kind],
        "mode": "train" if run.kind == "cuda" else "inference",
        "seconds": run.seconds,
    }
    jobs = [job for job in study.jobs(values) if fnmatchcase(job.label, STUDIED)]
    jobs = [job for job in jobs if job.tags["factor"] <= UP_TO_FACTOR[run.kind]]
    folder = run.output / "runtime-proxy"
    _measure(run, jobs, folder / "rows.jsonl")
    try:
        run_study(study, folder, rows=[folder / "rows.jsonl"])
    except ValueError as error:
        return {"skipped": str(error)}
    return {"models": len(jobs)}


STEPS: dict[str, Callable[[Run], Any]] = {
    "tests": run_tests,
    "clock": check_clock,
    "memory": check_memory,
    "models": measure_models,
    "card": fit_card,
    "study": draw_study,
}


# The report


def write_report(run: Run, parts: dict[str, Any]) -> Path:
    """Write ``README.md`` from the parts that are there."""
    from timm_regnet_ds.bench.environment import environment
    from timm_regnet_ds.files.atomic import write_text

    about = environment(run.device)
    known = ", ".join(f"{name} {about[name]}" for name in ("driver", "cuda", "cudnn", "torch", "timm") if about[name])
    lines = [f"# {about['device_name']}", f"Written by `make cuda` ({known}, {about['at'][:10]})."]
    missing = [name for name in STEPS if name not in parts]
    if missing:
        lines.append(f"Not complete yet: {', '.join(missing)}. `make cuda` goes on there.")
    for name, part in parts.items():
        lines += [f"## {TITLES[name]}", _describe(name, part)]
    return write_text(run.output / "README.md", "\n\n".join(lines) + "\n")


TITLES = {
    "tests": "Tests that need a GPU",
    "clock": "The clock beside others (ms)",
    "memory": "Memory beside torch's own peak (bytes)",
    "models": "Models",
    "card": "The card",
    "study": "Runtime proxy",
}


def _describe(name: str, part: Any) -> str:
    from timm_regnet_ds.files.tables import markdown

    if isinstance(part, dict) and "skipped" in part:
        return f"Not run: {part['skipped']}."
    if isinstance(part, list):
        if not part:
            return "Not run: torch reports no memory on the CPU."
        return markdown(list(part[0]), [[_cell(value) for value in row.values()] for row in part])
    if name == "tests":
        return "\n".join(f"- {line}" for line in (*part["summary"], *part["failures"]))
    if name == "models":
        return f"{part['measured']} models in `rows.jsonl`, {part['failed']} failed."
    if name == "card":
        text = f"```\n{part['text']}\n```"
        return f"{text}\n\n{_describe('neighbours', part['neighbours'])}" if part["neighbours"] else text
    return f"{part['models']} models: [runtime-proxy](runtime-proxy/README.md)."


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: benchmarks/results/ and the device's name")
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="time limit; a later run goes on")
    parser.add_argument("--device", metavar="DEVICE", help="default: the first GPU; cpu tries the steps without one")
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="MODEL", help="default: 60 of all families")
    parser.add_argument("--seconds", type=float, default=2, metavar="S", help="for each measurement; default: 2")
    options = parser.parse_args(arguments)
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        print(f"make cuda needs {', '.join(absent)}: pip install '.[study]'", file=sys.stderr)
        return 1
    import torch

    if options.device is None and not torch.cuda.is_available():
        print("make cuda needs a CUDA device, and this machine has none")
        return 0
    run = prepare(options)
    parts = _run_steps(run)
    report = write_report(run, parts)
    print(f"wrote {report}")
    failures = _failures(parts)
    for line in failures:
        print(line, file=sys.stderr)
    return 1 if failures else 0


def prepare(options: argparse.Namespace) -> Run:
    from timm_regnet_ds.bench.devices import check_device
    from timm_regnet_ds.bench.environment import device_name

    device = str(check_device(options.device or "cuda"))
    name = re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
    output = options.output or ROOT / "benchmarks" / "results" / name
    until = time.monotonic() + 60 * options.minutes
    return Run(output, device, tuple(options.models), options.seconds, until)


def _run_steps(run: Run) -> dict[str, Any]:
    """The parts that are complete: from an earlier run, or from this one."""
    parts: dict[str, Any] = {}
    for name, step in STEPS.items():
        path = run.output / "parts" / f"{name}.json"
        if not path.exists():
            print(f"{TITLES[name]} ({max(run.left, 0) / 60:.0f} min left)", flush=True)
            try:
                if run.left <= 0:
                    raise OutOfTimeError
                part = step(run)
            except OutOfTimeError:
                continue
            except Exception as error:  # the report says so, and the next run tries again
                parts[name] = {"skipped": f"it fails: {error}", "failures": [f"{TITLES[name]}: {error}"]}
                continue
            _save(path, part)
        parts[name] = json.loads(path.read_text(encoding="utf-8"))
    return parts


def _failures(parts: dict[str, Any]) -> list[str]:
    """A line for each step, and each test, that failed. A model that fails is a row, as in ``bench``."""
    return [line for part in parts.values() if isinstance(part, dict) for line in part.get("failures", [])]


if __name__ == "__main__":
    sys.exit(main())
