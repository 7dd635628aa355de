"""Inheriting at its edges: what is asked for wrongly, and operators that few models have."""

import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import pad

from timm_regnet_ds import scale
from timm_regnet_ds.common.state_shapes import describe_differences
from timm_regnet_ds.scaling import inheriting
from timm_regnet_ds.weights import inherit
from timm_regnet_ds.weights.verify import compare


class Cropped(nn.Module):
    """Padding of negative sizes cuts off a row, a column and some channels."""

    def __init__(self, width):
        super().__init__()
        self.one = nn.Conv2d(3, width, 3)
        self.cut = width // 4
        self.two = nn.Conv2d(width - self.cut, 5, 3)

    def forward(self, x):
        x = pad(self.one(x), (0, -1, -1, 0))
        return self.two(pad(x, (0, 0, 0, 0, -self.cut, 0)))


def test_padding_of_negative_sizes():
    base, grown = Cropped(8), Cropped(16)
    found = inherit(base, grown, input_size=(3, 12, 12))
    assert found.exact
    x = torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(grown(x), base(x), rtol=1e-4, atol=1e-5)


def test_models_that_return_different_numbers_of_tensors():
    x = torch.ones(1, 2)
    assert compare([x], [x, x], [None, None]) == float("inf")
    assert compare([x, x], [x, x], [None, None]) == 0


def test_without_policies_the_first_is_tried():
    base, grown = nn.Linear(4, 2), nn.Linear(4, 2)
    assert inherit(base, grown, input_size=(4,), policies=()).policy == "mixed"
    assert torch.equal(base.weight, grown.weight)


def test_pretrained_weights_that_do_not_load(monkeypatch):
    with pytest.raises(ValueError, match="inherit=True: regnetz_500mf has no pretrained weights to load"):
        scale("regnetz_500mf", 2.0, strategy="d").create(inherit=True)

    def fail(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr(inheriting, "create_model", fail)
    with pytest.raises(RuntimeError, match="not enough memory"):
        scale("regnetz_500mf", 2.0, strategy="d").create(inherit=True)


def test_exact_needs_inherit_also_for_a_saved_model():
    args = scale("test_resnet", 2.0, strategy="d").model_args()
    with pytest.raises(ValueError, match="exact=True goes with inherit="):
        timm.create_model("scaled", **args, exact=True)


@pytest.mark.parametrize("key", ["state_dict_ema", "model"])
def test_a_checkpoint_in_place_of_its_weights_is_refused(key):
    checkpoint = {"epoch": 3, key: timm.create_model("test_resnet").state_dict()}
    with pytest.raises(ValueError, match="not the weights of test_resnet: epoch is of type int, not a tensor"):
        scale("test_resnet", 2.0, strategy="d").create(inherit=checkpoint)


def test_how_two_state_dicts_differ():
    shapes = {"a": (1,), "b": (2,)}
    assert describe_differences(shapes, dict(shapes)) == ""
    assert describe_differences(shapes, {"b": (2,)}) == "1 key differs: a is not expected"
    wanted = {"a": (3,), **dict.fromkeys("cdefg", ())}
    assert describe_differences(shapes, wanted) == (
        "7 keys differ: a is (1,), not (3,); c, d, e and 2 more are missing; b is not expected"
    )
