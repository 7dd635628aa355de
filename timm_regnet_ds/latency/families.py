"""The family of a model: the module of timm, or of this package, in which it is defined."""

from timm.models import is_model, model_entrypoint
from torch import nn

__all__ = ["family_of"]


def family_of(model_or_name: str | nn.Module) -> str:
    """The name of the module in which a model's entrypoint, or a module's class, is defined: ``resnet``.

    Models that are scaled are of the family of their class. An unknown name is a family of its own.
    """
    if isinstance(model_or_name, nn.Module):
        return type(model_or_name).__module__.rpartition(".")[2]
    name = model_or_name.partition(".")[0]
    return model_entrypoint(name).__module__.rpartition(".")[2] if is_model(name) else name
