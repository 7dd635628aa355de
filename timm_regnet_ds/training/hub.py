"""Models on the Hugging Face Hub: pushed as safetensors with a card, and pulled with their checksum verified.

``timm.create_model("hf-hub:user/name", pretrained=True)`` loads a model that was pushed, and so does transformers.
"""

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
from huggingface_hub import CommitInfo, HfApi, hf_hub_download
from huggingface_hub.utils import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from timm.models import create_model, save_for_hf
from torch import nn

from timm_regnet_ds.common.state_shapes import describe_differences, shapes_of
from timm_regnet_ds.common.text import first_line
from timm_regnet_ds.complexity import build_without_weights

from .card import CardFields, architecture_of, card_sections, citation_of, front_matter, license_of
from .saving import writing
from .stock import stock_model

__all__ = ["model_card", "pull_from_hub", "pull_readme", "push_to_hub", "save_for_hub"]

WEIGHTS = "model.safetensors"
# Entries of a pretrained config that belong to the weights with which training began.
_OF_OTHER_WEIGHTS = ("tag", "origin_url", "notes", "paper_ids", "paper_name")


def model_card(model: nn.Module, repo_id: str = "user/name", **fields: str) -> dict[str, Any]:
    """The argument ``model_card`` of timm's ``push_to_hf_hub``, with the text that `push_to_hub` writes.

    Args:
        model: a timm model.
        repo_id: the repository that the card's example loads.
        **fields: of `CardFields`.

    Raises:
        TypeError: ``model`` is not a timm model, or a field does not exist.
    """
    stated = CardFields(**fields)
    citation = citation_of(model, stated)
    card = {"license": license_of(model, stated), "description": card_sections(model, repo_id, stated)}
    return card | ({"citation": citation} if citation else {})


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    *,
    stock: bool = False,
    model_args: dict[str, Any] | None = None,
    card: dict[str, str] | None = None,
    commit_message: str = "Add model",
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    create_pr: bool = False,
) -> CommitInfo:
    """Push a model: safetensors, a config from which timm and transformers rebuild it, and a card.

    Args:
        model: a timm model.
        repo_id: ``user/name``. If the repository has a README.md, it is not changed, and fields of the card cause a
            warning.
        stock: push the model under timm's own architecture, so that it loads where this package is not installed.
        model_args: arguments of ``create_model``, if timm did not record those that the model was created with.
        card: fields of `CardFields`.
        commit_message, private, revision, token, create_pr: as in huggingface_hub.

    Returns:
        huggingface_hub's ``CommitInfo``.

    Raises:
        TypeError: ``model`` is not a timm model.
        ValueError: ``create_model`` does not build this model from its name and arguments, or timm alone does not.
            Nothing has been pushed then.
        OSError: the Hub refused, or could not be reached. The same call completes what was begun.
    """
    api = HfApi(token=token, library_name="timm", library_version=timm.__version__)
    with TemporaryDirectory() as folder:
        save_for_hub(model, folder, repo_id=repo_id, stock=stock, model_args=model_args, card=card)
        with one_line(repo_id, "was not pushed"):
            repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            if api.file_exists(repo_id, "README.md", revision=revision):
                (Path(folder) / "README.md").unlink()
                if any((card or {}).values()):
                    warnings.warn(f"{repo_id} has a README.md, which is not changed: no card is pushed", stacklevel=2)
            return api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message,
                revision=revision,
                create_pr=create_pr,
            )


def save_for_hub(
    model: nn.Module,
    folder: str | Path,
    *,
    repo_id: str = "user/name",
    stock: bool = False,
    model_args: dict[str, Any] | None = None,
    card: dict[str, str] | None = None,
    readme: str = "",
) -> None:
    """Write the files that `push_to_hub` uploads.

    ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads the model from them.

    Args:
        folder: where the files are written; files of the same names are replaced.
        readme: the text of README.md; by default the card.
        model, repo_id, stock, model_args, card: as for `push_to_hub`.

    Raises:
        ValueError: the arguments do not build the model.
        OSError: the files cannot be written.
    """
    name, fields = architecture_of(model), CardFields(**(card or {}))
    pushed: Any = stock_model(model) if stock else model
    stock_name = architecture_of(pushed) if pushed is not model else ""
    args = _model_args(pushed, model_args)
    _check_rebuilt(pushed, stock_name or name, args)
    text = readme or _card_text(model, repo_id, fields, stock_name)
    with writing(folder):
        _write(pushed, args, text, Path(folder))


