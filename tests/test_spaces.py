"""Design spaces: the papers' counts, the papers' distributions, and complexity equal to measure()."""

import doctest
import json
import math
from collections import Counter
from dataclasses import asdict, replace
from functools import partial
from itertools import groupby, pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from many import mostly_shallow

from timm_regnet_ds import AnyNetCfg, RegNetCfg, measure, resolve_strategy
from timm_regnet_ds.common.quantized_linear import quantized_linear_exponents
from timm_regnet_ds.complexity import measure_factory
from timm_regnet_ds.models.regnet import REGNET_CFGS, quantized_linear
from timm_regnet_ds.scaling.named.anynet import scale_anynet
from timm_regnet_ds.spaces import (
    SPACES,
    AnyNetBatch,
    AnyNetSpace,
    ConfigAtResolution,
    Frame,
    Values,
    anynet,
    get_space,
    steps,
    values,
)
from timm_regnet_ds.spaces.framed_space import FramedSpace
from timm_regnet_ds.spaces.quantized import quantized_stages
from timm_regnet_ds.spaces.recover import _scale
from timm_regnet_ds.spaces.regnet import RegNetBatch, RegNetSpace

FRAMED = [name for name, space in SPACES.items() if isinstance(space, FramedSpace)]
RESOLUTIONS = Values(tuple(range(128, 321, 4)))


def variants():
    """Every space of AnyNetBatch and RegNetBatch, and what may be changed about them."""
    for name in FRAMED:
        yield name, get_space(name)
    five = (2, 2, 2, 2, 2)
    plain = {"bottle_ratios": None, "group_widths": None, "shared": ()}
    yield "five stages", replace(get_space("anynetx_e"), frame=Frame("y", five))
    yield "basic", replace(get_space("anynetx_d"), frame=Frame("basic"), **plain)
    yield "vanilla", replace(get_space("anynetx_a"), frame=Frame("vanilla", five), resolution=RESOLUTIONS, **plain)
    yield "free resolution", replace(get_space("anynetx_c"), frame=Frame("z"), resolution=RESOLUTIONS)
    yield "single groups", replace(get_space("anynetx_a"), group_widths=None, bottle_ratios=Values((0.3, 1.5)))
    yield "regnet, five stages", replace(get_space("regnety"), frame=Frame("y", five), resolution=RESOLUTIONS)
    plain = {"bottle_ratio": None, "group_width": None}
    yield "regnet, basic", replace(get_space("regnetx"), frame=Frame("basic", stem_width=24, num_classes=10), **plain)
    yield "regnet, gray", replace(get_space("regnetz"), frame=Frame("z", (1, 2, 2), "cifar", in_chans=1), resolution=28)


VARIANTS = dict(variants())


@pytest.mark.parametrize("label", VARIANTS)
def test_complexity_is_what_measure_says(label):
    space = VARIANTS[label]
    for config, flops, params, acts in mostly_shallow(space, seed=len(label)):
        _, counted = measure_factory(label, partial(space.build, config))
        assert (counted.flops, counted.params, counted.acts) == (flops, params, acts), config
        assert space.contains(config), space.contains(config).reason
        assert space.from_json(json.loads(json.dumps(space.to_json(config)))) == config


@pytest.mark.parametrize("name", REGNET_CFGS)
def test_complexity_of_the_published_networks(name):
    cfg = REGNET_CFGS[name]
    resolution = 256 if name == "regnetz_4gf" else 224
    found = AnyNetBatch.of([cfg.stages()], Frame(cfg.block)).complexity(resolution)
    counted = measure(name)
    assert [int(array[0]) for array in found] == [counted.flops, counted.params, counted.acts]


# --- counts


@pytest.mark.parametrize(
    ("name", "combinations", "printed"),
    [
        ("anynetx_a", (16 * 128 * 3 * 6) ** 4, "1.8e+18"),
        ("anynetx_b", (16 * 128 * 6) ** 4 * 3, "6.8e+16"),
        ("anynetx_c", (16 * 128) ** 4 * 3 * 6, "3.2e+14"),
    ],
)
def test_counts_of_table_1_are_exact_where_nothing_ascends(name, combinations, printed):
    assert get_space(name).count() == combinations
    assert f"{combinations:.1e}" == printed


