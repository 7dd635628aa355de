"""RegNetX of 360 to 400 MF, sampled by arrays and one at a time, side by side in one run.

    pytest benchmarks/bench_spaces.py --benchmark-columns=median,iqr,rounds

Both draw the same parameters with the same probabilities and keep what falls within the limits; what they keep is
compared. Arrays are to find at least 1,000 times as many a second, on one core.
"""

import math
import random
import statistics
import time
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from timm_regnet_ds.models.anynet import AnyNetCfg
from timm_regnet_ds.models.regnet import RegNetCfg
from timm_regnet_ds.spaces import get_space

LOW, HIGH = 360e6, 400e6
CONFIGS = 5000
DRAWS = 2000  # of the reference, of which one in some hundreds falls within the limits
TIMES = 1000
ROUNDS = 5


def one_at_a_time(space, draws, seed=0):
    """The obvious sampler: draw, derive the stages, add up block by block, keep or draw again."""
    rng = random.Random(seed)
    names = ("depth", "w0", "wa", "wm", "bottle_ratio", "group_width")
    columns = {name: getattr(space, name).quantiles.tolist() for name in names}
    kept = []
    for _ in range(draws):
        cfg = RegNetCfg(**{name: rng.choice(column) for name, column in columns.items()})
        net = stages(cfg)
        if has_stages(cfg, net, space.stages) and LOW <= flops(net) <= HIGH:
            kept.append(cfg)
    return kept


def exponent(cfg, block):
    """Exponent of a block: blocks with the same exponent form a stage."""
    return round(math.log((cfg.w0 + cfg.wa * block) / cfg.w0) / math.log(cfg.wm))


def has_stages(cfg, net, number):
    """Whether all of this number of stages have blocks and their widths differ."""
    return len(net.depths) == number == exponent(cfg, cfg.depth - 1) + 1


def stages(cfg):
    """`RegNetCfg.stages` in plain Python, block by block."""
    runs = Counter(round(cfg.w0 * cfg.wm ** exponent(cfg, block) / 8) * 8 for block in range(cfg.depth))
    fitted = [fit(width, cfg.bottle_ratio, cfg.group_width) for width in runs]
    widths, group_widths = zip(*fitted, strict=True)
    return AnyNetCfg(tuple(runs.values()), widths, bottle_ratios=cfg.bottle_ratio, group_widths=group_widths)


def fit(width, bottle_ratio, group_width):
    """The nearest width whose inside the group width divides, and that group width."""
    ratio = Fraction(bottle_ratio).limit_denominator(64)
    inner = max(1, int(width * ratio))
    group_width = min(group_width, inner)
    multiple = math.lcm(group_width, ratio.numerator)
    return int(max(multiple, round(inner / multiple) * multiple) / ratio), group_width


def flops(net, side=224, num_classes=1000):
    """Multiply-adds of an AnyNet of X blocks."""
    side //= 2
    total, inputs = 9 * 3 * net.stem_width * side**2, net.stem_width
    for depth, width, inner, group in zip(net.depths, net.widths, net.inner_widths, net.group_widths, strict=True):
        for block in range(depth):
            coming, side = side, side // 2 if block == 0 else side
            total += inputs * inner * coming**2 + 9 * inner * group * side**2 + inner * width * side**2
            if block == 0:
                total += inputs * width * side**2
            inputs = width
    return total + inputs * num_classes


def seconds(call, *args, **kwargs):
    """Of the processor, so that what else runs on the machine does not count."""
    start = time.process_time()
    result = call(*args, **kwargs)
    return time.process_time() - start, result


def test_regnetx_within_limits(benchmark):
    space = get_space("regnetx")
    rates, kept = [], []

    def both(seed):
        ours, sample = seconds(space.sample, CONFIGS, seed, flops=(LOW, HIGH))
        theirs, found = seconds(one_at_a_time, space, DRAWS, seed)
        kept.extend(found)
        # So few are kept that their rate is known better from how many are drawn for each.
        rates.append((CONFIGS / ours, CONFIGS / sample.drawn * DRAWS / theirs))
        return sample

    seeds = iter(range(ROUNDS))
    sample = benchmark.pedantic(lambda: both(next(seeds)), rounds=ROUNDS)
    assert [flops(cfg.stages()) for cfg in list(sample)[:100]] == sample.flops[:100].tolist()
    expected = CONFIGS / sample.drawn * DRAWS * ROUNDS
    assert len(kept) == pytest.approx(expected, abs=5 * np.sqrt(expected))
    ours, theirs, times = (statistics.median(column) for column in zip(*((o, t, o / t) for o, t in rates), strict=True))
    benchmark.extra_info |= {"per second": ours, "one at a time": theirs, "times": times}
    print(f"\n{ours:,.0f} configurations a second, one at a time {theirs:,.1f}: {times:,.0f} times as many")
    assert times >= TIMES
