"""`scale`: models by a factor or to a target, and what they are afterwards."""

import json
import os
import subprocess
import sys
from importlib import import_module

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models import _registry
from torch import nn

import timm_regnet_ds as trd
from timm_regnet_ds.scaling import STRATEGIES, ScalingSpec
from timm_regnet_ds.scaling.families.rules import Depth, Width
from timm_regnet_ds.scaling.families.specs import SPECS
from timm_regnet_ds.scaling.named.models import PAPER

# Architectures of many kinds that are quick to build.
BASES = [
    "resnet18",
    "resnext50_32x4d",
    "regnety_002",
    "efficientnet_b1",
    "mobilenetv3_small_100",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "coat_tiny",
    "maxvit_tiny_rw_224",
    "densenet121",
    "mixer_s32_224",
    "nf_resnet26",
    "csatv2",
    "regnetz_500mf",
    "rexnet_lite_100",
]


@pytest.mark.parametrize("name", sorted(PAPER))
def test_the_papers_factors_give_the_papers_models(name):
    base, strategy, _ = name.rsplit("_", 2)
    scaled = trd.scale(base, PAPER[name], strategy=strategy)
    assert scaled.complexity == trd.measure(name)
    assert scaled.input_size == timm.get_pretrained_cfg(name).input_size


def test_what_is_scaled_is_told():
    s = trd.scale("resnet50", 4)
    assert (s.base, s.factor, s.alpha, s.strategy.name) == ("resnet50", 4.0, 0.8, "dWr")
    assert s.multipliers == STRATEGIES["dWr"].multipliers(4)
    assert s.overrides.keys() == {"layers", "channels"}
    assert s.base_complexity == trd.measure("resnet50")
    assert s.complexity == trd.measure(s.create())
    assert s.growth.flops == pytest.approx(4, rel=0.05)
    assert s.predicted.flops == pytest.approx(4)
    with pytest.raises(AttributeError):
        s.factor = 2


def test_create_takes_what_timm_takes():
    s = trd.scale("resnet18", 0.5)
    model = s.create(num_classes=10, in_chans=1, drop_rate=0.1)
    assert type(model) is timm.models.ResNet
    assert model.num_classes == 10
    assert model(torch.randn(2, *(1, 64, 64))).shape == (2, 10)
    assert model.pretrained_cfg["input_size"] == s.input_size
    features = s.create(features_only=True, out_indices=(2, 3))
    assert features.feature_info.reduction() == [8, 16]


@settings(max_examples=25, deadline=None)
@given(base=st.sampled_from(BASES), factor=st.floats(0.5, 9.0), strategy=st.sampled_from(sorted(STRATEGIES)))
def test_any_scaling_builds_and_keeps_to_its_strategy(base, factor, strategy):
    s = trd.scale(base, factor, strategy=strategy)
    for axis in ("depth", "width", "resolution"):
        if getattr(s.strategy, axis) == 0:
            assert getattr(s.achieved, axis) == 1
    # How near a single axis comes is another matter: attention grows otherwise, and steps are coarse.
    if factor > 1.6:
        assert s.growth.flops > 1
    assert s.complexity.uncounted == s.base_complexity.uncounted


@pytest.mark.parametrize("base", ["regnety_4gf", "regnety_002", "dm_nfnet_f0"])
def test_group_widths_scale_apart_from_widths(base):
    """Fast and Accurate Model Scaling, Table 3: of the same flops, wider groups have fewer acts."""
    fixed, wider = (trd.scale(base, to="16gf", strategy="w", group_width=exponent) for exponent in (0, 2))
    assert fixed.multipliers.group_width == 1
    assert wider.multipliers.group_width == pytest.approx(wider.factor)
    assert fixed.complexity.acts > 1.05 * wider.complexity.acts
    again = timm.create_model("scaled", **fixed.recipe())
    assert sum(p.numel() for p in again.parameters()) == fixed.complexity.params


def test_group_widths_that_are_not_there_do_not_scale():
    with pytest.raises(ValueError, match="convnext_atto has no group widths to scale"):
        trd.scale("convnext_atto", 2, group_width=0)