@pytest.mark.parametrize(
    ("name", "approximation", "printed", "exact"),
    [
        ("anynetx_d", (16 * 128) ** 4 * 18 // math.factorial(4), "1.3e+13", math.comb(131, 4) * 16**4 * 18),
        (
            "anynetx_e",
            (16 * 128) ** 4 * 18 // math.factorial(4) ** 2,
            "5.5e+11",
            math.comb(131, 4) * math.comb(19, 4) * 18,
        ),
    ],
)
def test_table_1_approximates_where_parameters_ascend(name, approximation, printed, exact):
    assert f"{approximation:.1e}" == printed
    assert get_space(name).count() == exact > approximation


def test_table_1_estimates_regnet_by_64_values_of_each_parameter():
    assert f"{64**4 * 6 * 3:.1e}" == "3.0e+08"


@pytest.mark.parametrize("wa", [steps(1, 60, 5.3), Values((2, 4, 8, 16, 20, 32, 37.5))])
@pytest.mark.parametrize("stages", [1, 2, 4])
def test_a_space_of_regnets_counts_the_combinations_that_it_contains(wa, stages):
    # The second set of slopes has many networks at a tie: 1.5, 2.25 and 4 have roots that are rational.
    lines = {"depth": steps(1, 24), "w0": steps(8, 32, 8), "wa": wa, "wm": Values((1.5, 2.0, 2.25, 4.0))}
    frame = Frame("y", (2,) * stages)
    space = RegNetSpace("s", **lines, bottle_ratio=Values((0.5, 1.0)), frame=frame)
    configs = (
        RegNetCfg(**dict(zip(lines, line, strict=True)), bottle_ratio=1.0, block="y")
        for line in product(*(values.values for values in lines.values()))
    )
    assert space.count() == 2 * sum(map(bool, map(space.contains, configs))) > 0


@pytest.mark.parametrize(
    ("name", "total"),
    [("vanilla", 1_259_712), ("resnet", 1_259_712), ("resnext_a", 11_390_625), ("resnext_b", 52_734_375)],
)
def test_counts_of_nds_table_2(name, total):
    assert get_space(name).count() == total


def test_a_small_space_counts_what_it_contains():
    space = AnyNetSpace("s", steps(1, 3), steps(8, 32, 8), ascending=("depths", "widths"), frame=Frame("basic", (1, 2)))
    seen = {(config.depths, config.widths) for config in space.sample(5000)}
    assert len(seen) == space.count() == 6 * 10


def test_resnet_56_of_nds_table_1():
    cfg = AnyNetCfg((9,) * 3, (16, 32, 64), (1, 2, 2), block="basic", stem="cifar", stem_width=16)
    counted = measure(get_space("resnet").build(cfg))
    assert counted.input_size == (3, 32, 32)
    assert (f"{counted.flops / 1e9:.2f}", f"{counted.params / 1e6:.2f}") == ("0.13", "0.86")


# --- distributions


def test_log_uniform_values_have_their_share_of_the_log_axis():
    drawn = steps(1, 16).draw(np.random.default_rng(0), 200_000)
    counts = Counter(drawn.tolist())
    assert set(counts) == set(range(1, 17))
    between = math.log(8 / 7) / math.log(4 / 3)
    assert counts[8] / counts[4] == pytest.approx(between, rel=0.05)


def test_uniform_values_are_equally_likely():
    counts = Counter(Values((1, 2, 4)).draw(np.random.default_rng(0), 90_000).tolist())
    assert all(count == pytest.approx(30_000, rel=0.03) for count in counts.values())


def test_ascending_widths_are_those_that_happen_to_ascend():
    widths = Values((8, 16, 24), log=False)
    base = AnyNetSpace("base", Values((1,)), widths, frame=Frame("basic", (1, 2)))
    ordered = replace(base, ascending=("widths",))
    counts = Counter(config.widths for config in ordered.sample(30_000))
    assert all(count == pytest.approx(5000, rel=0.06) for count in counts.values())  # sorting would double three
    assert len(counts) == ordered.count() == 6


def narrower_groups(cfg):
    """Group widths of the stages that have more than one group."""
    return {group for group, inner in zip(cfg.group_widths, cfg.inner_widths, strict=True) if group < inner}


@pytest.mark.parametrize("name", ["anynetx_a", "anynetx_b", "anynetx_c", "anynetx_d", "anynetx_e"])
def test_each_anynetx_adds_a_restriction(name):
    place = "abcde".index(name[-1])
    sample = list(get_space(name).sample(200))
    holds = [
        True,
        all(len(set(cfg.bottle_ratios)) == 1 for cfg in sample),
        all(len(narrower_groups(cfg)) <= 1 for cfg in sample),
        all(a <= b for cfg in sample for a, b in pairwise(cfg.widths)),
        all(a <= b for cfg in sample for a, b in pairwise(cfg.depths)),
    ]
    assert holds == [True] * (place + 1) + [False] * (4 - place)


# --- sampling


@pytest.mark.parametrize("name", ["anynetx_e", "regnetx", "resnext_a"])
def test_a_smaller_sample_is_the_beginning_of_a_larger_one(name):
    space = get_space(name)
    small, large = (space.sample(n, seed=4, flops=(None, "1gf")) for n in (7, 60))
    assert list(small) == list(large)[:7]
    assert small.drawn < large.drawn
    assert list(small) != list(space.sample(7, seed=5, flops=(None, "1gf")))


def test_limits_hold_and_draws_are_counted():
    space = get_space("regnetx")
    sample = space.sample(300, flops=("360mf", "400mf"), params=(None, 8e6), acts=("2ma", None))
    assert len(sample) == 300 < sample.drawn
    assert sample.flops.dtype == sample.params.dtype == sample.acts.dtype == np.int64
    assert ((sample.flops >= 360e6) & (sample.flops <= 400e6)).all()
    assert sample.params.max() <= 8e6
    assert sample.acts.min() >= 2e6


def test_without_limits_an_anynet_is_drawn_once():
    assert get_space("anynetx_a").sample(11).drawn == 11


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"flops": ("1mf", "2mf")},
            r"no configuration of resnext_b among 4,.* drawn has flops from 1,000,000 to"
            r".*the nearest has [3-6],\d{3},\d{3} flops, [\d,]+ params, [\d,]+ acts",
        ),
        ({"flops": ("4gf", "1gf")}, "the low bound '4gf' is above the high bound '1gf'"),
        ({"flops": ("4mp", None)}, "flops takes a number or one such as '400mf', not '4mp'"),
        ({"params": 5}, r"params takes a pair \(low, high\), not 5"),
        ({"acts": (None, "12 ma")}, "target '12 ma' is not a number"),
        ({"n": 0}, "n must be a whole number from 1 to 10000000"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
    ],
)
def test_limits_that_cannot_hold_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        get_space("resnext_b").sample(**{"n": 1, **limits})


