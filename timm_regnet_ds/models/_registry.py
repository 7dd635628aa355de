"""The names of this project's models."""

from fnmatch import fnmatchcase

from timm.models._registry import _model_entrypoints

__all__ = ["list_models"]


def list_models(filter: str = "*") -> list[str]:
    """Names of this project's models, family by family, each family from small to large.

    ``timm.list_models`` lists them too, but not always in the same order: names that differ only in case, such as
    ``dwr`` and ``dWr``, may change places.

    Args:
        filter: a pattern such as ``regnetz*``.
    """
    return [
        name
        for name, entrypoint in _model_entrypoints.items()
        if _belongs_to_project(entrypoint.__module__) and fnmatchcase(name, filter)
    ]


def _belongs_to_project(module: str) -> bool:
    """Whether the entrypoints of a module are this project's.

    Models registered through `ScaledModel.register` belong to the user.
    """
    return module.startswith("timm_regnet_ds.") and not module.endswith(".user_models")