@pytest.mark.parametrize("base", BASES)
def test_single_axes_change_nothing_else(base):
    depth, width, side = (trd.scale(base, 4, strategy=strategy) for strategy in "dwr")
    assert depth.achieved.depth > 1.5
    assert depth.input_size == width.input_size == depth.base_complexity.input_size
    assert width.achieved.width > 1.5
    assert side.input_size[1] > 1.5 * side.base_complexity.input_size[1]
    assert side.complexity.params == pytest.approx(side.base_complexity.params, rel=0.06)  # of tables of positions


def test_depthwise_stays_depthwise_and_group_widths_grow():
    for base in ("mobilenetv2_100", "resnext50_32x4d", "regnety_004"):
        s = trd.scale(base, 4)
        before, after = s.create_base(), s.create()

        def groups(model):
            return [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]

        depthwise = [conv.groups == conv.in_channels for conv in groups(after)]
        assert any(depthwise) == any(conv.groups == conv.in_channels for conv in groups(before))
        if not any(depthwise):
            old, new = ([conv.in_channels // conv.groups for conv in groups(model)] for model in (before, after))
            assert min(new) > min(old)
            assert max(new) > max(old)


@pytest.mark.parametrize("base", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "pvt_v2_b1", "mvitv2_tiny"])
def test_heads_keep_their_size(base):
    s = trd.scale(base, 6)

    def sizes(args):
        said = (args.get("model_cfg") and vars(args["model_cfg"])) or args
        heads, widths = (next(v for k, v in said.items() if k.startswith(part)) for part in ("num_heads", "embed_dim"))
        heads, widths = (v if isinstance(v, (list, tuple)) else [v] for v in (heads, widths))
        return list(heads), [width / head for width, head in zip(widths, heads, strict=False)]

    before, after = sizes({name: s.base_value(name) for name in s.overrides}), sizes(s.overrides)
    assert sum(after[0]) > sum(before[0])
    assert after[1] == before[1]


@pytest.mark.parametrize(
    ("base", "target"),
    [
        ("resnet50", {"to": "16gf"}),
        ("resnet50", {"to": "600mf"}),
        ("convnext_tiny", {"to": "60mp"}),
        ("convnext_tiny", {"acts": 25e6}),
        ("vit_small_patch16_224", {"flops": 8e9}),
        ("efficientnet_b0", {"params": 1e7}),
        ("regnetz_500mf", {"to": "2gf"}),
    ],
)
def test_targets_are_met(base, target):
    s = trd.scale(base, **target)
    if "to" in target:
        number, unit = float(target["to"][:-2]), target["to"][-2:]
        wanted = number * {"gf": 1e9, "mf": 1e6, "mp": 1e6}[unit]
        measure = {"f": "flops", "p": "params"}[unit[1]]
    else:
        measure, wanted = next(iter(target.items()))
    assert getattr(s.complexity, measure) == pytest.approx(wanted, rel=0.03)
    # The factor that was found is the model: nothing else is saved.
    again = trd.scale(base, s.factor)
    assert (again.overrides, again.input_size) == (s.overrides, s.input_size)


def test_tolerance_names_the_nearest():
    with pytest.raises(
        ValueError, match=r"no nearer to .* flops than .*are [\d,]+ flops \(factor .*\) and [\d,]+ flops \("
    ):
        trd.scale("vit_tiny_patch16_224", to="1.3gf", tolerance=1e-4)
    assert trd.scale("resnet50", to="8gf", tolerance=0.02).complexity.flops == pytest.approx(8e9, rel=0.02)


WRONG = [
    ({}, "a factor or a target is needed"),
    ({"factor": 2, "to": "8gf"}, "exclude each other"),
    ({"to": "8gf", "params": 1e7}, "one target is needed, not 2"),
    ({"factor": 0}, "factor must be a finite number above 0, not 0"),
    ({"factor": -1.5}, "not -1.5"),
    ({"factor": float("nan")}, "not nan"),
    ({"factor": "4"}, "not '4'"),
    ({"factor": 2, "alpha": 1.1}, "alpha must be a finite number at least 0 and at most 1"),
    ({"factor": 2, "alpha": -0.1}, "at least 0"),
    ({"factor": 2, "alpha": 0.3, "strategy": "w"}, "exclude each other"),
    ({"factor": 2, "strategy": "dwR"}, "did you mean 'dwr'"),
    ({"to": "8xf"}, "followed by one of"),
    ({"to": "gf"}, "followed by one of"),
    ({"flops": 0}, "flops must be a finite number above 0"),
    ({"to": "1mf"}, "reaches no less than [\\d,]+ flops, not 1,000,000 flops"),
    ({"to": "900000000gf"}, "memory could hold"),
    ({"factor": 1e9}, "memory could hold"),
    ({"factor": 2, "tolerance": 0.1}, "there is none"),
    ({"to": "8gf", "tolerance": 0}, "tolerance must be"),
    ({"to": "50mp", "strategy": "r"}, "does not change params"),
]


@pytest.mark.parametrize(("how", "message"), WRONG)
def test_wrong_input_is_refused(how, message):
    registry = dict(_registry._model_entrypoints)
    with pytest.raises(ValueError, match=message):
        trd.scale("resnet18", **how)
    assert registry == _registry._model_entrypoints


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5", "did you mean 'resnet50'"),
        ("convnext_tiny_in22ft1k", "deprecated name of timm: use 'convnext_tiny.fb_in22k_ft_in1k'"),
        ("inception_v3", "does not scale in depth.*strategies that it allows: r"),
        ("nasnetalarge", "does not scale in depth.*strategies that it allows: w, r, wr"),
        ("efficientnet_b1_pruned", "does not scale in depth.*pruned"),
    ],
)
def test_names_and_models_that_do_not_scale(name, message):
    with pytest.raises(ValueError, match=message):
        trd.scale(name, 2)
    assert trd.scale("inception_v3", 2, strategy="r").growth.flops == pytest.approx(2, rel=0.1)


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match=r"a timm model's name or a torch.nn.Module is needed, not int"):
        trd.scale(5, 2)
    with pytest.raises(ValueError, match=r"Linear was not built by timm.*decorate it with `scalable`"):
        trd.scale(nn.Linear(3, 3), 2)


