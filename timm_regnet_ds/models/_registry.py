"""Which of timm's models are this project's."""

from fnmatch import fnmatchcase

from timm.models._registry import _model_entrypoints

__all__ = ["list_models"]


def list_models(filter: str = "*") -> list[str]:
    """Names of this project's models, family by family and each from small to large.

    ``timm.list_models`` lists them too, but in no fixed order where names differ in case alone, as ``dwr`` and ``dWr``.

    Args:
        filter: a pattern such as ``regnetz*``.
    """
    return [
        name
        for name, entrypoint in _model_entrypoints.items()
        if _is_ours(entrypoint.__module__) and fnmatchcase(name, filter)
    ]


def _is_ours(module: str) -> bool:
    """Scaled models to which somebody has given names are theirs."""
    return module.startswith("timm_regnet_ds.") and not module.endswith(".user_models")
