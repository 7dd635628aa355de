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
        factors: of a weight that reads what constants of the class have made larger or smaller: what makes up for it.
        contractions: dimensions over which queries and keys are summed, each with the factor by which the constants
            of the class change the result.
        scales: the leaves of these dimensions, each with its factor.
        standard_gains: a standardized weight to the parameter that scales it.
        bias_of: a bias to the weight that it goes with.
        multipliers: a weight to the scales that its output is multiplied by.
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
    factors: dict[str, float] = field(default_factory=dict)
    contractions: list[tuple[Dim, float]] = field(default_factory=list)
    scales: dict[Leaf, float] = field(default_factory=dict)
    standard_gains: dict[str, str] = field(default_factory=dict)
    bias_of: dict[str, str] = field(default_factory=dict)
    multipliers: dict[str, list[str]] = field(default_factory=dict)
    packed: dict[str, tuple[tuple[int, int], tuple[int, int]]] = field(default_factory=dict)
    standardized: set[str] = field(default_factory=set)
    outputs: list[list[Dim] | None] = field(default_factory=list)
    added: dict[str, tuple[list[list[Dim] | None], list[list[Dim] | None]]] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    aligned: bool = True

    def scale(self, dim: Dim, factor: float) -> None:
        """Note that a sum over a dimension changes by a factor, and by its copies."""
        growing = [leaf for leaf in leaves(dim) if leaf.base != leaf.grown]
        chosen = growing or (list(leaves(dim)) if abs(factor - 1.0) > 1e-9 else [])
        for k, leaf in enumerate(chosen):
            leaf.marks.add("contraction")
            self.scales.setdefault(leaf, factor if k == 0 else 1.0)

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
