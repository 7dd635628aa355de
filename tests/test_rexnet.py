"""ReXNet, ReXNet (plain) and ReXNet-lite: the paper's Tables 5, A1 and A2, the blocks, timm's contract, errors."""

import copy
from itertools import pairwise

import pytest
import timm
import torch
from timm.layers import SEModule
from timm.models import model_entrypoint
from timm.models.rexnet import RexNet
from torch import nn
from torch.nn.functional import pad

from timm_regnet_ds.models import rexnet, rexnet_lite, rexnet_plain
from timm_regnet_ds.models._blocks import InvertedBottleneck
from timm_regnet_ds.models._staged import dilated_strides
from timm_regnet_ds.models.rexnet_lite import RexNetLiteCfg

OURS = [*rexnet.MODELS, *rexnet_plain.MODELS, *rexnet_lite.MODELS]
SMALL = ["rexnet_plain", "rexnet_lite_100"]


def blocks_of(model: nn.Module) -> list[nn.Module]:
    return [block for i in range(1, 6) for block in getattr(model, f"s{i}").children()]


def test_registered() -> None:
    assert set(OURS) <= set(timm.list_models())
    for name in ("rexnet_100", "rexnet_130", "rexnet_150", "rexnet_200", "rexnet_300"):
        assert model_entrypoint(name).__module__ == "timm.models.rexnet"


@pytest.mark.parametrize("name", OURS)
def test_pretrained_cfg(name: str) -> None:
    cfg = timm.get_pretrained_cfg(name)
    assert cfg.input_size == (3, 224, 224)
    assert cfg.pool_size == (7, 7)


# ------------------------------------------------------------------------------------------------------- the designs


def test_plain_widths_are_linear() -> None:
    widths = rexnet_plain.MODELS["rexnet_plain"].widths
    *linear, last = widths
    assert [b - a for a, b in pairwise(linear)] == [48] * 11
    assert (len(widths), linear[0], linear[-1], last) == (13, 96, 624, 1024)
    assert all(width % 8 == 0 for width in widths)


def test_plain_structure() -> None:
    model = timm.create_model("rexnet_plain", device="meta")
    assert isinstance(model.stem.bn.act, nn.ReLU)
    for block in blocks_of(model):
        assert isinstance(block.conv_dw.bn.act, nn.ReLU)
        assert isinstance(block.conv_pw.bn.act, nn.SiLU)
    assert not [m for m in model.modules() if isinstance(m, SEModule)]


@pytest.mark.parametrize("cfg", rexnet_lite.MODELS.values(), ids=list(rexnet_lite.MODELS))
def test_lite_widths_are_linear(cfg: RexNetLiteCfg) -> None:
    for i, width in enumerate(cfg.widths):
        linear = round((16 + i * 164 / 15) * cfg.width_mult)
        nearest = int(linear / 8 + 0.5) * 8
        assert width == (nearest if nearest >= 0.9 * linear else nearest + 8)  # as MobileNets round


def test_lite_structure() -> None:
    model = timm.create_model("rexnet_lite_100", device="meta")
    acts = [m for m in model.modules() if isinstance(m, (nn.ReLU, nn.ReLU6, nn.SiLU))]
    # Stem, first block, two in each of the others, penultimate and hidden layer; none after a projection.
    assert all(isinstance(act, nn.ReLU6) for act in acts)
    assert len(acts) == 1 + 1 + 2 * 15 + 1 + 1
    assert not [m for m in model.modules() if isinstance(m, SEModule)]
    assert isinstance(blocks_of(model)[0].conv_exp, nn.Identity)
    assert model.head.hidden.conv.bias is not None
    assert (model.num_features, model.head_hidden_size, model.head.drop.p) == (1280, 1024, 0.2)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_lite_shortcuts(output_stride: int) -> None:
    """Every block but the downsampling ones (B.1) and the first, which narrows; dilation changes nothing here."""
    model = timm.create_model("rexnet_lite_100", device="meta", output_stride=output_stride)
    assert [i for i, block in enumerate(blocks_of(model)) if not block.shortcut] == [0, 1, 3, 5, 11]


@pytest.mark.parametrize("out_chs", [8, 12])
def test_lite_block_pads_the_shortcut(out_chs: int) -> None:
    block = InvertedBottleneck(8, out_chs).eval()
    without = copy.deepcopy(block)
    without.shortcut = False
    x = torch.randn(2, 8, 5, 7)
    torch.testing.assert_close(block(x) - without(x), pad(x, (0, 0, 0, 0, 0, out_chs - 8)))
    nn.init.zeros_(block.conv_pwl.bn.weight)
    torch.testing.assert_close(block(x)[:, :8], x)
    assert not block(x)[:, 8:].any()


def test_lite_drop_path_grows_linearly() -> None:
    model = timm.create_model("rexnet_lite_100", device="meta", drop_path_rate=0.3)
    rates = {i: getattr(block.drop_path, "drop_prob", 0.0) for i, block in enumerate(blocks_of(model))}
    assert rates == {
        i: pytest.approx(0.3 * i / 15) if block.shortcut else 0.0 for i, block in enumerate(blocks_of(model))
    }


def test_strides_beyond_the_output_stride_become_dilation() -> None:
    assert dilated_strides((1, 2, 2), 2, None) == [(1, 1, 1), (2, 1, 1), (2, 1, 1)]
    assert dilated_strides((2, 2, 2), 2, 8) == [(2, 1, 1), (2, 1, 1), (1, 1, 2)]
    assert dilated_strides((2, 2, 2, 2), 2, 8) == [(2, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4)]


