from contextlib import nullcontext

import pytest
import torch

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


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def _worker():
    with Worker() as worker:
        yield worker


@pytest.fixture
def one_worker(_worker, monkeypatch):
    """Measurements share one worker, whose start takes seconds; each call still runs in a fresh process."""
    for user in ("runner", "harness"):
        monkeypatch.setattr(f"timm_regnet_ds.bench.{user}.Worker", lambda: nullcontext(_worker))
