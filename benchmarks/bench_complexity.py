"""How long counting takes: this project, fvcore and thop on the same module, side by side in one run.

    pytest benchmarks/bench_complexity.py --benchmark-columns=min,median,iqr,rounds

Each counts what it can: this project flops, params and acts, by module and by operator; fvcore flops and activations;
thop flops and params. fvcore traces the module with real tensors, as its users do (on ``meta`` its trace fails); thop
is handed a module that it may tag. One thread, so that a busy machine does not slow down those that compute.
"""

import logging

import pytest
import torch
from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis
from thop import profile
from timm.models import create_model

from timm_regnet_ds.complexity import measure

MODELS = ["regnety_320", "efficientnet_b0", "vit_base_patch16_224", "convnext_tiny"]
FACTOR = 10  # how much faster than fvcore
IMAGE = torch.zeros(1, 3, 224, 224)


def by_fvcore(model):
    return FlopCountAnalysis(model, IMAGE).total() + ActivationCountAnalysis(model, IMAGE).total()


def by_thop(model):
    return profile(model, (IMAGE,), verbose=False)


ROUNDS = {measure: 20, by_fvcore: 5, by_thop: 5}


@pytest.fixture(scope="module")
def model(request):
    return create_model(request.param).eval()


@pytest.fixture(scope="module")
def medians():
    """Seconds by (model, tool), from the runs above the comparison."""
    return {}


@pytest.fixture(scope="module", autouse=True)
def one_quiet_thread():
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tool", ROUNDS, ids=lambda tool: tool.__name__)
@pytest.mark.parametrize("model", MODELS, indirect=True)
def test_count(benchmark, medians, model, tool, request):
    name = request.node.callspec.params["model"]
    benchmark.group = name
    benchmark.pedantic(tool, args=(model,), rounds=ROUNDS[tool], warmup_rounds=1)
    if benchmark.stats:  # None under --benchmark-disable
        medians[name, tool] = benchmark.stats.stats.median


@pytest.mark.parametrize("name", MODELS)
def test_ten_times_faster_than_fvcore(medians, name):
    if not {(name, measure), (name, by_fvcore)} <= set(medians):
        pytest.skip("not measured in this run")
    ratio = medians[name, by_fvcore] / medians[name, measure]
    print(f"\n{name}: {ratio:.1f} times faster than fvcore", end="")
    assert ratio >= FACTOR
