"""What tracing found out: the dimensions of every parameter, and how the parameters are used."""

from dataclasses import dataclass, field

from .dims import Dim, Leaf, leaves, same

__all__ = ["Plan"]


@dataclass
class Plan:
    """Facts about the parameters and buffers of a grown model, by their names in it.

    Attributes:
        modules: name of a module of the grown model to its name in the base.
        names: the same for parameters and buffers.
        dims: the dimensions of each tensor that the base has too.
        reads: the dimensions of a weight that are summed over: its input channels.
        kinds: ``dense``, ``depthwise``, ``bias``, ``norm_weight``, ``norm_bias``, ``norm_state``, ``scale`` or
            ``shift``, by what the tensor does.
        gains: of a scale after a norm whose new inputs are zero or their mean: what keeps the base's output.
        bias_of: a bias to the weight that it goes with.
        scales: a weight to the scales that its output is multiplied by.
        packed: a weight whose groups are packed to ((groups, grown groups), (group width, grown group width)).
        standardized: weights that their layer standardizes before use.
        outputs: the dimensions of each tensor that the model returns.
        added: of each added module that ran, the dimensions of its inputs and of its outputs.
        conflicts: what did not fit.
        aligned: whether both models called the same operators.
    """

    modules: dict[str, str]
    names: dict[str, str]
    dims: dict[str, list[Dim]] = field(default_factory=dict)
    reads: dict[str, list[Dim]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    gains: dict[str, float] = field(default_factory=dict)
    bias_of: dict[str, str] = field(default_factory=dict)
    scales: dict[str, list[str]] = field(default_factory=dict)
    packed: dict[str, tuple[tuple[int, int], tuple[int, int]]] = field(default_factory=dict)
    standardized: set[str] = field(default_factory=set)
    outputs: list[list[Dim] | None] = field(default_factory=list)
    added: dict[str, tuple[list[list[Dim] | None], list[list[Dim] | None]]] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    aligned: bool = True

    def input_axes(self, name: str) -> set[int]:
        """The axes of a weight that are summed over."""
        axes = set()
        dims = self.dims[name]
        for read in self.reads.get(name, []):
            found = [k for k, dim in enumerate(dims) if dim is read]
            if not found:  # a part of the weight, such as its keys
                found = [k for k, dim in enumerate(dims) if any(leaf in set(leaves(dim)) for leaf in leaves(read))][-1:]
            axes.update(found)
        return axes

    def leaves(self) -> set[Leaf]:
        """All leaves of all parameters."""
        return {leaf for dims in self.dims.values() for dim in dims for leaf in leaves(dim)}

    def is_same(self, name: str) -> bool:
        """Whether a tensor has the base's shape, channel for channel."""
        return all(same(dim) for dim in self.dims[name])
