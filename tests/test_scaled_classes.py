"""A model of each of timm's classes, scaled by 2: it runs, learns, saves, loads, and has the features of its base."""

from functools import partial

import class_models
import pytest
import timm
import torch

import timm_regnet_ds as trd
from timm_regnet_ds.complexity import build_without_weights

CLASSES = class_models.cheapest()


def total(output):
    """A sum over whatever a model returns."""
    if isinstance(output, torch.Tensor):
        return output.float().mean()
    return sum(total(part) for part in output)


@pytest.fixture(scope="module", params=CLASSES.values(), ids=CLASSES)
def scaled(request):
    """A scaled model before it is built."""
    return class_models.scaled(request.param)


def test_a_scaled_model_is_a_working_model_of_its_class(scaled):
    """`load_state_dict` of its own state stands for saving, which the next test does for models of several kinds."""
    assert scaled.growth.flops == pytest.approx(2, rel=0.25)
    arguments = {"num_classes": 5} if _classifies(scaled.base) else {}
    model = scaled.create(**arguments)
    assert type(model) is scaled.model_cls
    loss = total(model.train()(torch.randn(2, *scaled.input_size)))
    loss.backward()
    assert torch.isfinite(loss)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(grad).all() for grad in gradients)
    again = build_without_weights(partial(scaled.create, **arguments))
    again.load_state_dict(model.state_dict(), assign=True)


@pytest.mark.parametrize(
    "name", ["ResNet", "EfficientNet", "ConvNeXt", "VisionTransformer", "SwinTransformer", "MlpMixer"]
)
def test_a_scaled_model_comes_back_from_a_file(name, tmp_path):
    s = class_models.scaled(CLASSES[name])
    model, images = s.create(num_classes=5), torch.randn(2, *s.input_size)
    model.train()(images)  # It changes the running statistics of norms.
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    again = s.create(num_classes=5)
    again.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    with torch.no_grad():
        assert torch.equal(again.eval()(images), model.eval()(images))


def test_features_have_the_reductions_of_the_base(scaled):
    try:
        arguments = class_models.base_args(scaled.base)
        base = build_without_weights(partial(timm.create_model, scaled.base, features_only=True, **arguments))
    except Exception as error:
        pytest.skip(f"{scaled.base} has no features_only: {str(error)[:60]}")
    model, maps = shapes_of_features(partial(scaled.create, features_only=True), scaled.input_size)
    assert model.feature_info.reduction() == base.feature_info.reduction()
    for channels, shape in zip(model.feature_info.channels(), maps, strict=True):
        assert channels in shape


def shapes_of_features(make, input_size):
    """A model and the shapes of its maps; computed without values, unless the model looks at them."""
    with torch.no_grad():
        try:
            model = build_without_weights(make).eval()
            return model, [x.shape for x in model(torch.empty(1, *input_size, device="meta"))]
        except (NotImplementedError, RuntimeError):
            model = make().eval()
            return model, [x.shape for x in model(torch.randn(1, *input_size))]


def _classifies(architecture: str) -> bool:
    return "num_classes" in timm.get_pretrained_cfg(architecture).to_dict() and not architecture.endswith("_enc")


def test_the_coverage_that_is_promised():
    rows = class_models.rows()
    whole = [row for row in rows if row["d"] == row["w"] == row["r"] == "1"]
    if timm.__version__ == "1.0.31":
        assert len(rows) == 1371
        assert len(whole) >= 1360
    for column, factor in (("x2", 2), ("x4", 4)):
        ratios = [float(row[column]) / factor for row in whole]
        assert sum(abs(ratio - 1) <= 0.1 for ratio in ratios) >= 0.95 * len(whole)
        assert all(abs(ratio - 1) <= 0.25 for ratio in ratios)
    twice = [abs(float(row["to_2x"]) / 2 - 1) for row in whole if row["to_2x"]]
    assert sum(off <= 0.03 for off in twice) >= 0.95 * len(whole)


@pytest.mark.parametrize("row", class_models.rows()[::137], ids=lambda row: row["architecture"])
def test_the_coverage_is_what_comes_out(row):
    """A sample, so that the table is the code's."""
    if not timm.is_model(row["architecture"]) or not row["x4"]:
        pytest.skip("not in this timm, or does not scale")
    s = trd.scale(row["architecture"], 4)
    assert s.growth.flops == pytest.approx(float(row["x4"]), rel=1e-3)
