"""Which module of a grown model is which of the base, and which modules only the grown model has."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

__all__ = ["Alignment", "align", "describe"]

Children = list[tuple[str, nn.Module]]


@dataclass(frozen=True)
class Alignment:
    """How the modules of two models correspond.

    Attributes:
        modules: name of a module of the grown model to its name in the base.
        added: name of a module that only the grown model has to the name, in the grown model, of the nearest earlier
            module of the same shape that the base has too; None where there is none.
    """

    modules: dict[str, str] = field(default_factory=dict)
    added: dict[str, str | None] = field(default_factory=dict)

    def name(self, key: str) -> str | None:
        """The name in the base of a parameter of the grown model."""
        module, _, leaf = key.rpartition(".")
        if module not in self.modules:
            return None
        return f"{self.modules[module]}.{leaf}" if self.modules[module] else leaf

    def added_module(self, key: str) -> str | None:
        """The added module that a parameter belongs to."""
        return next((name for name in self.added if key.startswith(f"{name}.")), None)


def align(base: nn.Module, grown: nn.Module, between: nn.Module | None = None) -> Alignment:
    """Match the modules of two models of one class.

    Args:
        base: the smaller model.
        grown: the larger one.
        between: a model of the base's depth and of the grown model's widths, by whose shapes blocks are recognized.
    """
    if between is None:
        found = Alignment()
        _align(base, grown, "", "", found)
        return found
    first, second = Alignment(), Alignment()
    _align(base, between, "", "", first)
    _align(between, grown, "", "", second)
    modules = {name: first.modules[middle] for name, middle in second.modules.items() if middle in first.modules}
    added = dict(second.added)
    for name, middle in second.modules.items():
        if middle in first.added:
            added[name] = None
    return Alignment(modules, added)


def _align(base: nn.Module, grown: nn.Module, at: str, grown_at: str, found: Alignment) -> None:
    found.modules[grown_at] = at
    ours, theirs = list(base.named_children()), list(grown.named_children())
    if [name for name, _ in ours] == [name for name, _ in theirs]:
        pairs = {k: k for k in range(len(theirs))}
    elif _is_list(grown) or len(ours) != len(theirs):
        pairs = _matched(ours, theirs)
    else:
        names = {name: k for k, (name, _) in enumerate(ours)}
        pairs = {k: names[name] for k, (name, _) in enumerate(theirs) if name in names}
    like: dict[str, str] = {}
    for k, (name, child) in enumerate(theirs):
        child_at = _join(grown_at, name)
        if k in pairs and not _is_new(ours[pairs[k]][1], child):
            _align(ours[pairs[k]][1], child, _join(at, ours[pairs[k]][0]), child_at, found)
            like[describe(child)] = child_at
        elif k not in pairs or next(child.parameters(), None) is not None:
            found.added[child_at] = like.get(describe(child)) or _near(theirs, k, pairs, grown_at)


def _is_new(ours: nn.Module, theirs: nn.Module) -> bool:
    """Whether the grown model has weights where the base has none, such as a projection of a shortcut."""
    return next(ours.parameters(), None) is None and next(theirs.parameters(), None) is not None


def _near(children: Children, k: int, pairs: dict[int, int], at: str) -> str | None:
    """The nearest module that is not new and has the shapes of the k-th one."""
    wanted = describe(children[k][1])
    for other in sorted(pairs, key=lambda other: (abs(other - k), other)):
        if describe(children[other][1]) == wanted:
            return _join(at, children[other][0])
    return None


def _is_list(module: nn.Module) -> bool:
    return isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict))


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def describe(module: nn.Module) -> str:
    """What a module is, with its shapes."""
    shapes = ",".join(f"{key}{tuple(value.shape)}" for key, value in module.state_dict().items())
    convs = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    return f"{type(module).__name__} {shapes} {[(conv.stride, conv.dilation) for conv in convs]}"


def _kind(module: nn.Module) -> str:
    """What a module is, without its shapes."""
    strides = [m.stride for m in module.modules() if isinstance(m, nn.Conv2d)]
    return f"{type(module).__name__} {','.join(module.state_dict())} {strides}"


def _holds(grown: nn.Module, base: nn.Module) -> bool:
    """Whether each parameter of a module has at least the size of the base's."""
    sizes = {name: p.shape for name, p in base.named_parameters()}
    return all(
        all(one >= other for one, other in zip(p.shape, sizes[name], strict=False))
        for name, p in grown.named_parameters()
        if name in sizes
    )


def _matched(ours: Children, theirs: Children) -> dict[int, int]:
    """Index of a child of the grown model to that of the base's, in order: as many as can be, as alike as can be."""
    kinds, shapes = (
        [[describing(m) for _, m in children] for children in (ours, theirs)] for describing in (_kind, describe)
    )

    def likeness(i: int, k: int) -> float:
        fits = _holds(theirs[k][1], ours[i][1])
        return 10 * fits + (shapes[0][i] == shapes[1][k]) + 0.1 * (ours[i][0] == theirs[k][0])

    # A complete match by the strictest description that has one; then the one with the most similar blocks.
    classes = [[type(m).__name__ for _, m in children] for children in (ours, theirs)]
    found: dict[int, int] = {}
    for described in (shapes, kinds, classes):

        def score(i: int, k: int, described: list[list[str]] = described) -> float:
            return 1000 + likeness(i, k) if described[0][i] == described[1][k] else 0.0

        found = _longest(len(ours), len(theirs), score)
        if len(found) == len(ours):
            break
    return found


def _longest(rows: int, columns: int, score: Callable[[int, int], float]) -> dict[int, int]:
    """The pairs, in order, whose scores have the largest sum: column to row."""
    scores = [[score(i, k) for k in range(columns)] for i in range(rows)]
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in reversed(range(rows)):
        for k in reversed(range(columns)):
            joined = scores[i][k] + best[i + 1][k + 1] if scores[i][k] else 0.0
            best[i][k] = max(best[i + 1][k], best[i][k + 1], joined)
    found: dict[int, int] = {}
    i = k = 0
    while i < rows and k < columns:
        if scores[i][k] and best[i][k] == scores[i][k] + best[i + 1][k + 1]:
            found[k] = i
            i, k = i + 1, k + 1
        elif best[i][k] == best[i][k + 1]:
            k += 1
        else:
            i += 1
    return found
