"""Networks of cells: DARTS's own numbers, their shapes, and what a user gets wrong."""

import re

import pytest
import timm
import torch

import timm_regnet_ds as trd
from timm_regnet_ds.models.nas_cell import DARTS_NORMAL, CellNetCfg, unused_nodes

CHAIN = [[["conv_3x3", 0], ["none", 1]], [["conv_1x1", 2], ["skip_connect", 0]]]


def cifar(**fields):
    return timm.create_model("nas_cell", stem="cifar", num_classes=10, **fields)


def test_darts_has_the_size_that_its_paper_prints():
    # Tables 1 and 2 of DARTS: 3.3 M on CIFAR-10 (20 cells of width 36), 4.7 M on ImageNet (14 of 48).
    on_cifar, on_imagenet = trd.measure(cifar(width=36, depth=20)), trd.measure("nas_cell")
    assert (on_cifar.params, on_cifar.input_size) == (3_349_342, (3, 32, 32))
    assert (on_imagenet.params, on_imagenet.input_size) == (4_718_752, (3, 224, 224))


@pytest.mark.parametrize("depth", [3, 4, 8, 12, 16, 20])
def test_resolution_halves_and_width_doubles_at_a_third_and_two_thirds(depth):
    cfg = CellNetCfg(depth=depth, stem="cifar", width=16)
    widths = [cell.width for cell in cfg.cells()]
    assert [i for i, cell in enumerate(cfg.cells()) if cell.reduces] == [depth // 3, 2 * depth // 3]
    assert widths == sorted(widths)
    assert set(widths) == {16, 32, 64}
    model = cifar(width=16, depth=depth, features_only=True).eval()
    assert [tuple(x.shape) for x in model(torch.randn(1, 3, 32, 32))] == [
        (1, 64, 32, 32),
        (1, 128, 16, 16),
        (1, 256, 8, 8),
    ]


def test_unused_nodes_are_no_input_of_another_node():
    assert unused_nodes(CellNetCfg(normal=CHAIN).normal) == (3,)
    assert unused_nodes(DARTS_NORMAL) == (3, 4, 5)
    narrow, wide = (cifar(normal=CHAIN, reduction=CHAIN, width=8, depth=4, concat=c) for c in ("loose", "all"))
    assert (narrow.num_features, wide.num_features) == (32, 64)


def test_every_operation_keeps_its_shape_and_halves_it():
    from timm_regnet_ds.models._cell_ops import OPS

    for name in OPS:
        cell = [[[name, 0], [name, 1]]]
        model = cifar(normal=cell, reduction=cell, width=8, depth=4).eval()
        assert model.forward_features(torch.randn(1, 3, 15, 18)).shape == (1, 32, 4, 5), name


def test_a_cell_computes_what_its_genotype_says():
    cell = [[["skip_connect", 0], ["none", 1]], [["max_pool_3x3", 2], ["skip_connect", 1]]]
    model = cifar(normal=cell, reduction=cell, width=8, depth=4).eval()
    first = model.s1.b1
    older, newer = torch.randn(2, 1, 24, 9, 9)
    a, b = first.fit_older(older), first.fit_newer(newer)
    expected = torch.cat([a, torch.nn.functional.max_pool2d(a, 3, 1, 1) + b], 1)
    torch.testing.assert_close(first(older, newer), expected)


def test_checkpointing_changes_no_gradient():
    x = torch.randn(2, 3, 16, 16)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = cifar(width=8, depth=4)
        model.set_grad_checkpointing(checkpointing)
        model(x).square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*gradients)


def test_dropped_paths_are_dropped_in_training_only():
    model = cifar(width=8, depth=4, drop_path_rate=0.5)
    x = torch.randn(4, 3, 16, 16)
    assert not torch.equal(model(x), model(x))
    model.eval()
    torch.testing.assert_close(model(x), model(x))


def test_the_classifier_can_be_replaced():
    model = cifar(width=8, depth=4, drop_rate=0.3)
    model.reset_classifier(7, "max")
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 7)
    model.reset_classifier(0)
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, model.num_features) == (2, 128)


def test_torchscript_and_fx_compute_the_same():
    model, images = cifar(width=8, depth=4).eval(), torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(torch.jit.script(model)(images), expected)
        torch.testing.assert_close(torch.fx.symbolic_trace(model)(images), expected)


def test_it_scales_to_a_target():
    scaled = trd.scale("nas_cell", to="1gf", strategy="dw")
    assert abs(scaled.complexity.flops / 1e9 - 1) < 0.1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"normal": [[["sep_conv3x3", 0], ["none", 1]]]},
            "unknown operation of normal, node 0 'sep_conv3x3'; did you mean",
        ),
        ({"reduction": [[["none", 0], ["none", 2]]]}, "reduction, node 0 has inputs 0 to 1, not 2"),
        ({"normal": [["none", 0]]}, "normal, node 0 must be"),
        ({"normal": []}, "normal must be a list of nodes"),
        ({"width": 15}, "width must be even, not 15"),
        ({"depth": 2}, "depth must be a whole number of at least 3, not 2"),
        ({"concat": "every"}, "unknown concat 'every'"),
        ({"output_stride": 4}, "output_stride 4 is not possible here; allowed: [8, 16, 32]"),
        ({"stem": "cifar10"}, "unknown stem 'cifar10'; did you mean 'cifar'"),
    ],
)
def test_errors_name_the_invalid_value(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        timm.create_model("nas_cell", **fields)


def test_an_image_too_small_is_refused():
    model = cifar(width=8, depth=4).eval()
    assert model(torch.randn(1, 3, 3, 3)).shape == (1, 10)
    with pytest.raises(ValueError, match="its sides must be at least 3"):
        model(torch.randn(1, 3, 2, 2))


@pytest.mark.parametrize(("output_stride", "reductions"), [(8, [8, 8, 8]), (16, [8, 16, 16]), (32, [8, 16, 32])])
def test_strides_become_dilation_and_weights_stay(output_stride, reductions):
    plain = timm.create_model("nas_cell", width=8, depth=6, num_classes=3)
    model = timm.create_model("nas_cell", width=8, depth=6, num_classes=3, output_stride=output_stride).eval()
    model.load_state_dict(plain.state_dict())
    maps = model.forward_intermediates(torch.randn(1, 3, 64, 64), intermediates_only=True)
    assert [64 // x.shape[-1] for x in maps] == reductions == [info["reduction"] for info in model.feature_info]
    torch.jit.script(model)


def test_untrained_features_keep_the_scale_of_the_images():
    for fields in ({"stem": "cifar", "depth": 20, "width": 12}, {"depth": 14, "width": 12}):
        model = timm.create_model("nas_cell", **fields).eval()
        with torch.no_grad():
            features = model.forward_features(torch.randn(2, 3, 64, 64))
        assert 0.05 < features.std() < 20
