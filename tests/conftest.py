import ctypes
import functools
import gc
import resource
import sys
from contextlib import nullcontext, suppress

import pytest
import torch
from forked_jobs import forked_jobs

from timm_regnet_ds.bench.peaks import measure_peaks
from timm_regnet_ds.bench.worker import Worker

# timm's own tests carry these.
TIMM_MARKERS = (
    "base",
    "forward",
    "backward",
    "cfg",
    "cfg_nonstd",
    "torchscript",
    "features",
    "fxforward",
    "fxbackward",
)


def pytest_configure(config):
    # Models of thousands of modules are built and dropped; looking for cycles among them took a tenth of the time.
    gc.set_threshold(50_000, 20, 20)
    if hasattr(config, "workerinput"):
        # Workers beside each other; threads of each would only get in the others' way.
        torch.set_num_threads(1)
    for marker in TIMM_MARKERS:
        config.addinivalue_line("markers", f"{marker}: a marker of timm's tests")
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        # Autocast of torch 2.5 does not know the meta device; then `measure` builds the model, and says so.
        no_autocast = "ignore:.*counted for a random image, since unsupported scalarType"
        config.addinivalue_line("filterwarnings", no_autocast)


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(skip)


def pytest_collection_finish():
    freeze_imports()


def freeze_imports():
    """What was imported stays: collections of garbage need not look at it again."""
    global modules_frozen
    gc.collect()
    gc.freeze()
    modules_frozen = len(sys.modules)


modules_frozen = 0


def pytest_sessionfinish():
    gc.unfreeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Give back what a test's models took: glibc keeps it otherwise, in pieces that other models do not fit in."""
    global memory_kept
    if resident_memory() > memory_kept + 2**27:
        gc.collect()
        with suppress(OSError, AttributeError):  # Another C library than glibc.
            ctypes.CDLL(None).malloc_trim(0)
        memory_kept = resident_memory()
    if len(sys.modules) > modules_frozen + 200:  # torch.compile imports a thousand
        freeze_imports()


memory_kept = 0


def resident_memory():
    """Bytes, or 0 on another system than Linux."""
    with suppress(OSError), open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
    return 0


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    # Code that torch 2.5 compiles makes the process flush subnormal numbers to zero, in all tests that follow.
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def worker():
    """Runs each call in a fresh process that has imported this package; its own start takes seconds."""
    with Worker() as worker:
        yield worker


# The peaks of this machine take seconds to measure, and no test looks at how large they are.
measure_peaks_once = functools.cache(measure_peaks)


@pytest.fixture
def one_worker(worker, monkeypatch):
    """Measurements share the worker of this session, and the peaks of the device."""
    for user in ("runner", "harness"):
        monkeypatch.setattr(f"timm_regnet_ds.bench.{user}.Worker", lambda: nullcontext(worker))
        monkeypatch.setattr(f"timm_regnet_ds.bench.{user}.measure_peaks", measure_peaks_once)


@pytest.fixture
def jobs_are_forks(tmp_path, monkeypatch):
    """submitit's jobs need not import torch; `test_a_job_that_fails_otherwise_ends_the_sweep` runs one as it is.

    Jobs that train cannot be forks: autograd refuses to run in a fork of a process in which it had started threads.
    """
    if torch.cuda.is_available():  # Forks cannot use a device that their parent has looked at.
        yield
        return
    with forked_jobs(tmp_path / "jobs") as command:
        whole = property(lambda executor: f"{command} {executor.folder}")
        monkeypatch.setattr("submitit.local.local.LocalExecutor._submitit_command_str", whole)
        yield
