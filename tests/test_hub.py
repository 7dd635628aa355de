"""To the Hub and back with huggingface_hub's client and tests/hub_server.py. Clients run in new processes."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from email.message import Message
from textwrap import dedent

import pytest
import safetensors.torch
import timm
import torch
from hub_server import Hub
from timm.models._hub import generate_readme

from timm_regnet_ds import measure
from timm_regnet_ds.training.hub import model_card, push_to_hub

# An older timm does not record the number of input channels.
KEEPS_INPUT = hasattr(timm.models, "get_model_input_config")
GRAY = {"in_chans": 1} if KEEPS_INPUT else {}
MODELS = {
    "regnetz": ("regnetz_500mf", {"num_classes": 10}),
    "six": ("regnet", {"depth": 4, "w0": 8, "wa": 8.0, "wm": 2.0, "group_width": 8, "block": "y", "num_classes": 7}),
    "stages": ("anynet", {"depths": [1, 2], "widths": [8, 16], "stem": "cifar", "num_classes": 5} | GRAY),
    "rexnet": ("rexnet", {"width_mult": 0.5, "num_classes": 3}),
    "to-target": ("scaled", {"base": "mobilenetv3_small_050", "to": "30mf", "strategy": "dwr", "num_classes": 4}),
    "by-factor": ("scaled", {"base": "resnet10t", "factor": 0.25, "alpha": 0.5, "num_classes": 4}),
}

CLIENT = """
import hashlib, json, sys
import torch
import timm

MODELS = {models!r}

def described(model):
    model.eval()
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    channels = model.pretrained_cfg["input_size"][0] if not hasattr(model, "in_chans") else model.in_chans
    images = torch.randn(2, channels, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return {{"type": type(model).__name__, "weights": digest.hexdigest(), "logits": model(images).tolist()}}

"""

PUSH = """
    from timm_regnet_ds.training.hub import model_card, push_to_hub

    answers = {}
    for seed, (repo, (name, args)) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        model = timm.create_model(name, **args)
        model.train()(torch.randn(4, args.get("in_chans", 3), 64, 64))  # changes the running statistics of the norms
        push_to_hub(model, f"user/{repo}", commit_message=f"Add {name}")
        answers[repo] = described(model)
        if repo == "regnetz":  # timm's own function, with our card; the server adds the user's name
            timm.models.push_to_hf_hub(model, "by-timm", model_card=model_card(model), safe_serialization=True)
            push_to_hub(model, "user/regnetz")  # nothing has changed
    try:
        push_to_hub(model, "user/refused", token="hf_wrong")
    except Exception as error:
        answers["refused"] = str(error)
    print(json.dumps(answers))
"""

# One process loads what the other pushed, whole and with faults, and timm's weights.
LOAD = """
    loaded = {repo: described(timm.create_model(f"hf-hub:user/{repo}", pretrained=True)) for repo in MODELS}
    assert "timm_regnet_ds" in sys.modules

    names = ("regnetx_002.pycls_in1k", "regnetx_200mf.pycls_in1k")
    models = [timm.create_model(name, pretrained=True) for name in names]
    models.append(timm.create_model("regnetx_200mf", pretrained=True, num_classes=3))

    def attempt(repo):
        try:
            return described(timm.create_model(f"hf-hub:user/{repo}", pretrained=True))["weights"]
        except Exception as error:
            return [[kind.__name__ for kind in type(error).__mro__], str(error)]

    answers = {repo: [attempt(repo)] for repo in ("truncated", "foreign", "absent", "no-weights", "cut-once", "cut")}
    for repo in ("cut-once", "cut"):
        while not isinstance(answers[repo][-1], str) and len(answers[repo]) < 10:
            answers[repo].append(attempt(repo))
    print(json.dumps({"models": loaded, "timms": [described(model) for model in models], "faults": answers}))
"""


def client(hub, home, code):
    """Run code in a new process whose Hub is the server; return the json that it prints."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TIMM_", "TORCH_"))}
    command = [sys.executable, "-c", CLIENT.format(models=MODELS) + dedent(code)]
    env |= hub.environment(home)
    done = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def hub():
    with Hub() as running:
        yield running