def _write(model: nn.Module, args: dict[str, Any], readme: str, folder: Path) -> None:
    """Write all files to a temporary folder first; if that fails, the folder stays as it was."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as temporary:
        save_for_hf(model, temporary, model_args=args, safe_serialization=True)
        _rewrite_config(Path(temporary, "config.json"))
        Path(temporary, "README.md").write_text(readme, encoding="utf-8")
        folder.mkdir(exist_ok=True)
        for file in Path(temporary).iterdir():
            file.replace(folder / file.name)


def _card_text(model: nn.Module, repo_id: str, fields: CardFields, stock_name: str) -> str:
    title = f"# Model card for {repo_id.rpartition('/')[2]}\n\n"
    citation = citation_of(model, fields)
    cited = f"\n## Citation\n\n```bibtex\n{citation}\n```\n" if citation else ""
    return front_matter(model, fields) + title + card_sections(model, repo_id, fields, stock_name) + cited


def pull_from_hub(repo_id: str, *, token: str | None = None, **kwargs: Any) -> nn.Module:
    """Load a model from the Hub or, without a network, from the cache, and verify the checksum of its weights.

    Args:
        repo_id: ``user/name`` or ``user/name@revision``.
        token: of the Hub.
        **kwargs: arguments of ``timm.create_model``.

    Raises:
        OSError: no such repository, no access, or a download that broke off; one line says which. What has arrived
            is kept, and the same call goes on.
        ValueError: the file has another checksum than the Hub says. It is removed, so that the next call loads it
            again.

    Warns:
        UserWarning: the cache does not state the checksum, so that the file is not verified.
    """
    name, _, revision = repo_id.partition("@")
    with one_line(repo_id, "was not loaded"):
        config = Path(hf_hub_download(name, "config.json", revision=revision or None, token=token))
        path = Path(hf_hub_download(name, WEIGHTS, revision=revision or None, token=token))
    _verify(path, repo_id)
    model: nn.Module = create_model(f"local-dir:{path.parent}", pretrained=True, **kwargs)
    saved = json.loads(config.read_text(encoding="utf-8")).get("model_args", {})
    vars(model).setdefault("_model_args", saved | kwargs)  # timm records them since 1.0.31
    return model


def pull_readme(repo_id: str, *, token: str | None = None) -> str:
    """The README.md of a repository, or of its cached copy; empty if it has none.

    Raises:
        OSError: as `pull_from_hub`.

    Warns:
        UserWarning: the Hub cannot be reached, and the cached copy has no README.md.
    """
    name, _, revision = repo_id.partition("@")
    with one_line(repo_id, "was not loaded"):
        try:
            path = hf_hub_download(name, "README.md", revision=revision or None, token=token)
        except LocalEntryNotFoundError:
            warnings.warn(f"{repo_id}: README.md is not in the cache, and the Hub cannot be reached", stacklevel=2)
            return ""
        except EntryNotFoundError:
            return ""
    return Path(path).read_text(encoding="utf-8")


def _verify(path: Path, repo_id: str) -> None:
    """Compare a file of huggingface_hub's cache with the checksum by which the cache names it."""
    stored = path.resolve()
    if not re.fullmatch("[0-9a-f]{64}", stored.name):
        # Without git-lfs, the Hub states no sha256; without symbolic links, the cache does not name files by it.
        warnings.warn(f"{repo_id}: the cache does not state the checksum of {path.name}: not verified", stacklevel=3)
        return
    digest = sha256()
    with open(stored, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != stored.name:
        path.unlink()
        stored.unlink(missing_ok=True)
        raise ValueError(f"{repo_id}: {path.name} has another checksum than the Hub's; it was removed, load it again")


@contextmanager
def one_line(repo_id: str, what: str) -> Iterator[None]:
    """Raise errors of the Hub and of the network as an ``OSError`` whose message is one line."""
    try:
        yield
    except Exception as error:
        cause = next(filter(_is_of_hub, _causes(error)), None)
        if cause is None:
            raise
        raise OSError(f"{repo_id} {what}: {_reason(cause)}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_of_hub(error: BaseException) -> bool:
    """Whether the Hub or the network caused an error; huggingface_hub uses requests before version 1, then httpx."""
    modules = [kind.__module__ for kind in type(error).__mro__]
    of_client = any(module.startswith(("requests", "httpx", "urllib3")) for module in modules)
    return of_client or isinstance(error, (HfHubHTTPError, LocalEntryNotFoundError, ConnectionError, TimeoutError))


def _reason(error: BaseException) -> str:
    if isinstance(error, LocalEntryNotFoundError):
        return "the Hub cannot be reached, and the file is not in the cache"
    if isinstance(error, HfHubHTTPError):
        return _REASONS.get(getattr(error.response, "status_code", 0)) or first_line(error)
    return f"the connection broke off ({first_line(error)}); try again: what has arrived is not sent again"


_REASONS = {
    401: "the Hub has no such repository, or the token is wrong or missing ('hf auth login', or HF_TOKEN)",
    403: "the token does not allow it",
    404: "the Hub has no such repository, revision or file, or the token cannot see it",
}


def _model_args(model: Any, overrides: dict[str, Any] | None) -> dict[str, Any]:
    """Arguments of ``create_model`` with which the model was created, as timm saves them."""
    of_timm = getattr(timm.models, "get_model_args", None)  # since timm 1.0.31
    if of_timm:
        args: dict[str, Any] = of_timm(model, overrides)
        return args
    return {**getattr(model, "_model_args", {}), "num_classes": model.num_classes, **(overrides or {})}


def _rewrite_config(path: Path) -> None:
    """Remove from timm's config what transformers refuses, and what describes other weights.

    timm reads the number of classes from the top level. transformers passes that number to ``create_model`` beside
    ``model_args``, so that it must not be among these too.
    """
    config = json.loads(path.read_text(encoding="utf-8"))
    config.get("model_args", {}).pop("num_classes", None)
    for entry in _OF_OTHER_WEIGHTS:
        config["pretrained_cfg"].pop(entry, None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _check_rebuilt(model: nn.Module, name: str, args: dict[str, Any]) -> None:
    call = f"create_model({', '.join([repr(name), *(f'{key}={value!r}' for key, value in args.items())])})"
    advice = "pass the arguments that it was created with as model_args"
    try:
        built = build_without_weights(partial(create_model, name, **args)).state_dict()
    except Exception as error:
        raise ValueError(f"{call} does not build this model: {error}; {advice}") from error
    if differences := describe_differences(shapes_of(built), shapes_of(model.state_dict())):
        raise ValueError(f"{call} builds another model: {differences}; {advice}")