# --- membership


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("anynetx_a", {"depths": (1, 2, 3, 17)}, "depth 17 of stage 4 is not one of 1 to 16 in steps of 1"),
        ("anynetx_a", {"widths": (8, 8, 8, 1032)}, "width 1032 of stage 4 is not one of 8 to 1024 in steps of 8"),
        ("anynetx_a", {"bottle_ratios": (1, 1, 1, 2)}, "bottleneck ratio 2 of stage 4 is not one of 0.25, 0.5, 1"),
        ("anynetx_a", {"widths": (72,) * 4, "group_widths": (8, 8, 8, 24)}, "group width 24 of stage 4, of width 72"),
        ("anynetx_a", {"depths": (1, 1, 1), "widths": (8, 8, 8)}, "it has 3 stages, not 4"),
        ("anynetx_a", {"block": "y"}, "block is 'y', not 'x'"),
        ("anynetx_a", {"stem_width": 16}, "stem_width is 16, not 32"),
        (
            "anynetx_b",
            {"bottle_ratios": (1, 1, 1, 0.5), "group_widths": 4},
            r"ratios \[1.*0.5\] are not the same in all stages",
        ),
        ("anynetx_c", {"widths": (64,) * 4, "group_widths": (8, 8, 8, 16)}, "no one value of group_widths gives"),
        ("anynetx_d", {"widths": (64, 64, 32, 64)}, r"the widths \[64, 64, 32, 64\] decrease"),
        ("anynetx_e", {"depths": (4, 3, 4, 4)}, r"the depths \[4, 3, 4, 4\] decrease"),
    ],
)
def test_why_an_anynet_is_not_contained(name, change, reason):
    cfg = AnyNetCfg(**{"depths": (1,) * 4, "widths": (8,) * 4, "group_widths": 8, **change})
    assert not get_space(name).contains(cfg)
    with pytest.raises(AssertionError, match=reason):
        assert not (why := get_space(name).contains(cfg).reason), why


