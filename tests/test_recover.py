"""Networks found from printed figures alone."""

from dataclasses import replace

from timm_regnet_ds import measure
from timm_regnet_ds.models.regnet import REGNET_CFGS
from timm_regnet_ds.papers.complexity import Printed
from timm_regnet_ds.scaling.named.models import PAPER
from timm_regnet_ds.spaces.recover import TARGETS_TO_RECOVER, recover


def test_regnety_500mf_is_the_only_network_that_matches_its_nine_figures():
    result = recover(TARGETS_TO_RECOVER["RegNetY-500MF"])
    assert result.candidates > 50
    (found,) = result.found
    ours = REGNET_CFGS["regnety_500mf"].stages()
    stages = found.cfg.stages()
    assert (stages.depths, stages.widths, stages.group_widths) == (ours.depths, ours.widths, ours.group_widths)
    for target, (low, high) in found.factors.items():
        assert low <= PAPER[f"regnety_500mf_dWr_{target.lower()}"] <= high
    counted = measure("regnety_500mf")
    assert (found.counts.flops, found.counts.params, found.counts.acts) == (
        counted.flops,
        counted.params,
        counted.acts,
    )


def test_the_rows_are_those_that_are_printed():
    target = TARGETS_TO_RECOVER["RegNetY-500MF"]
    assert target.printed == ("0.5", "5.6", "4.2")
    assert target.scaled == {"4GF": ("4.1", "36.2", "13.3"), "16GF": ("16.2", "112.7", "29.4")}


def test_two_networks_match_regnetz_4gf_224():
    result = recover(TARGETS_TO_RECOVER["RegNetZ-4GF-224"])
    assert len(result.found) == result.candidates == 2
    for found in result.found:
        assert TARGETS_TO_RECOVER["RegNetZ-4GF-224"].printed.differences(found.counts) == []


def test_nothing_is_found_where_a_scaled_row_is_another_networks():
    target = replace(TARGETS_TO_RECOVER["RegNetY-500MF"], scaled={"4GF": Printed("4.1", "50.0", "13.3")})
    result = recover(replace(target, draws=5000))
    assert result.candidates
    assert result.found == ()
