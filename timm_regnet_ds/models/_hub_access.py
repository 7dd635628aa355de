"""Fails quickly when pretrained weights are on a Hub that cannot be reached."""

from typing import Any

from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
from huggingface_hub.utils import get_session
from timm.models._builder import _resolve_pretrained_source, resolve_pretrained_cfg

__all__ = ["offline_overlay"]

# The files that timm looks for, in its order of preference.
_WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")


def offline_overlay(variant: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What to lay over the pretrained config so that loading does not wait for a Hub that cannot be reached.

    huggingface_hub repeats a request that finds no connection five times, for 23 seconds, and timm asks for two
    files one after the other. Here one request that is not repeated decides: without a connection the weights come
    from the cache.

    Args:
        variant: registered name of the model.
        kwargs: arguments of ``timm.models.build_model_with_cfg``.

    Returns:
        Entries that name the cached file, without a connection; empty if timm should load as usual.

    Raises:
        ConnectionError: no connection, and the weights are not in the cache.
    """
    cfg = resolve_pretrained_cfg(
        variant,
        pretrained_cfg=kwargs.get("pretrained_cfg"),
        pretrained_cfg_overlay=kwargs.get("pretrained_cfg_overlay"),
    ).to_dict()
    load_from, location = _resolve_pretrained_source(cfg)
    if load_from != "hf-hub" or cfg.get("custom_load"):
        return {}
    location, *file = [location] if isinstance(location, str) else location
    repo, _, revision = location.partition("@")
    reason = _connection_error(hf_hub_url(repo, "config.json", revision=revision or None))
    if not reason:
        return {}
    for name in file or _WEIGHTS_FILES:
        path = try_to_load_from_cache(repo, name, cache_dir=kwargs.get("cache_dir"), revision=revision or None)
        if isinstance(path, str):
            return {"file": path, "source": ""}
    raise ConnectionError(
        f"{variant}: the weights {location} are not in the cache, and {constants.ENDPOINT} cannot be reached ({reason})"
    )


def _connection_error(url: str) -> str:
    """Why a server cannot be reached; an empty string if it answers, whatever the answer is."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # the class depends on the client that huggingface_hub uses
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return ""
