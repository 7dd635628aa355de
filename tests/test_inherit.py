"""Scaled models that start from their base's weights."""

import copy

import pytest
import timm
import torch
from timm.scheduler import CosineLRScheduler
from torch import nn

import timm_regnet_ds as trd
from timm_regnet_ds.weights import inherit
from timm_regnet_ds.weights.checks import check_finite

# Small models of families that differ in how channels meet.
SMALL = (
    *("test_resnet", "test_efficientnet", "test_convnext", "test_vit", "test_vit3", "test_nfnet", "test_byobnet"),
    *("regnetx_200mf", "regnety_200mf", "resnetv2_18", "ghostnet_050", "pit_ti_224"),
)


def perturbed(model, seed=0):
    """A base whose weights are those of no initialization, so that every layer counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            spread = 0.2 * p.std() if p.numel() > 1 and p.std() > 1e-4 else 0.05
            p.add_(torch.randn(p.shape, generator=generator) * spread)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.add_(torch.randn(module.running_mean.shape, generator=generator) * 0.1)
                module.running_var.mul_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return model.eval()


def base_and_scaled(name, factor, **how):
    torch.manual_seed(0)
    base = perturbed(timm.create_model(name, num_classes=5))
    return base, trd.scale(name, factor, base_args={"num_classes": 5}, **how)


@pytest.fixture
def vit():
    return base_and_scaled("test_vit", 4, strategy="w", inherit_exactly=True)


def available(name):
    return pytest.param(name, marks=pytest.mark.skipif(not timm.is_model(name), reason="not in this timm"))


@pytest.mark.parametrize("name", [available(name) for name in SMALL])
@pytest.mark.parametrize("strategy", ["d", "w"])
def test_a_grown_model_computes_what_its_base_computes(name, strategy):
    factor = 2 if strategy == "d" else 4
    base, s = base_and_scaled(name, factor, strategy=strategy, inherit_exactly=True)
    model = s.create(inherit=base, exact=True)
    assert model.inherited.exact
    assert not model.inherited.reasons
    x = torch.randn(2, *s.input_size)
    with torch.no_grad():
        expected, found = base(x), model.eval()(x)
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()


# Small models of this package, by the arguments of their families.
FAMILIES = {
    "rexnet": {"width_mult": 0.3},
    "rexnet_lite_100": {},
    "regnet": {"depth": 6, "w0": 16, "wa": 12.0, "wm": 2.2, "group_width": 4, "bottle_ratio": 4.0, "block": "z"},
}


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        *(("rexnet", strategy) for strategy in ("d", "dw")),
        *((name, strategy) for name in ("rexnet_lite_100", "regnet") for strategy in ("d", "w")),
    ],
)
def test_families_of_this_package(name, strategy):
    args = {"num_classes": 5} | FAMILIES[name]
    base = perturbed(timm.create_model(name, **args))
    s = trd.scale(name, 2 if strategy == "d" else 4, strategy=strategy, base_args=args, inherit_exactly=True)
    assert s.create(inherit=base, exact=True).inherited.exact


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        ("test_resnet", "w"),
        ("test_vit", "w"),
        ("test_convnext", "d"),
        ("test_efficientnet", "w"),
        ("test_byobnet", "d"),
    ],
)
def test_all_that_is_new_learns_within_two_steps(name, strategy):
    base, s = base_and_scaled(name, 4 if strategy == "w" else 2, strategy=strategy, inherit_exactly=True)
    model = s.create(inherit=base)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    reached = {key: torch.zeros(p.shape, dtype=torch.bool) for key, p in model.named_parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(torch.randn(4, *s.input_size)), torch.arange(4)).backward()
        for key, p in model.named_parameters():
            reached[key] |= p.grad != 0
        optimizer.step()
    for key in model.inherited.new:
        assert reached[key].any(), key
    for key, widened in model.inherited.widened.items():
        assert reached[key][widened.new_elements()].float().mean() > 0.5, key


def test_no_two_new_channels_stay_copies_of_each_other(vit):
    base, s = vit
    model = trd.scale("test_vit", 9, strategy="w", base_args={"num_classes": 5}, inherit_exactly=True).create(
        inherit=base
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(torch.randn(4, *s.input_size)), torch.arange(4)).backward()
        optimizer.step()
    for name in ("blocks.0.mlp.fc1.weight", "blocks.0.attn.proj.weight", "head.weight"):
        weight = model.get_parameter(name).detach()
        for matrix in (weight, weight.T):
            # By matrix products, the distances of rows that are near each other would round to zero.
            distances = torch.cdist(matrix, matrix, compute_mode="donot_use_mm_for_euclid_dist")
            distances += torch.eye(len(matrix)) * 1e9
            assert distances.min() > 0, name


def test_the_base_stays_as_it_is(vit):
    base, s = vit
    base.train()
    before = copy.deepcopy(base.state_dict())
    assert s.create(inherit=base).inherited.exact
    assert base.training
    assert all(torch.equal(value, before[key]) for key, value in base.state_dict().items())


def test_a_state_dict_serves_as_well(vit):
    base, s = vit
    torch.manual_seed(1)
    from_model = s.create(inherit=base)
    torch.manual_seed(1)
    from_state = s.create(inherit={"state_dict": base.state_dict()})
    for key, value in from_model.state_dict().items():
        assert torch.equal(value, from_state.state_dict()[key])


def test_the_classes_are_those_of_the_base():
    base = timm.create_model("test_resnet", num_classes=3).eval()
    model = trd.scale("test_resnet", 4, strategy="w", inherit_exactly=True).create(inherit=base)
    assert model.num_classes == 3
    assert model.inherited.exact


def test_another_number_of_classes_gives_a_fresh_head(vit):
    base, s = vit
    model = s.create(inherit=base, num_classes=7)
    assert model.inherited.exact
    assert {"head.weight", "head.bias"} <= set(model.inherited.new)
    x = torch.randn(1, *s.input_size)
    assert model.eval()(x).shape == (1, 7)


def test_positions_are_resampled_for_images_of_another_size():
    base, s = base_and_scaled("test_vit", 2, strategy="r")
    assert s.input_size[1] > 160
    model = s.create(inherit=base)
    assert model.inherited.exact
    assert model.pos_embed.shape != base.pos_embed.shape
    assert model(torch.randn(1, *s.input_size)).isfinite().all()


def test_tables_of_relative_positions_are_resampled():
    args = {"num_classes": 5, "depths": (1, 1, 1, 1), "embed_dim": 24}
    base = perturbed(timm.create_model("swin_tiny_patch4_window7_224", **args))
    s = trd.scale("swin_tiny_patch4_window7_224", 2, strategy="r", base_args=args)
    model = s.create(inherit=base)
    assert model.inherited.exact
    table = "layers.0.blocks.0.attn.relative_position_bias_table"
    assert len(model.get_parameter(table)) > len(base.get_parameter(table))
    assert model(torch.randn(1, *s.input_size)).isfinite().all()
    levit = timm.create_model("levit_128s")  # timm does not resample these tables
    with pytest.raises(ValueError, match=r"attention_biases .* cannot be resampled to .* such as 'dw'"):
        trd.scale("levit_128s", 2, strategy="r").create(inherit=levit)


def test_parameter_groups_for_timms_optimizers(vit):
    base, s = vit
    model = s.create(inherit=base)
    groups = model.inherited.param_groups(model, weight_decay=0.1, inherited_lr_scale=0.1)
    optimizer = timm.optim.create_optimizer_v2(groups, opt="adamw", lr=1e-3)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    scheduler = CosineLRScheduler(optimizer, t_initial=10)
    scheduler.step(1)
    rates = {group["lr"] for group in optimizer.param_groups}
    assert len(rates) == len({group["lr_scale"] for group in groups})
    assert {group["weight_decay"] for group in groups} == {0.0, 0.1}


def test_by_name_through_timm(monkeypatch):
    calls = []
    create = timm.create_model

    def without_weights(name, pretrained=False, **kwargs):
        calls.append((name, pretrained))
        return create(name, pretrained=False, **kwargs)

    monkeypatch.setattr("timm_regnet_ds.scaling.inheriting.create_model", without_weights)
    model = timm.create_model(
        "scaled", base="test_vit.r160_in1k", factor=4, strategy="w", inherit_exactly=True, inherit=True
    )
    assert calls == [("test_vit.r160_in1k", True)]
    assert model.inherited.exact


def test_what_does_not_fit_is_named(vit):
    base, s = vit
    with pytest.raises(ValueError, match="not the weights of test_vit"):
        s.create(inherit=timm.create_model("test_vit2", num_classes=5))
    with pytest.raises(ValueError, match=r"not the weights of test_vit: .*blocks\.0\.mlp\.fc1\.weight"):
        s.create(inherit=timm.create_model("test_vit", num_classes=5, mlp_ratio=2.0))
    with pytest.raises(ValueError, match=r"not the weights of test_vit: .* missing"):
        s.create(inherit={key: value for key, value in base.state_dict().items() if "fc1" not in key})
    broken = copy.deepcopy(base)
    with torch.no_grad():
        broken.head.bias[0] = float("nan")
    with pytest.raises(ValueError, match=r"head\.bias has NaN"):
        s.create(inherit=broken)
    bounded = copy.deepcopy(base)
    bounded.register_buffer("bound", torch.tensor(float("inf")))
    check_finite("the base", bounded.state_dict(), {"head.bias"})  # a buffer may be infinite
    with pytest.raises(ValueError, match="meta device"):
        s.create(inherit=copy.deepcopy(base).to("meta"))
    with pytest.raises(TypeError, match="not str"):
        s.create(inherit="test_vit")
    with pytest.raises(ValueError, match="exact=True goes with inherit="):
        s.create(exact=True)
    with pytest.raises(ValueError, match="features_only"):
        s.create(inherit=base, features_only=True)


def test_a_base_of_another_number_format():
    base, s = base_and_scaled("test_resnet", 2, strategy="d")
    model = s.create(inherit=base.to(torch.bfloat16))
    assert model.inherited.exact
    assert next(model.parameters()).dtype == torch.float32


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.jit.script])
def test_a_base_in_another_form(wrap):
    base = perturbed(timm.create_model("test_resnet", num_classes=5, scriptable=True))
    s = trd.scale("test_resnet", 2, strategy="d", base_args={"num_classes": 5})
    assert s.create(inherit=wrap(base)).inherited.exact


@pytest.mark.cuda
def test_a_base_on_another_device(vit):
    base, s = vit
    model = s.create(inherit=base.cuda())
    assert model.inherited.exact
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert {p.device.type for p in base.parameters()} == {"cuda"}


def test_what_is_not_exact_warns_and_exact_raises():
    base, s = base_and_scaled("test_convnext", 2, strategy="w")
    with pytest.warns(UserWarning, match=r"inherited.*: error .* a LayerNorm over \d+ to \d+ channels"):
        model = s.create(inherit=base)
    assert not model.inherited.exact
    with pytest.raises(ValueError, match=r"widths that grow by 2 can be exact: scale\(…, inherit_exactly=True\)"):
        s.create(inherit=base, exact=True)
    _, whole = base_and_scaled("test_convnext", 2, strategy="w", inherit_exactly=True)
    assert whole.create(inherit=base).inherited.exact


def test_models_that_cannot_be_traced():
    base, s = base_and_scaled("test_resnet", 2, strategy="d")
    with pytest.raises(ValueError, match="cannot be traced on images of"):
        inherit(base, s.create(), input_size=(4, 64, 64))


class _TimesRootOfWidth(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 1)

    def forward(self, x):
        return self.conv(x) * self.conv.out_channels**0.5


def test_the_reason_may_be_a_constant_of_the_class():
    found = inherit(_TimesRootOfWidth(8), _TimesRootOfWidth(16), input_size=(3, 8, 8))
    assert found.error == pytest.approx(2**0.5 - 1)
    assert found.reasons == ("constants of the class make outputs 1.41 times the base's",)


def test_a_shrunk_model_has_the_leading_part():
    base, s = base_and_scaled("test_resnet", 0.5, strategy="w")
    with pytest.warns(UserWarning, match=r"overlap copied, not inherited: error .* are left out \(192 to 128\)"):
        model = s.create(inherit=base)
    name = next(key for key, p in model.named_parameters() if p.ndim == 4)
    weight = model.get_parameter(name).detach()
    assert torch.equal(weight, base.get_parameter(name).detach()[tuple(map(slice, weight.shape))])


def test_a_model_rebuilt_from_saved_sizes_inherits(vit):
    base, s = vit
    saved = s.model_args()
    assert {"sizes", "inherit_exactly"} <= saved.keys()
    model = timm.create_model("scaled", **saved, inherit=base)
    assert model.inherited.exact
    other = saved | {"sizes": saved["sizes"] | {"input_size": [3, 320, 320]}}
    with pytest.raises(ValueError, match="other sizes in this version"):
        timm.create_model("scaled", **other, inherit=base)
    with pytest.raises(ValueError, match="needs its factor"):
        timm.create_model("scaled", base="test_vit", sizes=saved["sizes"], inherit=base)


@pytest.mark.skipif(not timm.is_model("lcnetv2_small"), reason="not in this timm")
def test_depth_grows_where_new_blocks_can_be_identities():
    """Only blocks of LCNetV2's last stage have shortcuts."""
    base, s = base_and_scaled("lcnetv2_small", 2, strategy="d", inherit_exactly=True)
    before, after = s.base_value("depths"), s.overrides["depths"]
    assert after[:-1] == before[:-1]
    assert after[-1] > before[-1]
    assert s.create(inherit=base, exact=True).inherited.exact
