"""Refuses weights of another model. Where the number of classes differs, timm itself only logs what does not fit."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from safetensors import SafetensorError
from torch import nn

from timm_regnet_ds.common.text import count, listed, shorten

__all__ = ["weights_checked"]


@contextmanager
def weights_checked(
    label: str, model_cls: Callable[..., nn.Module], pretrained: bool, features_only: bool = False
) -> Iterator[Callable[..., nn.Module]]:
    """The class to build a model from, so that weights that do not fill the model are an error.

    Args:
        label: how errors call the model.
        model_cls: class of the model, or a function that returns one.
        pretrained: whether weights are loaded; without them, the class itself.
        features_only: the model is to have the feature maps alone; weights of what follows them are left out.

    Raises:
        ValueError: the weights lack a tensor, or have one that the model does not have, outside the classifier; a
            tensor of another shape; an incomplete safetensors file.
    """
    hooks: list[Any] = []

    def build(*args: Any, **kwargs: Any) -> nn.Module:
        model = model_cls(*args, **kwargs)
        hooks.append(model.register_load_state_dict_post_hook(partial(_check_keys, label, features_only)))
        return model

    try:
        yield build if pretrained else model_cls
    except SafetensorError as error:
        raise ValueError(f"{label}: the weights file is not a complete safetensors file ({error})") from error
    except RuntimeError as error:
        if "Error(s) in loading state_dict" not in str(error):
            raise
        mismatch = str(error).splitlines()[1].strip()
        raise ValueError(f"{label}: the weights belong to another model ({shorten(mismatch, 200)})") from error
    finally:
        for hook in hooks:
            hook.remove()


def _check_keys(label: str, features_only: bool, model: nn.Module, keys: Any) -> None:
    cfg: Any = getattr(model, "pretrained_cfg", None) or {}
    names = cfg.get("classifier") or ()
    classifiers = [names] if isinstance(names, str) else list(names)
    missing = _outside(keys.missing_keys, classifiers)
    # A model without classes lacks what belongs to the classifier, too.
    heads = [name.partition(".")[0] for name in classifiers] if getattr(model, "num_classes", 1) == 0 else classifiers
    unexpected = [] if features_only else _outside(keys.unexpected_keys, heads)
    if missing or unexpected:
        lacks = [f"{count(len(missing), 'tensor')} missing from them: {listed(missing)}"] if missing else []
        has = [f"{count(len(unexpected), 'tensor')} not of this model: {listed(unexpected)}"] if unexpected else []
        raise ValueError(f"{label}: the weights belong to another model ({'; '.join(lacks + has)})")


def _outside(keys: Sequence[str], modules: Sequence[str]) -> list[str]:
    return [key for key in keys if not any(key.startswith(f"{module}.") for module in modules)]
