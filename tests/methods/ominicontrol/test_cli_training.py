"""Bad input at the command line: exit code 2, a message that names it, and no traceback."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from embedded import open_random
from safetensors.torch import load_file, save_file

from modelgraft.cli.main import main
from modelgraft.core.settings import Settings
from modelgraft.diffusion.pictures import write_picture
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters and pictures, sound and unsound."""
    folder = tmp_path_factory.mktemp("place")
    made, _ = open_random("", Settings())
    for task in ("edges", "style"):
        made.attach(task, AdapterInfo(task=task, condition_px=32))
        made.save(task, folder / f"{task}.safetensors")
    tensors = load_file(folder / "edges.safetensors")
    save_file(tensors, folder / "bare.safetensors")
    wide = {name: one.repeat(*(2 if side > 4 else 1 for side in one.shape))
            for name, one in tensors.items()}  # fmt: skip
    save_file(wide, folder / "wide.safetensors", metadata={"omini": '{"task": "edges"}'})
    (folder / "torn.safetensors").write_bytes(b"torn")
    for name in ("empty", "photos", "bent", "bent/edges", "cut"):
        (folder / name).mkdir()
    write_picture(folder / "photos" / "a.png", torch.rand(3, 32, 32))
    write_picture(folder / "bent" / "a.png", torch.rand(3, 32, 32))
    write_picture(folder / "bent" / "edges" / "a.png", torch.rand(3, 32, 64))
    content = (folder / "photos" / "a.png").read_bytes()
    (folder / "cut" / "a.png").write_bytes(content[: len(content) // 2])
    (folder / "rows.jsonl").write_text(json.dumps({"target": "../a.png", "prompt": ""}) + "\n")
    return folder


TRAIN = {
    "--size 30": "multiple of 4",
    "--size 64": "the toy world has 32",
    "--condition-size 24": "multiple of it",
    "--task edges,sketch": "sketch",
    "--task edges,edges": "name each task once",
    "--modules nothing": "no linear layer",
    "--delta 1": "rows and columns",
    "--delta 1,2 --task edges,grey": "delta holds for one task",
    "--blocks 50,60": "the model has 8 blocks",
    "--blocks 2,1": "a later end",
    "--timesteps 1,-1": "deviation above 0",
    "--drop-text 2": "drop-text",
    "--optim.batch 2 --optim.micro-batch 4": "larger than batch",
    "--data missing": "no such file or folder",
    "--data empty": "no picture",
    "--data bent": "aspect",
    "--data rows.jsonl": "outside",
    "--data photos --task subject": "another view",
    "--data cut": "the picture is damaged",
    "--cache true": "name their --data",
    "--optim.optimiser prodigy --optim.eps 0": "prodigy divides by it",
    "--model missing": "no pipeline of this name",
    "--start missing.safetensors": "no such file",
    "--start torn.safetensors": "not a whole safetensors file",
    "--start bare.safetensors": "does not say what its condition is",
    "--start wide.safetensors": "for another base model",
    "--start style.safetensors": "was trained for style",
    "--start edges.safetensors --rank 8": "rank 8: edges.safetensors was trained with 4",
    "--start edges.safetensors --alpha 2": "alpha 2.0: edges.safetensors was trained with 4",
    "--start edges.safetensors --modules qkv": "edges.safetensors is on other layers",
    "--start edges.safetensors --mode independent": "was trained with joint",
    "--start edges.safetensors --condition-size 16": "was trained with 32",
    "--start edges.safetensors --task edges,grey": "name one task",
}
EVALUATE = {
    "--adapter missing.safetensors": "no such file",
    "--adapter torn.safetensors": "not a whole safetensors file",
    "--adapter bare.safetensors": "does not say what its condition is",
    "--adapter wide.safetensors": "for another base model",
    "--adapter style.safetensors": "nothing is measured for task style",
    "--adapter tiny:nothing": "tiny:nothing",
    "--adapter edges.safetensors --size 30": "multiple of 4",
    "--adapter edges.safetensors --size 64": "the toy world has 32",
    "--adapter edges.safetensors --strength -1": "strength",
    "--adapter edges.safetensors --strength nan": "strength",
    "--adapter edges.safetensors --samples 1": "samples",
    "--adapter edges.safetensors --guidance 0.5 --data photos": "guidance begins at 1",
    "--adapter edges.safetensors --data missing": "no such file or folder",
    "--adapter edges.safetensors --data empty": "no picture",
    "--adapter edges.safetensors --data bent": "aspect",
}


@pytest.mark.parametrize(
    ("action", "words", "told"),
    [(action, words, told) for action, cases in (("train", TRAIN), ("evaluate", EVALUATE))
     for words, told in cases.items()],
)  # fmt: skip
def test_bad_input_ends_with_code_2_and_a_message_that_names_it(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], action: str, words: str, told: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    usual = ["--device", "cpu", "--out", str(tmp_path / "run")]
    for dry in ([], ["--dry-run"])[: 2 if action == "train" else 1]:
        assert main(["ominicontrol", action, *words.split(), *usual, *dry]) == 2
        said = capsys.readouterr()
        assert told in said.err and "Traceback" not in said.err and not said.out


def test_a_dry_run_misses_a_package_and_accepts_what_the_file_says_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    usual = ["ominicontrol", "train", "--device", "cpu", "--dry-run", "--json"]
    said = "--rank 4 --alpha 4 --modules full --mode joint --condition-size 32".split()
    assert main([*usual, "--start", "edges.safetensors", *said, "--data", "photos"]) == 0
    found = {one["name"]: one["value"] for one in json.loads(capsys.readouterr().out)["numbers"]}
    assert found["pictures in the data"] == 1 and found["weights trained"] == 4 * 21_424
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    assert main([*usual, "--optim.optimiser", "prodigy"]) == 2
    assert "modelgraft[optim]" in capsys.readouterr().err
