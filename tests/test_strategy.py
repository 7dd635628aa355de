"""The arithmetic of scaling, against Fast and Accurate Model Scaling's Tables 1 to 4."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import timm_regnet_ds
from timm_regnet_ds import STRATEGIES, resolve_strategy
from timm_regnet_ds.scaling import Multipliers
from timm_regnet_ds.scaling.arithmetic.rounding import round_depth, round_group_width, round_resolution, round_width
from timm_regnet_ds.scaling.fitting.target import Target, parse_target
from timm_regnet_ds.scaling.named.nearest_factor import nearest_factor

factors = st.floats(0.05, 100)

# Exponents of s in d, w, r, and in params and acts, as printed in Tables 1, 2 and 4.
PRINTED = {
    "d": (1, 0, 0, 1, 1),
    "w": (0, 1 / 2, 0, 1, 1 / 2),
    "r": (0, 0, 1 / 2, 0, 1),
    "dw": (1 / 2, 1 / 4, 0, 1, 3 / 4),
    "wr": (0, 1 / 4, 1 / 4, 1 / 2, 3 / 4),
    "dr": (1 / 2, 0, 1 / 4, 1 / 2, 1),
    "dwr": (1 / 3, 1 / 6, 1 / 6, 2 / 3, 5 / 6),
    "dWr": (0.1, 0.4, 0.05, 0.9, 0.6),
}


def test_all_strategies_are_in_the_tables():
    assert list(STRATEGIES) == ["d", "w", "r", "dw", "dr", "wr", "dwr", "dWr", "orig"]
    assert set(STRATEGIES) - {"orig"} == set(PRINTED)


@pytest.mark.parametrize("phi", [-1, 1, 2, 3.5])
def test_orig_is_efficientnets_rule(phi):
    """Depth, width and resolution grow by powers of 1.2, 1.1 and 1.15 (§3.4, Figures 4 and 8)."""
    by = resolve_strategy("orig").multipliers((1.2 * 1.1**2 * 1.15**2) ** phi)
    assert (by.depth, by.width, by.resolution) == pytest.approx((1.2**phi, 1.1**phi, 1.15**phi))
    assert resolve_strategy("orig").growth(4.0).flops == pytest.approx(4.0)


@given(factor=factors, name=st.sampled_from(list(PRINTED)))
def test_tables_1_2_and_4(factor, name):
    strategy = resolve_strategy(name)
    multipliers, growth = strategy.multipliers(factor), strategy.growth(factor)
    depth, width, resolution, params, acts = PRINTED[name]
    assert multipliers.depth == pytest.approx(factor**depth)
    assert multipliers.width == multipliers.group_width == pytest.approx(factor**width)
    assert multipliers.resolution == pytest.approx(factor**resolution)
    assert growth.flops == pytest.approx(factor)
    assert growth.params == pytest.approx(factor**params)
    assert growth.acts == pytest.approx(factor**acts)


@given(factor=factors, alpha=st.floats(0, 1))
def test_the_alpha_family(factor, alpha):
    growth = resolve_strategy(alpha).growth(factor)
    assert growth.flops == pytest.approx(factor)
    assert growth.params == pytest.approx(factor ** ((1 + alpha) / 2))
    assert growth.acts == pytest.approx(factor ** ((2 - alpha) / 2))


@pytest.mark.parametrize(("name", "alpha"), [("w", 1), ("dr", 0), ("dwr", 1 / 3), ("dWr", 0.8)])
def test_names_in_the_alpha_family(name, alpha):
    assert resolve_strategy(name).growth(7.0) == resolve_strategy(alpha).growth(7.0)


@given(s=factors)
def test_table_3_of_group_width(s):
    def growth(width: float, group_width: float) -> tuple[float, ...]:
        g = Multipliers(width=width, group_width=group_width).growth(grouped=True)
        return g.flops, g.params, g.acts

    assert growth(s, 1) == pytest.approx((s, s, s))
    assert growth(1, s) == pytest.approx((s, s, 1))
    assert growth(math.sqrt(s), math.sqrt(s)) == pytest.approx((s, s, math.sqrt(s)))


@given(s=factors)
def test_strategies_of_table_3(s):
    def multipliers(width: float, group_width: float) -> tuple[float, float]:
        fields = {"name": "a", "depth": 0, "width": width, "resolution": 0, "group_width": group_width}
        by = resolve_strategy(fields).multipliers(s)
        return by.width, by.group_width

    assert multipliers(2, 0) == pytest.approx((s, 1))
    assert multipliers(0, 2) == pytest.approx((1, s))
    assert multipliers(1, 1) == pytest.approx((math.sqrt(s), math.sqrt(s)))


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("dwrr", "unknown strategy 'dwrr'; did you mean 'dwr'? (allowed: d, w, r, dw, dr, wr, dwr, dWr, orig)"),
        ("", "unknown strategy ''"),
        (None, "unknown strategy None"),
        (1.5, "alpha must be a finite number at least 0 and at most 1, not 1.5"),
        (-0.1, "not -0.1"),
        (float("nan"), "not nan"),
        (True, "unknown strategy True"),
    ],
)
def test_other_strategies_are_refused(strategy, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        resolve_strategy(strategy)


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf"), "4"])
def test_other_factors_are_refused(factor):
    with pytest.raises(ValueError, match="factor must be a finite number above 0"):
        resolve_strategy("dWr").multipliers(factor)


def test_rounding():
    assert [round_depth(d) for d in (0.2, 1.4, 4.93)] == [1, 1, 5]
    assert [round_width(w) for w in (1, 36.9, 240.1, 591)] == [8, 40, 240, 592]
    assert [round_group_width(g) for g in (0.3, 1, 2.4, 2.6, 5.4, 5.6, 9.2, 13.8)] == [1, 1, 2, 4, 4, 8, 8, 16]
    assert [round_resolution(r) for r in (1, 248.7, 266.1)] == [4, 248, 268]


def test_targets():
    assert parse_target("4gf") == parse_target("4000MF") == Target("flops", 4e9)
    assert parse_target("25.5mp") == Target("params", 25.5e6)
    assert parse_target("12ma") == Target("acts", 12e6)
    for wrong in (4, None, "4", "gf", "-4gf", "4xf", "4 gf", "0gf", "nangf", "1e9gf"):
        with pytest.raises(ValueError, match=r"target|must be a finite number above 0"):
            parse_target(wrong)


@given(exponent=st.floats(0.9, 1.1), target=st.floats(0.5, 60.0))
def test_the_nearest_factor_is_nearest(exponent, target):
    def flops(factor: float) -> float:
        return round(factor**exponent * 4) / 4 + 0.01

    found = nearest_factor(flops, target)
    assert float(f"{found:.2e}") == found
    reached = abs(flops(found) - target)
    assert reached <= min(abs(flops(found * near) - target) for near in (0.98, 0.99, 0.995, 1.005, 1.01, 1.02)) + 1e-9


def test_the_arithmetic_needs_no_torch():
    program = """
import importlib.util, sys, types
sys.modules.update({name: None for name in ("torch", "timm", "numpy")})
root = sys.argv[1]
sys.modules["timm_regnet_ds"] = package = types.ModuleType("timm_regnet_ds")
package.__path__ = [root]
spec = importlib.util.spec_from_file_location("strategy", f"{root}/scaling/arithmetic/strategy.py")
sys.modules["strategy"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(len(module.STRATEGIES))
"""
    root = Path(timm_regnet_ds.__file__).parent
    command = [sys.executable, "-S", "-c", program, str(root)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "9\n"