def test_generator() -> None:
    model = timm.create_model("rexnet", device="meta", width_mult=0.5, depth_mult=2.0)
    assert isinstance(model, RexNet)
    assert len(model.features) == 32 + 1  # twice the 16 blocks, and the penultimate layer
    # Halved, from 16 where the ends are kept: timm divides the first width by the multiplier again.
    assert [model.features[i].out_channels for i in (0, 16, 31)] == [16, 61, 103]


# ------------------------------------------------------------------------------------------------------ the contract


@pytest.mark.parametrize("name", [*SMALL, "rexnet_090"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_output_stride(name: str, output_stride: int) -> None:
    model = timm.create_model(name, features_only=True, output_stride=output_stride, device="meta").eval()
    reductions = [min(r, output_stride) for r in (2, 4, 8, 16, 32)]
    assert model.feature_info.reduction() == reductions
    maps = model(torch.empty(1, 3, 64, 96, device="meta"))
    assert [tuple(m.shape[-2:]) for m in maps] == [(64 // r, 96 // r) for r in reductions]
    assert [m.shape[1] for m in maps] == model.feature_info.channels()


@pytest.mark.parametrize("name", SMALL)
def test_dilation_replaces_stride(name: str) -> None:
    """At output stride 8 every fourth position holds what the network of output stride 32 computes."""
    model = timm.create_model(name, dtype=torch.float64).eval()
    dilated = timm.create_model(name, dtype=torch.float64, output_stride=8).eval()
    dilated.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected, actual = model.forward_features(x), dilated.forward_features(x)
    assert expected.std() > 1e-4
    torch.testing.assert_close(actual[:, :, ::4, ::4], expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("name", SMALL)
def test_head(name: str) -> None:
    model = timm.create_model(name, num_classes=7).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = model.forward_features(x)
        pre_logits = model.forward_head(features, pre_logits=True)
        assert pre_logits.shape == (2, model.head_hidden_size)
        torch.testing.assert_close(model.get_classifier()(pre_logits), model(x))
        model.reset_classifier(0)
        # The hidden layer is not part of the classifier.
        torch.testing.assert_close(model(x), pre_logits)
        model.reset_classifier(3, "")
        assert model(x).shape == (2, 3, 2, 2)
    assert timm.create_model(name, num_classes=3, global_pool="catavgmax").eval()(x).shape == (2, 3)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("training", [True, False])
def test_reset_keeps_device_dtype_and_mode(name: str, training: bool) -> None:
    model = timm.create_model(name, device="meta", dtype=torch.float64).train(training)
    model.reset_classifier(5, "max")
    assert all(p.device.type == "meta" and p.dtype == torch.float64 for p in model.parameters())
    assert all(module.training == training for module in model.modules())


@pytest.mark.parametrize("name", SMALL)
def test_prune(name: str) -> None:
    model = timm.create_model(name).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = model.forward_intermediates(x, intermediates_only=True)
        kept = copy.deepcopy(model)
        kept.prune_intermediate_layers([4], prune_head=False)
        torch.testing.assert_close(kept(x), model(x))
        for i, expected in enumerate(maps):
            pruned = copy.deepcopy(model)
            assert pruned.prune_intermediate_layers([i]) == [i]
            torch.testing.assert_close(pruned.forward_features(x), expected)
            pruned.reset_classifier(3, "avg")
            assert pruned(x).shape == (2, 3)
            assert all(not module.training for module in pruned.modules())


@pytest.mark.parametrize("name", SMALL)
def test_grad_checkpointing(name: str) -> None:
    model = timm.create_model(name, drop_rate=0.0).train()
    again = copy.deepcopy(model)
    again.set_grad_checkpointing()
    x = torch.randn(4, 3, 64, 64)
    for net in (model, again):
        net(x).square().mean().backward()
    for p, q in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


# -------------------------------------------------------------------------------------------------------- bad inputs


@pytest.mark.parametrize("argument", ["width_mult", "depth_mult"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "big"])
def test_bad_multiplier(argument: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{argument}.*above 0.*{value!r}"):
        timm.create_model("rexnet", device="meta", **{argument: value})


def test_bad_lite_cfg() -> None:
    with pytest.raises(ValueError, match=r"width_mult.*above 0"):
        RexNetLiteCfg(width_mult=-1.0)


@pytest.mark.parametrize("name", [*SMALL, "rexnet_090"])
def test_bad_arguments(name: str) -> None:
    with pytest.raises(ValueError, match=r"output_stride 7 is not possible here; allowed: .*8, 16, 32"):
        timm.create_model(name, device="meta", output_stride=7)
    with pytest.raises(ValueError, match=r"unknown global_pool 'mean'.*allowed: '', avg, max"):
        timm.create_model(name, device="meta", global_pool="mean")
    with pytest.raises(ValueError, match="5 feature maps"):
        timm.create_model(name, device="meta", features_only=True, out_indices=(5,))
    with pytest.raises(TypeError, match="not_an_argument"):
        timm.create_model(name, device="meta", not_an_argument=1)


def test_plain_has_no_path_to_drop() -> None:
    with pytest.warns(UserWarning, match=r"has no shortcuts, so drop_path_rate=0\.1 has no effect"):
        model = timm.create_model("rexnet_plain", device="meta", drop_path_rate=0.1)
    assert isinstance(model.s1.b1.conv_pw, torch.nn.Module)


def test_lite_pooling_of_another_width() -> None:
    model = timm.create_model("rexnet_lite_100", device="meta")
    with pytest.raises(ValueError, match=r"catavgmax.*another number of channels"):
        model.reset_classifier(5, "catavgmax")
