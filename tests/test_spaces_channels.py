"""ReXNet's space of channel configurations."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from many import CONFIGS

from timm_regnet_ds import measure
from timm_regnet_ds.complexity import measure_factory
from timm_regnet_ds.models.channelnet import ChannelNetCfg
from timm_regnet_ds.spaces import ChannelSpace, PiecewiseLinear, Values, get_space

# Table 3: the best and the worst configurations of its searches (a) to (d) that are whole in the text.
TABLE_3 = [
    ((0, 1, 3, 4), (34, 34, 55, 66), "34-34-45-55-66"),
    ((0, 1, 3, 4), (36, 36, 36, 83), "36-36-36-36-83"),
    ((0, 1, 4, 8), (24, 33, 59, 94), "24-33-42-50-59-68-77-85-94"),
    ((0, 1, 4, 8), (30, 45, 88, 146), "30-45-59-74-88-103-117-132-146"),
    ((0, 2, 3, 12), (34, 34, 40, 256), "34-34-34-40-64-88-112-136-160-184-208-232-256"),
]


def variants() -> Iterator[ChannelSpace]:
    for depth in (5, 9, 13):
        yield get_space(f"rexnet_{depth}")
    yield replace(get_space("rexnet_9"), resolution=29, in_chans=1, num_classes=10, pieces=1)
    frame = ChannelNetCfg((8,) * 5, (1, 2, 1, 2, 2), stem_width=32, stem_stride=2, head_width=1280, expansion=1)
    yield replace(get_space("rexnet_5"), template=frame, resolution=224, pieces=4)


@pytest.mark.parametrize("space", [*variants()], ids=lambda space: space.name)
def test_complexity_is_what_measure_says(space):
    sample = space.sample(CONFIGS, flops=(None, "1gf"))
    for config, flops, params, acts in zip(sample, sample.flops, sample.params, sample.acts, strict=True):
        _, counted = measure_factory(space.name, partial(space.build, config))
        assert (counted.flops, counted.params, counted.acts) == (flops, params, acts)
        assert space.contains(config), space.contains(config).reason
        assert space.from_json(json.loads(json.dumps(space.to_json(config)))) == config


@pytest.mark.parametrize(("blocks", "widths", "printed"), TABLE_3)
def test_configurations_of_table_3_are_contained(blocks, widths, printed):
    config = PiecewiseLinear(blocks, widths)
    assert "-".join(map(str, config.block_widths())) == printed
    assert get_space(f"rexnet_{blocks[-1] + 1}").contains(config)


@pytest.mark.parametrize(("place", "params"), [(0, "0.2"), (2, "0.5"), (3, "1.0")])
def test_params_of_table_3(place, params):
    blocks, widths, _ = TABLE_3[place]
    counted = measure(get_space(f"rexnet_{blocks[-1] + 1}").build(PiecewiseLinear(blocks, widths)))
    assert f"{counted.params / 1e6:.1f}" == params


def test_a_search_under_the_limits_of_table_3():
    sample = get_space("rexnet_9").sample(200, params=("0.45mp", "0.55mp"), flops=("90mf", "110mf"))
    assert ((sample.params >= 450_000) & (sample.params <= 550_000)).all()
    assert all(list(config.widths) == sorted(config.widths) for config in sample)


def test_a_small_space_counts_what_it_contains():
    space = ChannelSpace("small", 5, Values((8, 16, 24)), pieces=2)
    assert len(set(space.sample(4000))) == space.count() == 3 * 10


@settings(max_examples=40, deadline=None)
@given(
    blocks=st.sets(st.integers(1, 30), min_size=1, max_size=6).map(lambda chosen: (0, *sorted(chosen))), data=st.data()
)
def test_widths_ascend_from_the_first_to_the_last(blocks, data):
    ends = data.draw(st.lists(st.integers(1, 500), min_size=len(blocks), max_size=len(blocks)).map(sorted))
    widths = PiecewiseLinear(blocks, tuple(ends)).block_widths()
    assert list(widths) == sorted(widths)
    assert [widths[block] for block in blocks] == ends


@pytest.mark.parametrize(
    ("blocks", "widths", "reason"),
    [
        ((0, 1, 2, 4), (34, 34, 45, 600), "width 600 is not one of 16 to 512 in steps of 1"),
        ((0, 1, 2, 4), (34, 45, 34, 66), r"the widths [34, 45, 34, 66] decrease"),
        ((0, 2, 1, 4), (34, 34, 45, 66), r"the blocks [0, 2, 1, 4] do not ascend from 0 to 4"),
        ((0, 1, 4), (34, 34, 45), "it has 3 blocks and 3 widths, not 4 of each"),
    ],
)
def test_why_a_configuration_is_not_contained(blocks, widths, reason):
    membership = get_space("rexnet_5").contains(PiecewiseLinear(blocks, widths))
    assert not membership
    assert reason in membership.reason


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: replace(get_space("rexnet_5"), pieces=5),
            "pieces must be from 1 to 4, one less",
        ),
        (lambda: get_space("rexnet_5").from_json({"blocks": [0, 4]}), "has blocks and widths, not blocks"),
        (lambda: ChannelNetCfg(()), "widths must have at least one block"),
        (lambda: ChannelNetCfg((8, 16), (1, 2, 1)), "strides has 3 values for 2 stages"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