def test_each_anynetx_contains_the_next():
    names = ["anynetx_a", "anynetx_b", "anynetx_c", "anynetx_d", "anynetx_e"]
    for wider, narrower in pairwise(names):
        assert all(get_space(wider).contains(cfg) for cfg in get_space(narrower).sample(100))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"depth": 64}, "depth 64 is not one of 1 to 63"),
        ({"wm": 3.5}, "wm 3.5 is not from 1.5 to 3"),
        ({"group_width": 12}, "group_width 12 is not one of 1, 2, 4, 8, 16, 24, 32"),
        ({"wa": 8.0}, "its parameters give 3 stages, not 4"),
        ({"block": "y"}, "block is 'y', not 'x'"),
    ],
)
def test_why_a_regnet_is_not_contained(change, reason):
    cfg = RegNetCfg(**{**asdict(RegNetCfg(13, 24, 36.4, 2.49, 8, 1.0)), **change})
    membership = get_space("regnetx").contains(cfg)
    assert not membership
    assert reason in membership.reason


def test_a_free_resolution_is_part_of_the_configuration():
    space = replace(get_space("regnetx"), resolution=Values((192, 224)))
    assert space.count() == 2 * get_space("regnetx").count()
    config = space.sample(1)[0]
    assert measure(space.build(config)).input_size == (3, config.resolution, config.resolution)
    assert "resolution 200 is not one of 192, 224" in space.contains(ConfigAtResolution(config.cfg, 200)).reason
    with pytest.raises(ValueError, match=r"a configuration is ConfigAtResolution\(cfg, resolution\)"):
        space.contains(config.cfg)


def test_a_configuration_builds_as_an_ordinary_model():
    space = get_space("resnext_a")
    model = space.build(space.sample(1, flops=(None, "3mf"))[0], num_classes=7, in_chans=1)
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 7)


def test_json_with_another_key_is_refused():
    space = get_space("regnetx")
    row = space.to_json(space.sample(1)[0])
    with pytest.raises(ValueError, match=r"a configuration of regnetx has no width \(allowed: block, bottle_ratio"):
        space.from_json({**row, "width": 3})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: get_space("anynetx_f"), "unknown space 'anynetx_f'; did you mean 'anynetx_[a-e]'"),
        (lambda: Values(()), "the values of a parameter ascend from above 0"),
        (lambda: Values((2, 1)), "ascend from above 0"),
        (lambda: replace(get_space("anynetx_a"), frame=Frame("basic")), "'basic' has no bottleneck: bottle_ratios, gr"),
        (lambda: replace(get_space("regnetx"), frame=Frame("vanilla")), "'vanilla' has no bottleneck: bottle_ratio"),
        (lambda: replace(get_space("anynetx_a"), groups=Values((1,))), "group_widths and groups exclude each other"),
        (lambda: replace(get_space("anynetx_a"), shared=("widths",)), "unknown shared parameter 'widths'"),
        (lambda: replace(get_space("anynetx_a"), frame=Frame("w")), "unknown block 'w'"),
    ],
)
def test_spaces_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- arrays against the arithmetic of one network


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(
        st.tuples(
            st.integers(1, 80),
            st.integers(1, 40).map(lambda k: 8 * k),
            st.one_of(st.sampled_from([1.0, 4.0, 8.0, 32.0, 512.0]), st.floats(0.01, 1000)),
            st.one_of(st.sampled_from([1.01, 1.5, 2.0, 2.25, 2.5, 3.0]), st.floats(1.01, 6)),
        ),
        min_size=1,
        max_size=200,
    ),
    stages=st.integers(1, 6),
)
def test_closed_form_gives_the_stages_of_the_loop(lines, stages):
    expected = []
    for place, line in enumerate(lines):
        runs = [(width, len(list(run))) for width, run in groupby(quantized_linear(*line))]
        if len(runs) == stages == quantized_linear_exponents(*line)[-1] + 1:
            expected.append((place, [depth for _, depth in runs], [width for width, _ in runs]))
    places, depths, widths = quantized_stages(*(np.array(column) for column in zip(*lines, strict=True)), stages)
    assert list(zip(places.tolist(), depths.tolist(), widths.tolist(), strict=True)) == expected


def test_closed_form_of_a_hundred_thousand_draws_near_ties():
    # Values at which u_j / w0 is often a half-integer power of wm.
    space = replace(
        get_space("regnetx"), wa=Values((1, 2, 4, 8, 16, 32, 64)), wm=Values((1.5, 2.0, 2.25, 2.5)), group_width=None
    )
    configs, _ = space.draw(np.random.default_rng(0), 30_000)
    assert isinstance(configs, RegNetBatch)
    for place in range(0, len(configs), 3):
        assert configs[place].stages() == configs.nets[place]


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from([*REGNET_CFGS]),
    strategy=st.one_of(st.sampled_from(["d", "w", "r", "dWr", "dwr"]), st.floats(0, 1)),
    factor=st.floats(0.1, 60),
)
def test_scaling_of_arrays_is_that_of_configs(name, strategy, factor):
    cfg = REGNET_CFGS[name].stages()
    multipliers = resolve_strategy(strategy).multipliers(factor)
    expected = scale_anynet(cfg, multipliers)
    assert _scale(AnyNetBatch.of([cfg], Frame(cfg.block)), multipliers)[0] == expected


