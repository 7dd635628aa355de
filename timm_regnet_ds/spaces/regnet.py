"""RegNet design spaces: stages from a quantized linear function.

Designing Network Design Spaces, §3.3 and Table 1; Fast and Accurate Model Scaling, §6.1 (RegNetZ, resolution).
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timm_regnet_ds.models.regnet import RegNetCfg, fit_group_width_arrays

from .anynet import GROUP_WIDTHS, RATIOS, FramedSpace
from .arrays import AnyNets, Frame
from .quantized import quantized_stages
from .space import Configs, Ints
from .values import Values, steps

__all__ = ["REGNETS", "RegNetSpace", "RegNets"]

Array = NDArray[Any]

# Real numbers, drawn and counted on a grid.
_CONTINUOUS = ("wa", "wm")


@dataclass(frozen=True, eq=False)
class RegNets(Configs):
    """RegNets as arrays of shape (n,), and the AnyNets that they are.

    Attributes:
        parameters: of `RegNetCfg`, by name.
        nets: the same networks stage by stage.
    """

    parameters: dict[str, Array]
    nets: AnyNets

    def __len__(self) -> int:
        return len(self.nets)

    def __getitem__(self, place: Any) -> RegNetCfg:
        fields = {name: array[place].item() for name, array in self.parameters.items()}
        return RegNetCfg(block=self.nets.frame.block, **fields)

    def take(self, places: Array) -> "RegNets":
        return RegNets({name: array[places] for name, array in self.parameters.items()}, self.nets.take(places))

    def joined(self, others: Any) -> "RegNets":
        parts = (self, *others)
        parameters = {name: np.concatenate([part.parameters[name] for part in parts]) for name in self.parameters}
        return RegNets(parameters, self.nets.joined([other.nets for other in others]))


@dataclass(frozen=True)
class RegNetSpace(FramedSpace):
    """RegNets of a number of stages; draws of parameters that give another number are passed over (§3.3).

    Args:
        depth, w0, wa, wm: values of the parameters of `RegNetCfg`.
        bottle_ratio: values of 1/b of the paper. ``None``: the block's own.
        group_width: values of the channels per group. ``None``: a single group.
        frame: blocks, stem and head; it has as many strides as there are stages.

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

    def _draw(self, rng: np.random.Generator, n: int) -> tuple[RegNets, Ints]:
        values = self._values()
        # What cannot come to so many stages is passed over before the rest is drawn.
        depth = values["depth"].draw(rng, n)
        order = np.flatnonzero(depth >= self.stages)
        line = {"depth": depth[order]} | {name: values[name].draw(rng, len(order)) for name in ("w0", "wa", "wm")}
        places, depths, widths = quantized_stages(**line, stages=self.stages)
        parameters = {name: array[places] for name, array in line.items()}
        parameters |= {name: values[name].draw(rng, len(places)) for name in values if name not in line}
        return self._configs(parameters, depths, widths), order[places]

    def _configs(self, parameters: dict[str, Array], depths: Array, widths: Array) -> RegNets:
        spec = self.frame.spec
        ratios = np.full(widths.shape, spec.bottle_ratio)
        group_widths = widths
        if spec.bottleneck:
            if "bottle_ratio" in parameters:
                ratios[:] = parameters["bottle_ratio"][:, None]
            group_widths = np.zeros_like(widths)
            if "group_width" in parameters:
                group_widths[:] = parameters["group_width"][:, None]
            widths, group_widths = fit_group_width_arrays(widths, ratios, group_widths)
        return RegNets(parameters, AnyNets(depths, widths, ratios, group_widths, self.frame))

    def _nets(self, configs: Any) -> AnyNets:
        return configs.nets

    def _count(self) -> int:
        """Combinations of parameters, those that give another number of stages among them.

        Table 1's ~64⁴·6·3 is an estimate of the authors' that allows 64 values to each of depth, w0, wa and wm.
        """
        return int(np.prod([len(values) for values in self._values().values()], dtype=object))

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
        stages = len(cfg.stages().depths)
        return "" if stages == self.stages else f"its parameters give {stages} stages, not {self.stages}"

    def _arguments(self, cfg: RegNetCfg) -> dict[str, Any]:
        return asdict(cfg) | self.frame.fields()

    def from_json(self, row: dict[str, Any]) -> Any:
        return self._from_json(RegNetCfg, row)


# §3.3: d < 64, w0, wa < 256, 1.5 ≤ wm ≤ 3, and b and g as in AnyNetX. Slopes below 1 give four stages to hardly any
# network. The printed networks are of a later search, most of them with other group widths.
_X = RegNetSpace(
    "regnetx", steps(1, 63), steps(8, 248, 8), steps(1, 255.9, 0.1), steps(1.5, 3, 0.001), RATIOS, GROUP_WIDTHS
)

REGNETS = {
    space.name: space
    for space in (
        _X,
        replace(_X, name="regnety", frame=Frame("y")),
        # Fast and Accurate Model Scaling, §6.1: b = 1/4 in all experiments.
        replace(_X, name="regnetz", frame=Frame("z"), bottle_ratio=Values((4.0,))),
    )
}
