"""Pretrained weights without a network: an error at once, or the weights from the cache."""

import subprocess
import sys

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from timm_regnet_ds.models import _hub_access

REPO = "models--timm--regnetx_002.pycls_in1k"


@pytest.fixture
def no_network(monkeypatch):
    class Session:
        def head(self, url, **options):
            assert url.startswith("https://huggingface.co/timm/regnetx_002.pycls_in1k/")
            raise OSError("Network is unreachable\nmore")

    monkeypatch.setattr(_hub_access, "get_session", Session)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(timm.models._hub, "hf_hub_download", lambda *args, **kwargs: pytest.fail("downloads"))


def test_weights_that_cannot_be_reached_are_an_error(no_network, tmp_path):
    with pytest.raises(ConnectionError) as caught:
        timm.create_model("regnetx_200mf", pretrained=True, cache_dir=tmp_path)
    assert str(caught.value) == (
        "regnetx_200mf: the weights timm/regnetx_002.pycls_in1k are not in the cache, and https://huggingface.co "
        "cannot be reached (Network is unreachable)"
    )


def test_cached_weights_are_loaded_without_a_network(no_network, tmp_path):
    weights = timm.create_model("regnetx_002").state_dict()
    snapshot = tmp_path / REPO / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (tmp_path / REPO / "refs").mkdir()
    (tmp_path / REPO / "refs" / "main").write_text("0123")
    save_file(weights, snapshot / "model.safetensors")
    model = timm.create_model("regnetx_200mf", pretrained=True, cache_dir=tmp_path)
    assert torch.equal(model.state_dict()["head.fc.weight"], weights["head.fc.weight"])


def test_a_closed_port_is_tried_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    code = (
        "import socket, timm; connect, tried = socket.socket.connect, []\n"
        "socket.socket.connect = lambda self, address: (tried.append(address), connect(self, address))[1]\n"
        "try: timm.create_model('regnetx_200mf', pretrained=True)\n"
        "except ConnectionError as error: print(len(tried), str(error).count(chr(10)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0"]  # Repeated connections take 46 seconds.
