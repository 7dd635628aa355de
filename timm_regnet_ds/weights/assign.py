"""The weights of a grown model from its base's, by index maps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .maps import COPY, FRESH, MEAN, OLD, ZERO, Map, Policy, index_map, scale_map
from .plan import Plan

__all__ = ["assign"]

# Copies of a channel are read with weights that differ by this share of what they are freshly initialized to, so
# that they do not stay copies. The differences add up to zero.
_DIFFERENCE = 0.5


def assign(
    plan: Plan, base: Mapping[str, Tensor], fresh: Mapping[str, Tensor], policy: Policy, into: Mapping[str, Tensor]
) -> dict[str, list[Map]]:
    """Give a grown model its base's weights, one tensor after the other.

    Args:
        plan: from `trace`.
        base: the base's weights, by their names in the base.
        fresh: the grown model's weights as its class initializes them.
        policy: what new channels are.
        into: all parameters and buffers of the grown model, which are written.

    Returns:
        Of each tensor that is partly new, the maps of its axes.
    """
    generator = torch.Generator().manual_seed(0)
    maps: dict[str, list[Map]] = {}
    for name, target in into.items():
        old = base.get(plan.names.get(name, ""))
        if old is None or name not in plan.dims or not _fits(plan, name, old, target):
            target.copy_(fresh[name])
        elif target.ndim == 0 or plan.is_same(name):
            target.copy_(old)
        else:
            maps[name] = [index_map(dim, policy) for dim in plan.dims[name]]
            target.copy_(fresh[name])
            _assign_one(plan, name, old.to(target), fresh[name], target, maps[name], generator)
            _set_new(plan, name, base, target, maps[name])
        if name in plan.dims and target.is_floating_point() and target.ndim:
            _rescale(plan, name, target)
    return maps


def _fits(plan: Plan, name: str, old: Tensor, new: Tensor) -> bool:
    return [dim.size for dim in plan.dims[name]] == list(zip(old.shape, new.shape, strict=False))


def _assign_one(
    plan: Plan,
    name: str,
    old: Tensor,
    fresh: Tensor,
    weight: Tensor,
    maps: Sequence[Map],
    generator: torch.Generator,
) -> None:
    """The base's values at the indices that the maps give; weights from new inputs to old outputs are zero.

    Args:
        plan: from `trace`.
        name: of the weight.
        old: the base's weight.
        fresh: the weight as its class initializes it.
        weight: a tensor with the values of ``fresh``. It is changed in place, since a second one of its size may not
            fit into memory.
        maps: of its axes.
        generator: of the differences of copies.
    """
    inputs = plan.input_axes(name)
    if name in plan.standardized:
        old = old - old.mean(tuple(range(1, old.ndim)), keepdim=True)
        if name in plan.standard_gains:  # the layer divides by the root of the fan-in: the same variance, eps and all
            old = old * (weight[0].numel() / old[0].numel()) ** 0.5
    if name in plan.packed:
        _pack(plan, name, old, weight, maps)
        return
    known = [m.where(OLD, COPY) for m in maps]
    if not all(len(indices) for indices in known):
        return
    weight[_at(known)] = _take(old, [m.source[indices] for m, indices in zip(maps, known, strict=True)])
    if plan.kinds.get(name) == "norm_state" and name.endswith("weight"):
        # A norm that its class begins at zero would keep gradients from its new channels.
        fresh_channels = maps[0].where(FRESH)
        zero = fresh_channels[(weight[fresh_channels] == 0).numpy()]
        weight[zero] = old.abs().mean()
    for axis in inputs:
        outputs = [m.where(OLD, COPY) if k != axis else np.empty(0, np.int64) for k, m in enumerate(maps)]
        unknown = maps[axis].where(MEAN, ZERO, FRESH)
        if len(unknown):
            outputs[axis] = unknown
            weight[_at(outputs)] = 0
        _split_copies(weight, fresh, maps, axis, generator, exact=name not in plan.standardized)


def _split_copies(
    weight: Tensor, fresh: Tensor, maps: Sequence[Map], axis: int, generator: torch.Generator, exact: bool
) -> None:
    """Read a channel and its copies with weights that add up to the base's."""
    copies = maps[axis].where(COPY)
    if not len(copies):
        return
    old = maps[axis].where(OLD)
    rows = [m.where(OLD, COPY) if k != axis else copies for k, m in enumerate(maps)]
    difference = _take(fresh, rows).to(weight) * (_DIFFERENCE if exact else 0.0)
    if exact and not difference.abs().sum():
        spread = _take(weight, [*rows[:axis], old, *rows[axis + 1 :]]).std().nan_to_num()
        difference = torch.randn(difference.shape, generator=generator, dtype=weight.dtype) * spread * 0.1
    weight[_at(rows)] = difference
    # The differences are subtracted from the weight of the old channel, so that the sum stays.
    at = {int(source): int(index) for index, source in zip(old, maps[axis].source[old], strict=True)}
    owners = torch.tensor([at[int(source)] for source in maps[axis].source[copies]])
    rows[axis] = np.arange(weight.shape[axis])
    weight[_at(rows)] = _take(weight, rows).index_add(axis, owners, -difference)


