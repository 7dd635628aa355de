"""AnyNet: timm's weights fit it, its blocks are the papers', wrong configurations are refused."""

import re
from functools import partial

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import GroupNormAct
from torch import nn

from timm_regnet_ds import AnyNet, AnyNetCfg

TIMM_REGNETS = timm.list_models(["regnetx_[0-9][0-9][0-9]*", "regnety_[0-9][0-9][0-9]*"], module="regnet")
TIMM_REGNETS = [name for name in TIMM_REGNETS if not name.endswith(("mf", "gf"))]

# Layers that the shapes of the weights do not tell.
OTHER_LAYERS = {"regnety_040_sgn": {"act_layer": "silu", "norm_layer": partial(GroupNormAct, group_size=16)}}


def cfg_of(regnet: nn.Module, **layers: object) -> AnyNetCfg:
    """The AnyNet that a RegNet of timm is, read off its layers."""
    stages = [getattr(regnet, f"s{i}") for i in (1, 2, 3, 4)]
    convs = [stage.b1.conv2.conv for stage in stages]
    has_se = any("se.fc1" in name for name, _ in regnet.named_parameters())
    return AnyNetCfg(
        depths=[len(list(stage.children())) for stage in stages],
        widths=[stage.b1.conv3.conv.out_channels for stage in stages],
        bottle_ratios=[stage.b1.conv1.conv.out_channels / stage.b1.conv3.conv.out_channels for stage in stages],
        group_widths=[conv.in_channels // conv.groups for conv in convs],
        block="y" if has_se else "x",
        **layers,
    )


def fill(module: nn.Module) -> None:
    """Set weights that keep activations of order one; a real initialization of the largest models takes a minute."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        pattern = torch.linspace(-1, 1, 1009).repeat(-(-tensor.numel() // 1009))[: tensor.numel()].view(tensor.shape)
        if tensor.ndim > 1:
            tensor.data = pattern / tensor[0].numel() ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            tensor.data = pattern * 0.1 + 1
        elif tensor.is_floating_point():
            tensor.data = pattern * 0.1


def test_all_of_timms_regnets_are_found():
    assert {"regnetx_002", "regnetx_004_tv", "regnety_320", "regnety_2560", "regnety_040_sgn"} <= set(TIMM_REGNETS)
    assert len(TIMM_REGNETS) >= 29


@pytest.mark.parametrize("name", TIMM_REGNETS)
def test_timms_weights_give_timms_logits(name):
    """Of the three largest, whose weights take up to 5 GB, keys and shapes alone are compared.

    They differ from regnety_320 in numbers only, and regnety_320's logits are compared here.
    """
    theirs = timm.create_model(name, device="meta").eval()
    ours = AnyNet(cfg_of(theirs, **OTHER_LAYERS.get(name, {})), device="meta").eval()
    if sum(parameter.numel() for parameter in theirs.parameters()) > 200e6:
        ours.load_state_dict(theirs.state_dict(), assign=True)
        return
    theirs.to_empty(device="cpu")
    fill(theirs)
    ours.load_state_dict(theirs.state_dict(), assign=True)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        logits = ours(images)
        assert torch.equal(logits, theirs(images))
    assert logits.std() > 1e-6


@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_is_timms(output_stride):
    theirs = timm.create_model("regnety_002", output_stride=output_stride).eval()
    ours = timm.create_model("regnety_200mf", output_stride=output_stride).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 64, 64)
    assert ours.forward_features(images).shape[-1] == 64 // output_stride
    assert torch.equal(ours(images), theirs(images))


@pytest.mark.parametrize("block", ["x", "y", "z", "vanilla", "basic"])
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_any_number_of_stages(block, stem):
    for stages in (1, 3, 5):
        model = timm.create_model(
            "anynet", depths=[1] * stages, widths=[8 * (i + 1) for i in range(stages)], block=block, stem=stem
        ).eval()
        side = 32 if stem == "cifar" else 64
        assert model(torch.randn(1, 3, side, side)).shape == (1, 1000)
        stem_reduction = 2 if stem == "imagenet" else 1
        expected = [stem_reduction * 2**i for i in range(stages + 1)]
        assert [info["reduction"] for info in model.feature_info] == expected
        features = timm.create_model(
            "anynet", depths=[1] * stages, widths=[8] * stages, block=block, stem=stem, features_only=True
        )
        maps = features(torch.randn(2, 3, side, side))
        assert [m.shape[-1] for m in maps] == [side // reduction for reduction in expected]


def shortcuts(model: nn.Module) -> list[str]:
    kinds = {nn.Identity: "identity", type(None): "none"}
    return [kinds.get(type(block.downsample), "projection") for block in model.s1.children()]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("x", ["projection", "identity"]),
        ("y", ["projection", "identity"]),
        ("z", ["none", "identity"]),
        ("basic", ["projection", "identity"]),
        ("vanilla", ["none", "none"]),
    ],
)
def test_shortcuts(block, expected):
    assert shortcuts(AnyNet(AnyNetCfg([2], [8], block=block, stem_width=8))) == expected
    # A block that changes neither width nor resolution needs no projection.
    kept = AnyNet(AnyNetCfg([2], [8], strides=1, block=block, stem_width=8))
    assert shortcuts(kept) == [expected[1]] * 2


def test_z_block_is_inverted_and_linear():
    block = AnyNet(AnyNetCfg([1], [16], block="z", group_widths=8)).s1.b1
    assert block.conv2.conv.in_channels == 64
    assert block.conv2.conv.groups == 8
    assert block.se.fc1.out_channels == 32 // 4
    assert isinstance(block.act3, nn.Identity)
    assert isinstance(block.conv1.bn.act, nn.SiLU)


def test_fresh_residual_blocks_pass_their_input_on():
    model = AnyNet(AnyNetCfg([2], [8], block="z")).eval()
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(model.s1.b2(x), x)
    # The first Z block has no shortcut: with zeros in its last norm it would output zeros.
    assert model.s1.b1(torch.randn(1, 32, 8, 8)).abs().sum() > 0


def test_head_width_is_a_convolution_before_the_pooling():
    model = AnyNet(AnyNetCfg([1], [8], head_width=24))
    assert model.final_conv.conv.weight.shape == (24, 8, 1, 1)
    assert model.forward_features(torch.randn(1, 3, 32, 32)).shape == (1, 24, 8, 8)
    assert model.head.fc.in_features == model.num_features == 24


def test_device_and_dtype_survive_a_new_classifier():
    model = timm.create_model("regnetx_200mf", device="meta", dtype=torch.bfloat16)
    model.reset_classifier(7, "max")
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("meta", torch.bfloat16)}
    assert model.head.global_pool.pool_type == "max"
    assert model.get_classifier().out_features == model.num_classes == 7


def test_gradient_checkpointing_changes_no_gradient():
    def gradients(enable: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = AnyNet(AnyNetCfg([2, 2], [8, 16], block="z", head_width=8), num_classes=3)
        model.set_grad_checkpointing(enable)
        model(torch.ones(2, 3, 32, 32)).square().sum().backward()
        return [p.grad for p in model.parameters()]

    for plain, checkpointed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(plain, checkpointed)


@settings(max_examples=30, deadline=None)
@given(
    depths=st.lists(st.integers(1, 3), min_size=1, max_size=5),
    width=st.integers(1, 4),
    ratio=st.sampled_from([0.25, 0.5, 1, 2, 4]),
    group_width=st.sampled_from([1, 2]),
    block=st.sampled_from(["x", "y", "z"]),
)
def test_any_valid_configuration_runs(depths, width, ratio, group_width, block):
    cfg = AnyNetCfg(depths, [8 * width] * len(depths), 2, ratio, group_width, block)
    model = AnyNet(cfg, num_classes=5, device="meta").eval()
    assert model(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 5)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert {m.in_channels // m.groups for m in convs[1:]} == {group_width}
    assert len(convs) == 1 + sum(depths)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"block": "q"}, "unknown block 'q' (allowed: x, y, z, vanilla, basic)"),
        ({"block": "vanila"}, "did you mean 'vanilla'?"),
        ({"stem": "imagnet"}, "did you mean 'imagenet'?"),
        ({"depths": (), "widths": ()}, "depths must have at least one stage"),
        ({"act_layer": "relux"}, "timm has no act_layer 'relux'"),
        ({"norm_layer": "bnorm"}, "timm has no norm_layer 'bnorm'"),
        ({"global_pool": "mean"}, "unknown global_pool 'mean'"),
        ({"num_classes": -1}, "num_classes must be a whole number of at least 0, not -1"),
        ({"in_chans": 0}, "in_chans must be a whole number of at least 1, not 0"),
        ({"drop_path_rate": 2.0}, "drop_path_rate must be a finite number at least 0 and at most 1, not 2.0"),
        ({"depths": (1, 0, 4, 7)}, "depths must be a whole number of at least 1, not 0"),
        ({"depths": (1, -1, 4, 7)}, "not -1"),
        ({"widths": (24, 56, 152, 0)}, "widths must be a whole number from 1 to 16777216, not 0"),
        ({"widths": (24, 56)}, "widths has 2 values for 4 stages"),
        ({"widths": (24.5, 56, 152, 368)}, "not 24.5"),
        ({"strides": 0}, "strides must be a whole number from 1 to 16777216, not 0"),
        (
            {"group_widths": 5},
            "group width 5 does not divide the 24 channels inside the blocks of stage 1; allowed: 1, 2",
        ),
        ({"bottle_ratios": 0}, "bottle_ratios must be a finite number above 0 and at most 1000, not 0"),
        ({"bottle_ratios": float("nan")}, "not nan"),
        ({"stem_width": 0}, "stem_width"),
        ({"head_width": -1}, "head_width"),
        ({"se_ratio": -0.5}, "se_ratio"),
        ({"block": "vanilla", "group_widths": 8}, "block 'vanilla' has no bottleneck and so takes no group_widths"),
        ({"block": "vanilla", "drop_path_rate": 0.1}, "block 'vanilla' has no shortcut to drop"),
        ({"output_stride": 7}, "output_stride 7 is not possible here; allowed: [2, 4, 8, 16, 32]"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        timm.create_model("anynet", **arguments)


@pytest.mark.parametrize("out_indices", [(0, 5), (-6,), 6, 0, (), "abc", (0.5,)])
def test_feature_maps_that_do_not_exist_are_refused(out_indices):
    with pytest.raises(ValueError, match="anynet has 5 feature maps, numbered 0 to 4"):
        timm.create_model("anynet", features_only=True, out_indices=out_indices)


@pytest.mark.parametrize("name", ["anynet", "regnetz_500mf", "rexnet_plain", "rexnet_lite_100"])
def test_an_image_too_small_for_the_strides_is_refused(name):
    model = timm.create_model(name, device="meta").eval()
    features = timm.create_model(name, device="meta", features_only=True).eval()
    fits, too_small = torch.empty(1, 3, 17, 40, device="meta"), torch.empty(1, 3, 16, 40, device="meta")
    assert model(fits).shape == (1, 1000)
    assert features(fits)[-1].shape[-2:] == (1, 2)
    for run in (model, model.forward_intermediates, features):
        with pytest.raises(ValueError, match="too small for the strides: its sides must be at least 17"):
            run(too_small)
    # The first maps need less.
    first = timm.create_model(name, device="meta", features_only=True, out_indices=(0,)).eval()
    assert first(torch.empty(1, 3, 2, 2, device="meta"))[0].shape[-2:] == (1, 1)


def test_an_unknown_argument_is_a_type_error():
    with pytest.raises(TypeError, match="not_an_argument"):
        timm.create_model("anynet", not_an_argument=1)
