"""What people do with a timm model after building it: compile, export, ONNX, TorchScript, fx."""

import copy
import shutil
from pathlib import Path

import onnx
import onnxruntime
import pytest
import timm
import torch
from timm.utils.onnx import onnx_export

from timm_regnet_ds.cli import main
from timm_regnet_ds.models._blocks import BLOCKS
from timm_regnet_ds.models.anynet import STEM_STRIDES
from timm_regnet_ds.training.export import export_onnx

# One of each class, with few blocks: what exporters take grows with the number of layers.
MODELS = {
    "regnet": ("regnet", {"depth": 3, "w0": 16, "wa": 12.0, "wm": 2.0, "group_width": 4, "block": "z"}),
    "anynet": ("anynet", {"depths": [1, 1, 1, 1, 1], "widths": [8, 8, 16, 16, 24], "block": "basic"}),
    "efficientnet": ("scaled", {"base": "efficientnet_b0", "strategy": "d", "factor": 0.3}),
    "rexnet_plain": ("scaled", {"base": "rexnet_plain", "strategy": "d", "factor": 0.3}),
    "rexnet_lite": ("scaled", {"base": "rexnet_lite_100", "strategy": "d", "factor": 0.3}),
}


def build(name: str, kwargs: dict) -> torch.nn.Module:
    model = timm.create_model(name, num_classes=7, exportable=True, **kwargs)
    # Statistics like those of a trained network; with initial ones the outputs are too small to compare.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            module.reset_running_stats()
    model.train()(torch.randn(4, 3, 64, 64))
    return model.eval()


@pytest.fixture(scope="module", params=MODELS)
def model_and_images(request):
    torch.manual_seed(0)
    return build(*MODELS[request.param]), torch.randn(2, 3, 64, 64)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_torch_compile():
    # One block, since each of its kernels takes the compiler a second.
    model, images = build("anynet", {"depths": [1], "widths": [8], "block": "z"}), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model)(images), model(images), rtol=1e-3, atol=1e-3)


def test_torch_compile_takes_the_whole_graph(model_and_images):
    model, images = model_and_images
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), model(images), rtol=1e-4, atol=1e-4)


def test_torch_export_with_any_batch_size(model_and_images):
    model, images = model_and_images
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (images,), dynamic_shapes={"x": {0: batch}}).module()
    more = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(exported(more), model(more), rtol=1e-4, atol=1e-4)


def test_torch_fx_traces_it(model_and_images):
    model, images = model_and_images
    traced = torch.fx.symbolic_trace(model)
    with torch.no_grad():
        torch.testing.assert_close(traced(images), model(images))


def test_torchscript(model_and_images):
    model, images = model_and_images
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(model)(images), model(images))


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("stem", STEM_STRIDES)
def test_every_block_and_stem(block, stem):
    """timm's own tests cover registered names only; these are the other AnyNets."""
    model = timm.create_model("anynet", depths=[2, 1], widths=[8, 16], block=block, stem=stem, num_classes=3)
    images = torch.randn(2, 3, 32, 32)
    model.train()(images).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.eval()
    with torch.no_grad():
        expected, (*_, last) = model(images), model.forward_intermediates(images, intermediates_only=True)
        torch.testing.assert_close(torch.jit.script(model)(images), expected)
        torch.testing.assert_close(torch.fx.symbolic_trace(model)(images), expected)
        final, _ = model.forward_intermediates(images, indices=[2], stop_early=True)
        torch.testing.assert_close(final, model.forward_features(images))
        for prune_norm, prune_head in ((False, False), (True, False), (False, True)):
            pruned = copy.deepcopy(model)
            assert pruned.prune_intermediate_layers([2], prune_norm, prune_head) == [2]
            torch.testing.assert_close(pruned.forward_intermediates(images, [2], intermediates_only=True)[0], last)
            assert all(not module.training for module in pruned.modules())


def run_onnx(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return torch.from_numpy(logits)


def export_in_two_files(model, file, **options):
    """timm's ``onnx_export`` with the weights in a file beside, as those of more than 2 GB are."""
    onnx_export(model, file, **options)
    beside = f"{Path(file).name}.data"
    onnx.save_model(onnx.load(file), file, save_as_external_data=True, location=beside)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # torch 2.5 exports by tracing
@pytest.mark.parametrize("label", ["regnet", "rexnet_lite"])
def test_onnx_with_any_batch_size(label, tmp_path):
    model, images = build(*MODELS[label]), torch.randn(5, 3, 64, 64)
    assert export_onnx(model, tmp_path / "model.onnx", 64) < 1e-3
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    with torch.no_grad():
        torch.testing.assert_close(run_onnx(tmp_path / "model.onnx", images), model(images), rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_the_command_exports_a_scaled_model_in_two_files(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("timm_regnet_ds.training.export.onnx_export", export_in_two_files)
    path, kwargs = tmp_path / "scaled.onnx", ["base=test_resnet", "factor=0.5", "num_classes=3"]
    assert main(["export", "scaled", str(path), "--model-kwargs", *kwargs, "--img-size", "32"]) == 0
    assert "written and checked" in capsys.readouterr().out
    assert sorted(file.name for file in tmp_path.iterdir()) == ["scaled.onnx", "scaled.onnx.data"]
    assert run_onnx(path, torch.randn(5, 3, 32, 32)).shape == (5, 3)


@pytest.mark.parametrize("option", ["--no-ema", "--trust"])
def test_options_of_a_checkpoint_go_with_one(option, tmp_path, capsys):
    assert main(["export", "test_resnet", str(tmp_path / "model.onnx"), option]) == 2
    assert capsys.readouterr().err == "timm-regnet-ds: --no-ema and --trust go with --checkpoint\n"


def test_an_export_to_a_full_disk_is_one_line(tmp_path, capsys, monkeypatch):
    def fail(model, file, **options):
        Path(file).write_bytes(b"begun")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("timm_regnet_ds.training.export.onnx_export", fail)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")
    assert main(["export", "test_resnet", str(path)]) == 2
    assert capsys.readouterr().err == f"timm-regnet-ds: {path} was not written: No space left on device\n"
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("model.onnx", b"before")]


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_cuda(model_and_images, dtype):
    model, images = model_and_images
    with torch.no_grad():
        expected = model(images)
        logits = model.to("cuda", dtype)(images.to("cuda", dtype))
    model.to("cpu", torch.float32)
    tolerance = 1e-2 if dtype == torch.float32 else 0.2
    torch.testing.assert_close(logits.float().cpu(), expected, rtol=tolerance, atol=tolerance)
