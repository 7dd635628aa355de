"""RegNet design spaces: stages from a quantized linear function.

Designing Network Design Spaces, §3.3 and Table 1; Fast and Accurate Model Scaling, §6.1 (RegNetZ, resolution).
"""

import math
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from timm_regnet_ds.common.quantized_linear import quantized_linear_exponents
from timm_regnet_ds.models.regnet import RegNetCfg, fit_group_width_arrays

from ._types import Array, Ints
from .anynet import RATIOS
from .anynet_batch import AnyNetBatch
from .frame import Frame
from .framed_space import FramedSpace
from .quantized import quantized_stages
from .regnet_count import count_regnets
from .space import ConfigBatch
from .values import Values, steps

__all__ = ["REGNET_SPACES", "RegNetBatch", "RegNetSpace"]

# Real numbers, although they are drawn from a grid.
_CONTINUOUS = ("wa", "wm")


@dataclass(frozen=True, eq=False, repr=False)
class RegNetBatch(ConfigBatch):
    """n RegNets: their parameters as arrays of shape (n,), and the same networks stage by stage.

    Attributes:
        parameters: fields of `RegNetCfg` by name, shape (n,).
        nets: the same networks stage by stage.
    """

    parameters: dict[str, Array]
    nets: AnyNetBatch

    def __len__(self) -> int:
        return len(self.nets)

    def __getitem__(self, index: Any) -> RegNetCfg:
        fields = {name: array[index].item() for name, array in self.parameters.items()}
        return RegNetCfg(block=self.nets.frame.block, **fields)

    def take(self, indices: Array) -> "RegNetBatch":
        return RegNetBatch({name: array[indices] for name, array in self.parameters.items()}, self.nets.take(indices))

    def join(self, others: Any) -> "RegNetBatch":
        batches = (self, *others)
        parameters = {name: np.concatenate([batch.parameters[name] for batch in batches]) for name in self.parameters}
        return RegNetBatch(parameters, self.nets.join([other.nets for other in others]))