def test_pretrained_weights_do_not_fit():
    with pytest.raises(ValueError, match="the weights of resnet18 do not fit a scaled model"):
        timm.create_model("scaled", pretrained=True, base="resnet18", factor=2)
    with pytest.raises(ValueError, match="scaling sets it"):
        trd.scale("resnet18", 2).create(channels=(8, 8, 8, 8))


def test_scaled_is_a_model_of_timm():
    model = timm.create_model("scaled", base="convnext_atto", to="2gf", strategy="dwr", num_classes=10)
    s = trd.scale("convnext_atto", to="2gf", strategy="dwr")
    assert trd.measure(model).acts == pytest.approx(s.complexity.acts, rel=1e-3)
    assert model.num_classes == 10
    for without_base in ({}, {"to": "2gf"}):
        with pytest.raises(ValueError, match="scaled needs base="):
            timm.create_model("scaled", **without_base)
    with pytest.raises(ValueError, match="a factor or a target is needed"):
        timm.create_model("scaled", base="resnet18")
    with pytest.raises(ValueError, match="exclude each other"):
        timm.create_model("scaled", base="resnet18", factor=2, to="2gf")


def test_a_built_model_scales_as_it_was_built():
    model = timm.create_model("vit_tiny_patch16_224", num_classes=10, class_token=False, global_pool="avg", img_size=96)
    if not hasattr(model, "_model_args"):  # timm < 1.0.31 does not keep the arguments
        with pytest.raises(ValueError, match="as base_args"):
            trd.scale(model, 2)
        return
    s = trd.scale(model, 2)
    assert s.base_complexity == trd.measure(model)
    assert s.base_complexity.input_size == (3, 96, 96)
    scaled = s.create()
    assert scaled.num_classes == 10
    assert scaled.cls_token is None
    assert trd.scale("resnet18", 2, base_args={"in_chans": 1}).base_complexity.params < trd.measure("resnet18").params


def test_scaling_composes():
    once = trd.scale("resnet18", 2)
    twice = trd.scale(once.create(), 2)
    assert twice.base == "scaled"
    assert twice.base_complexity == once.complexity
    assert twice.complexity.flops == pytest.approx(4 * once.base_complexity.flops, rel=0.1)
    by_name = timm.create_model("scaled", **twice.recipe())
    assert trd.measure(by_name) == twice.complexity


