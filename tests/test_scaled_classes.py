"""A model of each of timm's classes, scaled by 2: it runs, learns, saves, loads, and has the features of its base."""

import class_models
import pytest
import timm
import torch

import timm_regnet_ds as trd

CLASSES = class_models.cheapest()


def total(output):
    """A sum over whatever a model returns."""
    if isinstance(output, torch.Tensor):
        return output.float().mean()
    return sum(total(part) for part in output)


@pytest.mark.parametrize("architecture", CLASSES.values(), ids=CLASSES)
def test_a_scaled_model_is_a_working_model_of_its_class(architecture):
    s = class_models.scaled(architecture)
    assert s.growth.flops == pytest.approx(class_models.factor_of(architecture), rel=0.25)
    arguments = {"num_classes": 5} if _classifies(architecture) else {}
    model = s.create(**arguments)
    assert type(model) is s.model_cls
    loss = total(model.train()(torch.randn(2, *s.input_size)))
    loss.backward()
    assert torch.isfinite(loss)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(grad).all() for grad in gradients)
    again = on_meta(lambda: s.create(**arguments))
    again.load_state_dict(model.state_dict(), assign=True)


@pytest.mark.parametrize("architecture", CLASSES.values(), ids=CLASSES)
def test_features_have_the_reductions_of_the_base(architecture):
    s = class_models.scaled(architecture)
    try:
        arguments = class_models.base_args(architecture)
        base = on_meta(lambda: timm.create_model(architecture, features_only=True, **arguments))
    except Exception as error:
        pytest.skip(f"{architecture} has no features_only: {str(error)[:60]}")
    scaled = s.create(features_only=True)
    assert scaled.feature_info.reduction() == base.feature_info.reduction()
    with torch.no_grad():
        maps = scaled.eval()(torch.randn(1, *s.input_size))
    for channels, feature_map in zip(scaled.feature_info.channels(), maps, strict=True):
        assert channels in feature_map.shape


def on_meta(make):
    """A model without values, so that it is made quickly; with values if its constructor needs them."""
    try:
        with torch.device("meta"):
            return make()
    except (NotImplementedError, RuntimeError):
        return make()


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