@dataclass(frozen=True)
class RegNetSpace(FramedSpace):
    """RegNets with a given number of stages (§3.3).

    Draws that give another number of stages, an empty stage, or two stages of the same width are rejected.

    Args:
        depth, w0, wa, wm: values of the parameters of `RegNetCfg`.
        bottle_ratio: values of 1/b of the paper. ``None``: the block's default.
        group_width: values of the channels per group. ``None``: a single group.
        frame: block, strides, stem and head; the number of its strides is the number of stages.

    Raises:
        ValueError: an unknown block or stem, or values that the block does not take.
    """

    depth: Values
    w0: Values
    wa: Values
    wm: Values
    bottle_ratio: Values | None = None
    group_width: Values | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in ("bottle_ratio", "group_width") if getattr(self, name) is not None]
        if given and not self.frame.spec.bottleneck:
            raise ValueError(f"block {self.frame.block!r} has no bottleneck: {', '.join(given)} must be None")

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.frame.strides)

    def _values(self) -> dict[str, Values]:
        names = ("depth", "w0", "wa", "wm", "bottle_ratio", "group_width")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _draw(self, rng: np.random.Generator, n: int) -> tuple[RegNetBatch, Ints]:
        values = self._values()
        # Networks with fewer blocks than stages are rejected before the other parameters are drawn.
        depth = values["depth"].draw(rng, n)
        draw_index = np.flatnonzero(depth >= self.stages)
        line = {"depth": depth[draw_index]} | {
            name: values[name].draw(rng, len(draw_index)) for name in ("w0", "wa", "wm")
        }
        indices, depths, widths = quantized_stages(**line, stages=self.stages)
        parameters = {name: array[indices] for name, array in line.items()}
        parameters |= {name: values[name].draw(rng, len(indices)) for name in values if name not in line}
        return self._configs(parameters, depths, widths), draw_index[indices]

    def _configs(self, parameters: dict[str, Array], depths: Array, widths: Array) -> RegNetBatch:
        spec, column = self.frame.spec, (len(widths), 1)
        ratios = parameters.get("bottle_ratio", np.full(len(widths), spec.bottle_ratio)).reshape(column)
        group_widths = widths
        if spec.bottleneck:
            wanted = parameters.get("group_width", np.zeros(len(widths), dtype=np.int64)).reshape(column)
            widths, group_widths = fit_group_width_arrays(widths, ratios, wanted)
        ratios = np.broadcast_to(ratios, widths.shape)
        return RegNetBatch(parameters, AnyNetBatch(depths, widths, ratios, group_widths, self.frame))

    def _nets(self, configs: Any) -> AnyNetBatch:
        return configs.nets

    def _count(self) -> int:
        """Number of combinations of parameters that give the number of stages.

        Table 1's ~64⁴·6·3 is the authors' estimate, which assumes 64 values for each of depth, w0, wa and wm, and
        counts those that give another number of stages too.
        """
        values = self._values()
        total = count_regnets(*(values.pop(name) for name in ("depth", "w0", "wa", "wm")), self.stages)
        return total * math.prod(map(len, values.values()))

    def _contains(self, cfg: RegNetCfg) -> str:
        if not isinstance(cfg, RegNetCfg):
            return f"a configuration of {self.name} is a RegNetCfg, not a {type(cfg).__name__}"
        if cfg.block != self.frame.block:
            return f"block is {cfg.block!r}, not {self.frame.block!r}"
        for name in ("depth", "w0", "wa", "wm", "bottle_ratio", "group_width"):
            values, value = getattr(self, name), getattr(cfg, name)
            if value is None and name == "bottle_ratio" and values is not None:
                value = self.frame.spec.bottle_ratio
            if value is None and values is None:
                continue
            if values is not None and name in _CONTINUOUS:
                if not values.values[0] <= value <= values.values[-1]:
                    return f"{name} {value:g} is not from {values.values[0]:g} to {values.values[-1]:g}"
            elif values is None or value not in values:
                return f"{name} {value} is not one of {values}"
        return self._wrong_stages(cfg)

    def _wrong_stages(self, cfg: RegNetCfg) -> str:
        exponents = quantized_linear_exponents(cfg.depth, cfg.w0, cfg.wa, cfg.wm).astype(int).tolist()
        stages = exponents[-1] + 1
        empty = sorted(set(range(stages)) - set(exponents))
        if stages != self.stages:
            return (
                f"its parameters give {stages} stages{f', {len(empty)} of them empty' * bool(empty)}, not {self.stages}"
            )
        if empty:
            return f"stage {empty[0] + 1} of {stages} has no block"
        widths = [width for width, _ in groupby(cfg.block_widths())]
        return "" if len(widths) == stages else f"two of its {stages} stages have the same width"

    def _arguments(self, cfg: RegNetCfg) -> dict[str, Any]:
        return asdict(cfg) | self.frame.fields()

    def from_json(self, row: dict[str, Any]) -> Any:
        return self._from_json(RegNetCfg, row)


# §3.3: d < 64, w0, wa < 256, 1.5 ≤ wm ≤ 3, and b and g as in AnyNetX. Slopes below 1 give four stages to hardly any
# network. The paper does not say how they are drawn. The authors' public sampler draws the depth uniformly and the
# others log-uniformly, group widths from 8 on among the multiples of 8.
_X = RegNetSpace(
    "regnetx",
    depth=steps(1, 63, log=False),
    w0=steps(8, 248, 8),
    wa=steps(1, 255.9, 0.1),
    wm=steps(1.5, 3, 0.001),
    bottle_ratio=RATIOS,
    group_width=Values((1, 2, 4, 8, 16, 24, 32), log=True),
)

# §4: no bottleneck, 12 to 28 blocks, and wm of at least 2.
_REFINED = replace(
    _X, name="regnetx_refined", depth=steps(12, 28, log=False), wm=steps(2, 3, 0.001), bottle_ratio=Values((1.0,))
)

REGNET_SPACES = {
    space.name: space
    for space in (
        _X,
        replace(_X, name="regnety", frame=Frame("y")),
        # Fast and Accurate Model Scaling, §6.1: b = 1/4 in all experiments, and the resolution is a parameter. The
        # paper does not say which resolutions; its models have 224 and 256.
        replace(
            _X,
            name="regnetz",
            frame=Frame("z"),
            bottle_ratio=Values((4.0,)),
            resolution=steps(128, 320, 16, log=False),
        ),
        _REFINED,
        # The default ranges of the authors' public sampler, "to generate fairly good performing models up to 16GF".
        replace(
            _REFINED,
            name="regnetx_pycls",
            w0=steps(8, 256, 8),
            wa=steps(8, 256, 0.1),
            group_width=steps(8, 128, 8),
        ),
    )
}
