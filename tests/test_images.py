"""Folders of images with damage: ``timm-regnet-ds images``, and examples/train_ddp.py."""

import shutil
import sys
from pathlib import Path

import pytest
from full_disk import files_of_at_most
from PIL import Image

from timm_regnet_ds.cli import main

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def folder(tmp_path):
    """Three classes in two splits, without damage."""
    for split, count in (("train", 6), ("validation", 2)):
        for label in "abc":
            at = tmp_path / "images" / split / label
            at.mkdir(parents=True)
            for i in range(count):
                Image.effect_noise((32, 32), 50).save(at / f"{i}.png")
    return tmp_path / "images"


def cut_off(file):
    file.write_bytes(file.read_bytes()[:400])


def test_a_folder_without_damage(folder, capsys):
    assert main(["images", str(folder)]) == 0
    found = capsys.readouterr()
    assert found.out == "train: 18 images, 3 classes, 0 broken\nvalidation: 6 images, 3 classes, 0 broken\n"
    assert not found.err


def test_damaged_images_are_named(folder, capsys):
    cut_off(folder / "train" / "b" / "4.png")
    (folder / "validation" / "c" / "1.png").write_text("no image")
    assert main(["images", str(folder), "--workers", "2"]) == 1
    found = capsys.readouterr()
    assert found.out == "train: 18 images, 3 classes, 1 broken\nvalidation: 6 images, 3 classes, 1 broken\n"
    cut, other = found.err.splitlines()
    assert cut.startswith(f"timm-regnet-ds: {folder / 'train' / 'b' / '4.png'}: image file is truncated")
    assert other.startswith(f"timm-regnet-ds: {folder / 'validation' / 'c' / '1.png'}: cannot identify image file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "validation" / "b"), "different classes, and so different labels: b"),
        (shutil.rmtree, "there is no folder"),
        (lambda folder: shutil.rmtree(folder / "validation"), "images has no folder validation"),
        (lambda folder: (folder / "train").rename(folder / "first"), "images has no folder train"),
        (lambda folder: [shutil.rmtree(at) for at in folder.glob("*/*")], "Found 0 images"),
    ],
)
def test_folders_that_do_not_fit_are_one_line(change, message, folder, capsys):
    change(folder)
    assert main(["images", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_training_goes_on_once_the_fault_is_mended(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import train_ddp

    run = tmp_path / "run"

    def train(epochs, batch_size=6):
        train_ddp.main(
            [
                *(str(folder), "--model", "anynet", "--model-kwargs", "depths=[1,1]", "widths=[8,16]", "stem=cifar"),
                *("--img-size", "32", "--batch-size", str(batch_size), "--device", "cpu", "--output", str(run)),
                *("--epochs", str(epochs), "--num-classes", "3"),
            ]
        )

    with pytest.raises(SystemExit, match=r"^train_ddp\.py: .* has fewer images than a batch of 64 on each process$"):
        train(1, batch_size=64)

    train(1)
    last = (run / "last.pth.tar").read_bytes()
    with files_of_at_most(10_000), pytest.raises(SystemExit) as ended:
        train(2)
    lost = f"the checkpoint of epoch 1 was not written to {run} (is the disk full?); the last one is kept"
    assert str(ended.value) == f"train_ddp.py: {lost}"
    assert (run / "last.pth.tar").read_bytes() == last

    for fault, message in (
        ("Caught OSError in DataLoader worker process 0.\nimage file is truncated", "image file is truncated"),
        ("", "OSError"),
    ):

        def fail(*args, fault=fault):
            raise OSError(fault)

        with monkeypatch.context() as patch:
            patch.setattr("timm.data.ImageDataset.__getitem__", fail)
            with pytest.raises(SystemExit) as ended:
                train(2)
        assert str(ended.value) == f"train_ddp.py: {message}"
        assert (run / "last.pth.tar").read_bytes() == last

    train(2)
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["epoch 0", "epoch 1"]
    sys.modules.pop("train_ddp")
