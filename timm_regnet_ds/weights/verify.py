"""Whether a grown model computes what its base computes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .dims import Dim, same
from .maps import OLD, Policy, index_map
from .record import tensors

__all__ = ["compare", "outputs"]


def outputs(model: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What a model returns, without gradients."""
    with torch.no_grad():
        return tensors(model(*inputs))


def compare(base: Sequence[Tensor], grown: Sequence[Tensor], dims: Sequence[list[Dim] | None]) -> float:
    """The largest difference of the outputs, as a share of the largest of the base's values.

    Where an output of the grown model has new values, only those that correspond to the base's are compared.

    Returns:
        ``inf`` where an output is not finite, where it is not known which of its values are the base's, or where the
        models return different numbers of tensors.
    """
    if len(base) != len(grown):
        return float("inf")
    worst = 0.0
    for k, (ours, theirs) in enumerate(zip(base, grown, strict=True)):
        if not ours.is_floating_point():
            continue
        if ours.shape != theirs.shape:
            known = dims[k] if k < len(dims) else None
            if known is None or len(known) != ours.ndim:
                return float("inf")
            for axis, dim in enumerate(known):
                sizes = ours.shape[axis], theirs.shape[axis]
                if sizes[0] == sizes[1] and same(dim):  # such as the batch, which was another in the trace
                    continue
                if dim.size != sizes:
                    return float("inf")
                found = index_map(dim, Policy.FRESH)
                old = found.where(OLD)
                theirs = theirs.index_select(axis, torch.from_numpy(old))
                ours = ours.index_select(axis, torch.from_numpy(found.source[old]))
        if not torch.isfinite(theirs).all():
            return float("inf")
        if ours.numel():
            largest = ours.abs().max().clamp_min(1e-12)
            worst = max(worst, float((ours - theirs).abs().max() / largest))
    return worst