def test_register_makes_it_an_ordinary_name():
    s = trd.scale("resnet18", 2)
    s.register("resnet18_twice")
    try:
        assert timm.is_model("resnet18_twice")
        assert "resnet18_twice" not in trd.list_models()
        model = timm.create_model("resnet18_twice", num_classes=3)
        assert trd.measure(timm.create_model("resnet18_twice")) == s.complexity
        assert model.num_classes == 3
        assert timm.get_pretrained_cfg("resnet18_twice").input_size == s.input_size
        assert trd.scale("resnet18_twice", 2).base_complexity == s.complexity
        for wrong, message in (("resnet18_twice", "already has"), ("resnet50", "already has"), ("a-b", "letters")):
            with pytest.raises(ValueError, match=message):
                s.register(wrong)
    finally:
        del _registry._model_entrypoints["resnet18_twice"]


def test_sizes_go_with_the_resolution():
    s = trd.scale("convnext_tiny.in12k_ft_in1k_384", 16, strategy="dwr")
    base = timm.get_pretrained_cfg("convnext_tiny.in12k_ft_in1k_384")
    cfg = s.create(device="meta").pretrained_cfg
    assert cfg["input_size"] == s.input_size
    assert cfg["pool_size"] == (s.input_size[1] // 32,) * 2
    assert cfg["mean"] == base.mean
    assert not cfg.get("hf_hub_id")
    assert not cfg.get("url")
    fixed = trd.scale("vit_small_patch16_224", 16, strategy="dwr").create(device="meta")
    assert fixed.patch_embed.img_size == tuple(fixed.pretrained_cfg["input_size"][1:])
    test = timm.get_pretrained_cfg("resnet50").test_input_size
    if test:
        scaled = trd.scale("resnet50", 4, strategy="r").create(device="meta").pretrained_cfg["test_input_size"]
        assert scaled[1] == pytest.approx(2 * test[1], abs=4)


STOCK = """
import json, sys
import timm, torch
for name, args, weights in json.loads(sys.argv[1]):
    model = timm.create_model(name, **args)
    model.load_state_dict(torch.load(weights))
    print(sum(p.sum().item() for p in model.parameters()))
assert "timm_regnet_ds" not in sys.modules
"""


def test_timm_alone_loads_the_weights(tmp_path):
    calls, sums = [], []
    for base in ("resnet18", "vit_tiny_patch16_224", "convnext_atto", "vovnet39a"):
        s = trd.scale(base, 2)
        model = s.create(num_classes=10)
        torch.save(model.state_dict(), tmp_path / f"{base}.pt")
        name, args = s.as_timm()
        calls.append([name, args | {"num_classes": 10}, str(tmp_path / f"{base}.pt")])
        sums.append(sum(p.sum().item() for p in model.parameters()))
    environment = os.environ | {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    command = [sys.executable, "-c", STOCK, json.dumps(calls)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [float(line) for line in done.stdout.split()] == pytest.approx(sums, rel=1e-4)


def test_what_timm_alone_cannot_say_is_an_error():
    for base in ("efficientnet_b0", "mvitv2_tiny"):
        with pytest.raises(ValueError, match=f"timm alone cannot build {base} scaled"):
            trd.scale(base, 2).as_timm()


def test_saved_models_rebuild_without_a_search(tmp_path, monkeypatch):
    from timm.models import save_for_hf

    model = timm.create_model("scaled", base="convnext_atto", to="300mf", strategy="dwr", num_classes=5)
    save_for_hf(model, str(tmp_path), model_args=model._model_args, safe_serialization=True)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == "scaled"
    assert config["model_args"]["base"] == "convnext_atto"
    assert config["model_args"]["factor"] == trd.scale("convnext_atto", to="300mf", strategy="dwr").factor
    monkeypatch.setattr(import_module("timm_regnet_ds.scaling.entrypoint"), "scale", None)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert again.num_classes == 5
    monkeypatch.undo()
    assert trd.scale(again, 2).base_complexity == trd.measure(again)


@pytest.fixture
def plain_net():
    @trd.scalable(depth="depths", width=("widths", "head"), multiple=8)
    class Plain(nn.Module):
        def __init__(self, depths=(1, 2), widths=(16, 32), head=64, num_classes=10):
            super().__init__()
            layers, channels = [], 3
            for depth, width in zip(depths, widths, strict=True):
                for i in range(depth):
                    layers += [nn.Conv2d(channels, width, 3, stride=1 if i else 2, padding=1), nn.ReLU()]
                    channels = width
            self.body = nn.Sequential(*layers, nn.Conv2d(channels, head, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.fc = nn.Linear(head, num_classes)

        def forward(self, x):
            return self.fc(self.body(x))

    yield Plain
    del SPECS[Plain]


def test_a_class_of_ones_own_scales_by_declaration(plain_net):
    s = trd.scale(plain_net((2, 4), num_classes=3), 8, input_size=(3, 64, 64))
    assert s.growth.flops == pytest.approx(8, rel=0.1)
    assert s.overrides.keys() <= {"depths", "widths", "head"}
    model = s.create()
    assert type(model) is plain_net
    assert model(torch.randn(1, *s.input_size)).shape == (1, 3)
    with pytest.raises(ValueError, match="needs input_size="):
        trd.scale(plain_net(), 2)


def test_a_row_can_be_added_at_run_time():
    class Other(timm.models.ResNet):
        pass

    @timm.models.register_model
    def other_resnet(pretrained=False, **kwargs):
        block = timm.models.resnet.BasicBlock
        return timm.models.build_model_with_cfg(
            Other, "other_resnet", pretrained, block=block, layers=[1, 1, 1, 1], **kwargs
        )

    SPECS[Other] = ScalingSpec(depth=(Depth("layers"),), width=(Width("channels", 32),))
    try:
        s = trd.scale("other_resnet", 8, strategy="w")
        assert all(width % 32 == 0 for width in s.overrides["channels"])
    finally:
        del SPECS[Other], _registry._model_entrypoints["other_resnet"]


def test_a_declaration_names_arguments():
    with pytest.raises(ValueError, match="Plain has no argument 'depth'; did you mean 'depths'"):

        @trd.scalable(depth="depth")
        class Plain(nn.Module):
            def __init__(self, depths=(1, 2)):
                super().__init__()


def test_a_tag_and_a_strategy_of_ones_own_are_saved():
    tagged = timm.create_model("convnext_atto.d2_in1k", num_classes=3)
    s = trd.scale(tagged, 3, strategy=trd.Strategy("mine", 0.5, 0.2, 0.3))
    again = timm.create_model("scaled", **json.loads(json.dumps(s.recipe())))
    assert trd.measure(again) == s.complexity
    assert s.recipe()["base"] == "convnext_atto.d2_in1k"


def test_modules_imported_meanwhile_are_restored():
    import types

    from timm_regnet_ds.scaling.building.capture import intercept_builds

    late = types.ModuleType("late_module")
    sys.modules["late_module"] = late
    try:
        with intercept_builds(lambda build: build.run()):
            late.build_model_with_cfg = timm.models.build_model_with_cfg
        assert late.build_model_with_cfg is timm.models.build_model_with_cfg
        assert timm.models.build_model_with_cfg.__module__ == "timm.models._builder"
    finally:
        del sys.modules["late_module"]


@pytest.mark.parametrize("strategy", ["w", "dwr", "dWr"])
@pytest.mark.parametrize("base", ["resnet50", "regnety_040", "convnext_tiny", "efficientnet_b0"])
def test_exponents_are_the_predicted_ones(base, strategy):
    from timm_regnet_ds.scaling.reports.exponents import exponents, predicted

    found, wanted = exponents(base, strategy), predicted(STRATEGIES[strategy])
    assert found.params == pytest.approx(wanted.params, abs=0.06)
    assert found.acts == pytest.approx(wanted.acts, abs=0.06)


@pytest.mark.parametrize("strategy", ["dWr", "w", "r"])
@pytest.mark.parametrize("name", ["nas_cell", "channelnet", "rexnet_plain", "rexnet_lite_100"])
def test_this_projects_other_networks_scale(name, strategy):
    model = trd.scale(name, 4, strategy=strategy)
    assert model.growth.flops == pytest.approx(4, rel=0.15)
    assert trd.measure(model.create(device="meta"), model.input_size).flops == model.complexity.flops