def _pack(plan: Plan, name: str, old: Tensor, weight: Tensor, maps: Sequence[Map]) -> None:
    """A weight whose groups read their own part of the grown group that they share."""
    (groups, _), (width, wide) = plan.packed[name]
    per_group = old.shape[0] // groups
    for output in maps[0].where(OLD):
        source = int(maps[0].source[output])
        start = (source // per_group) % (wide // width) * width
        weight[output] = 0
        weight[output, start : start + width] = old[source]


def _set_new(plan: Plan, name: str, base: Mapping[str, Tensor], weight: Tensor, maps: Sequence[Map]) -> None:
    """Set new outputs that have to be zero or the mean of the old ones, and the scales of the norms over them."""
    inputs = plan.input_axes(name)
    axes = [k for k in range(len(maps)) if k not in inputs and len(maps[k].where(MEAN, ZERO))]
    if not axes:
        return
    axis, kind = axes[0], plan.kinds.get(name)
    m = maps[axis]
    rows = weight.movedim(axis, 0)
    mean, zero, old = m.where(MEAN), m.where(ZERO), m.where(OLD)
    if kind == "norm_weight" or (kind == "scale" and name in plan.gains):
        rows[old] *= plan.gains.get(name, 1.0)
    elif kind == "scale":
        if len(mean):
            rows[mean] = rows[old].abs().mean(0, keepdim=True)
    elif kind == "norm_state":
        if name.endswith(("bias", "running_mean")):
            rows[np.concatenate([mean, zero])] = 0
    elif kind == "norm_bias":
        rows[np.concatenate([mean, zero])] = 0
    else:
        rows[zero] = 0
        if len(mean):
            rows[mean] = _mean(plan, name, base, rows[old])


def _rescale(plan: Plan, name: str, weight: Tensor) -> None:
    """Make up for constants of the class, such as the scale of attention, and for copies of queries and keys."""
    kind = plan.kinds.get(name)
    if plan.scales and kind not in ("scale", "depthwise"):
        inputs = plan.input_axes(name)
        for axis, dim in enumerate(plan.dims[name]):
            scale = scale_map(dim, plan.scales)
            if (scale == 1).all():
                continue
            power = -1 if axis in inputs else 2 if name.endswith("running_var") else 1
            shape = [1] * weight.ndim
            shape[axis] = -1
            weight *= torch.from_numpy(scale**power).to(weight).reshape(shape)
    if name in plan.factors:
        weight *= plan.factors[name]


def _mean(plan: Plan, name: str, base: Mapping[str, Tensor], rows: Tensor) -> Tensor:
    """The mean of the old outputs, as they are after the scales that follow."""
    weight = plan.bias_of.get(name, name)
    scale = None
    for other in plan.multipliers.get(weight, []):
        values = base[plan.names[other]].flatten().to(rows)
        scale = values if scale is None else scale * values
    if scale is None or len(scale) != len(rows):
        return rows.mean(0, keepdim=True)
    shaped = scale.reshape(-1, *[1] * (rows.ndim - 1))
    return (rows * shaped).mean(0, keepdim=True) / scale.abs().mean()


def _at(indices: Sequence[NDArray[np.int64]]) -> tuple[Any, ...]:
    """An index of the elements at some indices of each axis: slices where that is possible, which are faster."""
    ranges = [_range(found) for found in indices]
    others = [k for k, found in enumerate(ranges) if found is None]
    if len(others) > 1:
        return np.ix_(*indices)
    return tuple(torch.from_numpy(found) if at is None else at for at, found in zip(ranges, indices, strict=True))


def _take(tensor: Tensor, indices: Sequence[NDArray[np.int64]]) -> Tensor:
    """The elements at some indices of each axis; a view where that is possible."""
    for axis, found in enumerate(indices):
        at = _range(found)
        if at is None:
            tensor = tensor.index_select(axis, torch.from_numpy(found))
        else:
            tensor = tensor.narrow(axis, at.start, at.stop - at.start)
    return tensor


def _range(indices: NDArray[np.int64]) -> slice | None:
    """Consecutive indices as a slice."""
    if not len(indices):
        return slice(0, 0)
    first, last = int(indices[0]), int(indices[-1])
    return slice(first, last + 1) if np.array_equal(indices, np.arange(first, last + 1)) else None