@pytest.fixture(scope="module")
def pushed(hub, tmp_path_factory):
    return client(hub, tmp_path_factory.mktemp("pusher"), PUSH)


@pytest.fixture(scope="module")
def loaded(hub, pushed, tmp_path_factory):
    torch.manual_seed(5)
    saved = tmp_path_factory.mktemp("saved")
    timm.models.save_for_hf(timm.create_model("regnetx_002"), str(saved), safe_serialization=True)
    hub.add("timm/regnetx_002.pycls_in1k", {f.name: f.read_bytes() for f in saved.iterdir()})
    good = hub.repos["user/six"].files
    weights = good["model.safetensors"]
    another = hub.repos["user/regnetz"].files["model.safetensors"]
    for name, change in {
        "truncated": {"model.safetensors": weights[: len(weights) // 2]},
        "foreign": {"model.safetensors": another},
        "no-weights": {"model.safetensors": None},
        "cut-once": {},
        "cut": {},
    }.items():
        hub.add(f"user/{name}", good | change)
    hub.cuts["user/cut-once/model.safetensors"] = [len(weights) // 3]
    hub.cuts["user/cut/model.safetensors"] = [1000] + [0] * 6  # the client retries while it receives data
    return client(hub, tmp_path_factory.mktemp("loader"), LOAD)


@pytest.fixture(scope="module")
def faults(loaded):
    return loaded["faults"]


@pytest.mark.parametrize("repo", MODELS)
def test_the_loaded_model_is_the_pushed_one(repo, pushed, loaded):
    found = loaded["models"][repo]
    assert found["type"] == pushed[repo]["type"]
    assert found["weights"] == pushed[repo]["weights"]
    torch.testing.assert_close(torch.tensor(found["logits"]), torch.tensor(pushed[repo]["logits"]))


@pytest.mark.parametrize("repo", [*MODELS, "by-timm"])
def test_files_of_the_repository(repo, hub, pushed):
    files = hub.repos[f"user/{repo}"].files
    assert sorted(set(files) - {".gitattributes"}) == ["README.md", "config.json", "model.safetensors"]
    assert json.loads(files["config.json"])["architecture"] == MODELS.get(repo, MODELS["regnetz"])[0]
    assert safetensors.torch.load(files["model.safetensors"])


@pytest.mark.parametrize("repo", [*MODELS, "by-timm"])
def test_the_card_states_the_complexity(repo, hub, pushed):
    name, args = MODELS.get(repo, MODELS["regnetz"])
    readme = hub.repos[f"user/{repo}"].files["README.md"].decode()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in readme.splitlines() if line[:1] == "|"]
    complexity = measure(timm.create_model(name, **args))
    parts = complexity.by_module(depth=1)
    assert rows[0] == ["", "flops", "params", "acts"]
    stated = {row[0]: tuple(int(cell.replace(",", "")) for cell in row[1:]) for row in rows[2:]}
    assert stated.pop(name) == (complexity.flops, complexity.params, complexity.acts)
    assert stated == {part: (c.flops, c.params, c.acts) for part, c in parts.items() if part}
    assert f"one image of {' x '.join(map(str, complexity.input_size))}" in readme
    if repo in MODELS:
        assert f'create_model("hf-hub:user/{repo}", pretrained=True)' in readme


def test_pushing_the_same_model_again_makes_no_commit(hub, pushed):
    commits = [request for request in hub.requests if request.startswith("POST /api/models/user/regnetz/commit")]
    assert len(commits) == 1


def test_weights_went_through_git_lfs_and_were_checked(hub, pushed):
    assert sum(request.startswith("PUT /lfs/") for request in hub.requests) >= len(MODELS)
    wrong = urllib.request.Request(f"{hub.url}/lfs/{'0' * 64}", b"another content", method="PUT")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(wrong)


def test_a_truncated_file(faults):
    (kinds, message), *_ = faults["truncated"]
    assert kinds[0] == "ValueError"
    assert message.startswith("regnet: the weights file is not a complete safetensors file")


def test_weights_of_another_model(faults):
    (kinds, message), *_ = faults["foreign"]
    assert kinds[0] == "ValueError"
    assert message.startswith("regnet: the weights belong to another model")


@pytest.mark.parametrize(
    ("repo", "kind", "file"),
    [
        ("absent", "RepositoryNotFoundError", "user/absent/resolve/main/config.json"),
        ("no-weights", "EntryNotFoundError", "user/no-weights/resolve/main/pytorch_model.bin"),
    ],
)
def test_what_the_server_does_not_have(repo, kind, file, faults):
    (kinds, message), *_ = faults[repo]
    assert kind in kinds
    assert file in message


def test_a_connection_that_breaks_off_once_is_resumed(faults, pushed, hub):
    assert faults["cut-once"][-1] == pushed["six"]["weights"]
    assert len(faults["cut-once"]) <= 2  # an older huggingface_hub resumes only in the next call
    assert hub.cuts["user/cut-once/model.safetensors"] == []


def test_a_connection_that_keeps_breaking_off(faults, pushed):
    (kinds, message), *_, last = faults["cut"]
    assert {"OSError", "TransportError"} & set(kinds)
    assert message
    assert last == pushed["six"]["weights"]  # the part that arrived is not used as the file


def test_a_wrong_token_pushes_nothing(hub, pushed):
    assert pushed["refused"].startswith("user/refused was not pushed: the Hub has no such")
    assert "user/refused" not in hub.repos


# The card and the refusals, without a server.


@pytest.fixture
def small():
    name, args = MODELS["six"]
    return timm.create_model(name, **args)


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr("timm_regnet_ds.training.hub.HfApi.create_repo", lambda *args, **kw: pytest.fail("pushed"))


def test_a_model_that_would_not_come_back(small, no_network):
    small.head.fc = torch.nn.Linear(small.head.fc.in_features, 9)
    with pytest.raises(
        ValueError, match=r"create_model\('regnet'.* builds another model: 2 keys differ: head\.fc\..*model_args"
    ):
        push_to_hub(small, "user/name")
    with pytest.raises(ValueError, match=r"does not build this model.*model_args"):
        push_to_hub(small, "user/name", model_args={"depth": "four"})


def test_not_a_timm_model(no_network):
    for function in (push_to_hub, model_card):
        with pytest.raises(TypeError, match=r"must come from timm\.create_model, not Linear"):
            function(torch.nn.Linear(1, 1), "user/name")


def test_own_fields_of_a_card(small):
    fields = {"description": "Mine.", "dataset": "imagenet-1k", "citation": "@misc{me}", "license": "mit"}
    text = generate_readme(model_card(small, **fields), "name")
    assert "\nMine.\n\n## Install\n" in text
    assert "- Dataset: imagenet-1k\n- Accuracy: not stated\n" in text
    assert "license: mit\n" in text
    assert text.count("```bibtex") == 1
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        model_card(small, colour="red")


def test_addresses_are_those_of_the_installed_package(small, monkeypatch):
    installed = Message()
    monkeypatch.setattr("timm_regnet_ds.training.card.metadata", lambda package: installed)
    assert "http" not in model_card(small)["description"]
    installed["Project-URL"] = "Source, https://example.invalid/source"
    assert "\n\n- Source: https://example.invalid/source\n\n## Use" in model_card(small)["description"]


def test_the_title_of_a_scaled_model():
    own = {"name": "mine", "depth": 0.5, "width": 0.25, "resolution": 0.25}
    for strategy, title in (({"strategy": own}, "mine"), ({"strategy": "dwr"}, "dwr"), ({"alpha": 0.5}, "alpha = 0.5")):
        model = timm.create_model("scaled", base="resnet10t", factor=2.0, **strategy)
        sentence = model_card(model)["description"].splitlines()[0]
        assert f": `resnet10t` scaled by {title}, factor 2. Changed: `" in sentence


def test_a_model_of_timm_itself(small):
    with torch.device("meta"):
        text = generate_readme(model_card(timm.create_model("resnet18"), "user/r18"), "r18")
    assert "| resnet18 | 1,8" in text
    assert "```sh\npip install timm\n```" in text
    assert "Citation" not in text


def test_pretrained_weights_are_timms(loaded):
    timms, ours, three = loaded["timms"]
    assert (timms["type"], ours["type"]) == ("RegNet", "AnyNet")
    assert ours["logits"] == timms["logits"]
    assert ours["weights"] == timms["weights"]
    assert torch.tensor(three["logits"]).shape == (2, 3)