@pytest.mark.parametrize("module", [anynet, values])
def test_examples_of_the_docstrings(module):
    results = doctest.testmod(module)
    assert results.failed == 0 < results.attempted


@pytest.mark.parametrize("name", ["regnetx_400mf", "regnetx_4gf", "regnetz_500mf", "regnety_500mf"])
def test_a_published_regnet_is_contained_where_its_group_width_is(name):
    cfg = REGNET_CFGS[name]
    membership = replace(get_space(name.partition("_")[0]), resolution=224).contains(cfg)
    if cfg.group_width in (1, 2, 4, 8, 16, 24, 32):
        assert membership
    else:
        assert membership.reason == f"group_width {cfg.group_width} is not one of 1, 2, 4, 8, 16, 24, 32"


def test_resolution_is_a_parameter_of_regnetz():
    space = get_space("regnetz")
    assert space.contains(ConfigAtResolution(REGNET_CFGS["regnetz_4gf"], 256))
    sample = space.sample(50, flops=("3gf", "5gf"))
    assert {config.resolution for config in sample} <= set(space.resolution.values)
    assert len({config.resolution for config in sample}) > 5


def test_the_sampler_draws_as_the_authors_sampler_does():
    """Medians and shares of 200,000 draws of `regnet_sampler` with the same ranges."""
    rng, space = np.random.default_rng(0), get_space("regnetx")
    drawn = {name: getattr(space, name).draw(rng, 200_000) for name in ("depth", "w0", "wa", "wm", "group_width")}
    assert np.median(drawn["depth"]) == 32
    shares = Counter(drawn["group_width"].tolist())
    # Powers of 2 uniformly, then the multiples of 8 by the logarithm of their ratio to the one before.
    expected = {1: 1, 2: 1, 4: 1, 8: 1, 16: 1, 24: math.log2(1.5), 32: math.log2(4 / 3)}
    assert {width: share / 200_000 for width, share in shares.items()} == pytest.approx(
        {width: share / 6 for width, share in expected.items()}, abs=0.004
    )
    # Log-uniform: the median is the geometric mean of the ends of the axis.
    for name, low in (("w0", 4), ("wa", 0.9), ("wm", 1.499)):
        values = getattr(space, name).values
        assert np.median(drawn[name]) == pytest.approx(math.sqrt(low * values[-1]), rel=0.06)


def test_the_refined_space_is_within_the_authors_default_ranges():
    space = get_space("regnetx_pycls")
    for cfg in space.sample(200, flops=("360mf", "400mf")):
        assert 12 <= cfg.depth <= 28
        assert all(8 <= value <= 256 for value in (cfg.w0, cfg.wa))
        assert 2 <= cfg.wm <= 3
        assert cfg.group_width % 8 == 0
        assert cfg.bottle_ratio == 1


def test_a_regnet_with_an_empty_stage_is_not_contained():
    # Exponents 1 and 3 are stepped over, although four widths remain.
    cfg = RegNetCfg(8, 8, 83.6, 2.503, group_width=8, bottle_ratio=1.0)
    assert cfg.stages().widths == (8, 128, 312, 784)
    assert get_space("regnetx").contains(cfg).reason == "its parameters give 6 stages, 2 of them empty, not 4"
    for cfg in get_space("regnetx").sample(300, flops=("360mf", "400mf")):
        exponents = quantized_linear_exponents(cfg.depth, cfg.w0, cfg.wa, cfg.wm)
        assert set(exponents) == {0, 1, 2, 3}


def test_too_many_ascending_stages_are_refused():
    space = get_space("anynetx_e")
    with pytest.raises(ValueError, match="drawn for at most 7 stages, not 9"):
        replace(space, frame=replace(space.frame, strides=(1,) * 9))


def test_the_repr_of_a_sample_is_one_line():
    space = get_space("regnetx")
    sample = space.sample(200, seed=1)
    for value in (sample, sample.configs, space, space.complexity(sample.configs)):
        assert "array(" not in repr(value)
        assert len(repr(value)) < 1000
    assert repr(sample).startswith("Sample of 200 configurations (flops ")
