"""AnyNet design spaces: every stage has its own parameters, or shares some of them.

Designing Network Design Spaces, §3.2 and Table 1 (AnyNetX_A to AnyNetX_E), and On Network Design Spaces for Visual
Recognition, Tables 1 and 2 (networks for images of 32×32).
"""

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from timm_regnet_ds.common.check import check_choice
from timm_regnet_ds.models.anynet import AnyNetCfg
from timm_regnet_ds.models.regnet import fit_group_width_arrays

from ._types import Array, Ints
from .anynet_batch import AnyNetBatch
from .frame import Frame
from .framed_space import FramedSpace
from .values import Values, steps

__all__ = ["ANYNET_SPACES", "AnyNetSpace"]

# Ascending parameters are drawn by rejection, and only about one draw in k! ascends in k stages.
_MAX_ASCENDING_STAGES = 7


@dataclass(frozen=True)
class AnyNetSpace(FramedSpace):
    """AnyNets whose parameters are drawn stage by stage, independently.

    Define a space by its values, or derive it from another one with ``dataclasses.replace``:

    >>> from dataclasses import replace
    >>> from timm_regnet_ds.spaces import AnyNetSpace, Frame, get_space, steps
    >>> frame = Frame("basic", (1, 2), "cifar", stem_width=16, num_classes=10)
    >>> narrow = AnyNetSpace("narrow", steps(1, 4), steps(8, 64, 8), frame=frame, resolution=32)
    >>> narrow.count(), len(narrow.sample(100, flops=(None, "20mf")))
    (1024, 100)
    >>> deep = replace(get_space("anynetx_e"), name="deep", depths=steps(8, 32))

    Args:
        depths, widths: values of the depth and of the width of a stage.
        bottle_ratios: values of the width inside a bottleneck over the width (1/b of the papers). ``None``: the block's
            default.
        group_widths: values of the channels per group; widths are changed to fit them as in `RegNetCfg`. ``None``: a
            single group.
        groups: values of the number of groups, instead of group widths.
        shared: which of ``bottle_ratios`` and ``group_widths`` are the same in all stages.
        ascending: which of ``widths`` and ``depths`` do not decrease from stage to stage.
        frame: block, strides, stem and head; the number of its strides is the number of stages.

    Raises:
        ValueError: an unknown block, stem or name, or both group widths and groups.
    """

    depths: Values
    widths: Values
    bottle_ratios: Values | None = None
    group_widths: Values | None = None
    groups: Values | None = None
    shared: tuple[str, ...] = ()
    ascending: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        inside = {name: getattr(self, name) for name in ("bottle_ratios", "group_widths", "groups")}
        given = [name for name, values in inside.items() if values is not None]
        if given and not self.frame.spec.bottleneck:
            raise ValueError(f"block {self.frame.block!r} has no bottleneck: {', '.join(given)} must be None")
        if {"group_widths", "groups"} <= set(given):
            raise ValueError("group_widths and groups exclude each other: pass one of them")
        for what, names, allowed in (
            ("shared parameter", self.shared, inside),
            ("ascending parameter", self.ascending, {"widths": None, "depths": None}),
        ):
            for name in names:
                check_choice(what, name, allowed)
        if self.ascending and self.stages > _MAX_ASCENDING_STAGES:
            raise ValueError(
                f"ascending parameters are drawn for at most {_MAX_ASCENDING_STAGES} stages, not {self.stages}: "
                f"with more, draws hardly ever ascend"
            )

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.frame.strides)

    def _draw(self, rng: np.random.Generator, n: int) -> tuple[AnyNetBatch, Ints]:
        depths, widths = self._draw_values("depths", rng, n), self._draw_values("widths", rng, n)
        default = Values((self.frame.spec.bottle_ratio,))
        ratios = self._draw_values("bottle_ratios", rng, n, default).astype(float)
        if not self.frame.spec.bottleneck:
            group_widths = widths
        elif self.groups is not None:
            inner = np.maximum(1, np.rint(widths * ratios)).astype(np.int64)
            group_widths = np.maximum(1, inner // self._draw_values("groups", rng, n))
        elif self.group_widths is not None:
            widths, group_widths = fit_group_width_arrays(widths, ratios, self._draw_values("group_widths", rng, n))
        else:
            widths, group_widths = fit_group_width_arrays(widths, ratios, np.zeros_like(widths))
        return AnyNetBatch(depths, widths, ratios, group_widths, self.frame), np.arange(n)

    def _draw_values(self, name: str, rng: np.random.Generator, n: int, default: Values | None = None) -> Array:
        """Draws of a parameter, shape (n, stages)."""
        values: Any = getattr(self, name) or default
        if name in self.shared:
            return np.repeat(values.draw(rng, n, 1), self.stages, axis=1)
        if name not in self.ascending:
            return values.draw(rng, n, self.stages)
        # Rejection keeps the distribution; sorting would make draws with different values in each stage too likely.
        drawn = np.empty((0, self.stages), dtype=np.int64)
        while len(drawn) < n:
            more = values.draw(rng, 4 * n, self.stages)
            drawn = np.concatenate([drawn, more[(np.diff(more, axis=1) >= 0).all(axis=1)]])
        return drawn[:n]

    def _nets(self, configs: Any) -> AnyNetBatch:
        return configs

    def _count(self) -> int:
        """Number of combinations of parameters, as in Table 1, except that ascending parameters are counted exactly: k
        values give C(k + stages − 1, stages) ascending tuples; the table divides kˢᵗᵃᵍᵉˢ by stages!."""
        total = 1
        for name in ("depths", "widths", "bottle_ratios", "group_widths", "groups"):
            values = getattr(self, name)
            if values is None:
                continue
            if name in self.shared:
                total *= len(values)
            elif name in self.ascending:
                total *= math.comb(len(values) + self.stages - 1, self.stages)
            else:
                total *= len(values) ** self.stages
        return total

    def _contains(self, cfg: AnyNetCfg) -> str:
        if not isinstance(cfg, AnyNetCfg):
            return f"a configuration of {self.name} is an AnyNetCfg, not a {type(cfg).__name__}"
        if len(cfg.depths) != self.stages:
            return f"it has {len(cfg.depths)} stages, not {self.stages}"
        return self._differing_field(cfg) or self._disallowed_value(cfg) or self._broken_constraint(cfg)

    def _differing_field(self, cfg: AnyNetCfg) -> str:
        own = AnyNetCfg(cfg.depths, cfg.widths, block=self.frame.block, **self.frame.fields())
        for name in ("block", *self.frame.fields(), "act_layer", "norm_layer"):
            if getattr(cfg, name) != getattr(own, name):
                return f"{name} is {getattr(cfg, name)!r}, not {getattr(own, name)!r}"
        return ""

    def _disallowed_value(self, cfg: AnyNetCfg) -> str:
        for stage, depth in enumerate(cfg.depths, 1):
            if depth not in self.depths:
                return f"depth {depth} of stage {stage} is not one of {self.depths}"
        for stage, shape in enumerate(zip(cfg.widths, cfg.bottle_ratios, cfg.group_widths, strict=True), 1):
            width, ratio, _ = shape
            if shape in self._allowed_shapes:
                continue
            if ratio not in {ratio for _, ratio, _ in self._allowed_shapes}:
                ratios = self.bottle_ratios or Values((self.frame.spec.bottle_ratio,))
                return f"bottleneck ratio {ratio:g} of stage {stage} is not one of {ratios}"
            if width not in {width for width, _, _ in self._allowed_shapes}:
                return f"width {width} of stage {stage} is not one of {self.widths}"
            allowed = sorted(group for w, r, group in self._allowed_shapes if (w, r) == (width, ratio))
            return (
                f"group width {shape[2]} of stage {stage}, of width {width} and bottleneck ratio {ratio:g}, "
                f"is not one of {', '.join(map(str, allowed)) or 'those that fit'}"
            )
        return ""

    def _broken_constraint(self, cfg: AnyNetCfg) -> str:
        for name in self.ascending:
            values = getattr(cfg, name)
            if any(later < earlier for earlier, later in pairwise(values)):
                return f"the {name} {list(values)} decrease"
        if "bottle_ratios" in self.shared and len(set(cfg.bottle_ratios)) > 1:
            return f"the bottleneck ratios {list(cfg.bottle_ratios)} are not the same in all stages"
        inside = next((name for name in ("group_widths", "groups") if name in self.shared), None)
        shapes = zip(cfg.widths, cfg.bottle_ratios, cfg.group_widths, strict=True)
        if inside and not set.intersection(*(self._allowed_shapes[shape] for shape in shapes)):
            return f"no one value of {inside} gives the group widths {list(cfg.group_widths)}"
        return ""

    @cached_property
    def _allowed_shapes(self) -> dict[tuple[int, float, int], set[int]]:
        """Allowed (width, bottleneck ratio, group width) of a stage → the drawn group widths or groups that give it."""
        ratios = self.bottle_ratios or Values((self.frame.spec.bottle_ratio,))
        inside = self.groups or self.group_widths
        single = not self.frame.spec.bottleneck
        grid = np.meshgrid(self.widths.values, [float(r) for r in ratios.values], inside.values if inside else (0,))
        widths, ratio, drawn = (axis.ravel() for axis in grid)
        if self.groups is not None:
            groups = np.maximum(1, np.maximum(1, np.rint(widths * ratio)).astype(np.int64) // drawn)
        elif single:
            groups = widths
        else:
            widths, groups = fit_group_width_arrays(widths, ratio, drawn)
        origins: dict[tuple[int, float, int], set[int]] = {}
        for *shape, origin in zip(*(axis.tolist() for axis in (widths, ratio, groups, drawn)), strict=True):
            origins.setdefault(tuple(shape), set()).add(origin)
        return origins

    def _arguments(self, cfg: AnyNetCfg) -> dict[str, Any]:
        return {f.name: getattr(cfg, f.name) for f in fields(cfg)}

    def from_json(self, row: dict[str, Any]) -> Any:
        return self._from_json(AnyNetCfg, row)


# Bottleneck ratios are 1/b of the papers.
RATIOS = Values((0.25, 0.5, 1.0))
GROUP_WIDTHS = Values((1, 2, 4, 8, 16, 32))

_A = AnyNetSpace("anynetx_a", steps(1, 16), steps(8, 1024, 8), RATIOS, GROUP_WIDTHS)
_B = replace(_A, name="anynetx_b", shared=("bottle_ratios",))
_C = replace(_B, name="anynetx_c", shared=("bottle_ratios", "group_widths"))
_D = replace(_C, name="anynetx_d", ascending=("widths",))
_E = replace(_D, name="anynetx_e", ascending=("widths", "depths"))

# On Network Design Spaces, Table 2: "a, b, n" means n values spaced about evenly on the log axis from a to b. The paper
# does not list them; these are powers of 2 where n allows, otherwise whole depths and multiples of 4 nearest to even.
_DEPTHS_9 = Values((1, 2, 3, 4, 6, 8, 12, 16, 24))
_WIDTHS_12 = Values((16, 20, 28, 32, 44, 56, 72, 92, 120, 156, 200, 256))
_DEPTHS_5 = Values((1, 2, 4, 8, 16))


def _nds(name: str, block: str, *values: Any, **rest: Any) -> AnyNetSpace:
    frame = Frame(block, (1, 2, 2), "cifar", 16, num_classes=10)
    return AnyNetSpace(name, *values, frame=frame, resolution=32, **rest)


ANYNET_SPACES = {
    space.name: space
    for space in (
        *(_A, _B, _C, _D, _E),
        _nds("vanilla", "vanilla", _DEPTHS_9, _WIDTHS_12),
        _nds("resnet", "basic", _DEPTHS_9, _WIDTHS_12),
        _nds("resnext_a", "x", _DEPTHS_5, Values((16, 32, 64, 128, 256)), RATIOS, groups=Values((1, 2, 4))),
        _nds("resnext_b", "x", _DEPTHS_5, Values((64, 128, 256, 512, 1024)), RATIOS, groups=Values((1, 2, 4, 8, 16))),
    )
}
