"""Bad input of the commands: exit code 2, one line that says what is wrong, and advice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from random_flux import fill
from safetensors.torch import save_file

from modelgraft.cli.main import main
from modelgraft.diffusion.load import load_flux
from modelgraft.diffusion.pictures import write_picture
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo

QUERY = "transformer.transformer_blocks.0.attn.to_q.lora_{}.weight"
Call = Callable[..., tuple[int, str]]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, masks and adapters, good ones and bad ones."""
    folder = tmp_path_factory.mktemp("files")
    draws = torch.Generator().manual_seed(0)
    for name, size in (("photo", (32, 32)), ("wide", (32, 64)), ("mask", (32, 32))):
        write_picture(folder / f"{name}.png", torch.rand(3, *size, generator=draws))
    for name, shade in (("white", 1.0), ("black", 0.0)):
        write_picture(folder / f"{name}.png", torch.full((1, 32, 32), shade))
    (folder / "text.png").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "photo.png").read_bytes()[:900])
    (folder / "empty").mkdir()
    infos = {
        "edges": AdapterInfo(task="edges", mode="independent", condition_px=32),
        "fill": AdapterInfo(task="fill", mode="independent", condition_px=32),
        "compact": AdapterInfo(task="edges", mode="independent", condition_px=16, scale=2.0),
        "subject": AdapterInfo(task="subject", delta=(0, 8), condition_px=32),
    }
    control = OminiControl(load_flux("tiny:flux", device="cpu").pipe)
    for name, info in infos.items():
        control.attach(name, info)
        fill(control.transformer, name, seed=1)
        control.save(name, folder / f"{name}.safetensors")
    (folder / "text.safetensors").write_text("no adapter")
    wide = {QUERY.format("A"): torch.zeros(4, 3072), QUERY.format("B"): torch.zeros(3072, 4)}
    said = {"omini": json.dumps({"task": "edges"})}
    save_file(wide, folder / "flux.safetensors", metadata=said)
    save_file(wide, folder / "mine.safetensors")
    said = {"omini": json.dumps({"task": "edges", "steps": "8"})}
    save_file(wide, folder / "header.safetensors", metadata=said)
    (folder / "items.jsonl").write_text('{"item": "cup"}\n')
    return folder


@pytest.fixture
def call(files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> Call:
    """The exit code of a command run beside the files, and what it said on standard error."""

    def run(*words: str) -> tuple[int, str]:
        named = [str(files / word[1:]) if word.startswith("@") else word for word in words]
        code = main(["ominicontrol", *named, "--device", "cpu", "--out", str(tmp_path / "run")])
        return code, capsys.readouterr().err

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELGRAFT_OFFLINE", "1")
    return run


def edges(*more: str, condition: str = "@photo.png", adapter: str = "@edges.safetensors") -> Any:
    words = ("generate", "--prompt", "a", "--condition", condition, "--adapter", adapter)
    return (*words, *more)


def filling(*more: str) -> Any:
    return edges(*more, adapter="@fill.safetensors")


REFUSED = {
    "a side that is no whole tokens": (edges("--size", "30"), "size 30: a multiple of 4"),
    "and without a condition": (("generate", "--prompt", "a", "--size", "30"), "a multiple of 4"),
    "and beside a subject": (
        edges("--size", "30", adapter="@subject.safetensors"), "size 30: a multiple of 4",
    ),
    "a side that a compact condition cannot have": (
        edges("--size", "36", adapter="@compact.safetensors"), "size 36: .*photo.png",
    ),
    "a subject inside of the output": (
        edges("--size", "64", adapter="@subject.safetensors"), "at most 32 pixels in width",
    ),
    "aligned conditions of two aspects": (
        edges("--condition", "@wide.png", "--adapter", "@fill.safetensors"),
        "photo.png and .*wide.png both lie over",
    ),
    "a picture that is missing": (edges(condition="@none.png"), "none.png: no such file"),
    "a picture that is none": (edges(condition="@text.png"), "text.png: not a picture"),
    "a picture cut off": (edges(condition="@cut.png"), "cut.png: the picture is damaged"),
    "a folder in place of a picture": (edges(condition="@empty"), "empty: the picture cannot"),
    "a condition without adapter": (
        ("generate", "--prompt", "a", "--condition", "@photo.png"), "give every condition its",
    ),
    "no prompt": (("generate",), "prompt: say what to draw"),
    "an adapter that is missing": (edges(adapter="@none.safetensors"), "no such file"),
    "an adapter that is none": (edges(adapter="@text.safetensors"), "not a whole safetensors"),
    "an adapter of a wider model": (
        edges(adapter="@flux.safetensors"), "to_q of size 3072 x 3072, .* 128 x 128",
    ),
    "an adapter that nobody knows": (edges(adapter="@mine.safetensors"), "no published adapter"),
    "a header that cannot be": (edges(adapter="@header.safetensors"), "steps '8'"),
    "a shipped adapter that is none": (edges(adapter="tiny:nothing"), "tiny:nothing: not shipped"),
    "a negative strength": (edges("--strength", "-1"), "strength"),
    "a strength that is no number": (edges("--strength", "nan"), "strength"),
    "two strengths for one condition": (edges("--strength", "1,2"), "2 values for 1"),
    "an end before the start": (edges("--start", "0.9", "--end", "0.1"), "behind end"),
    "a negative prompt without guidance": (
        edges("--negative", "b", "--guidance", "1"), "negative: it needs",
    ),
    "guidance below none": (edges("--guidance", "0.5"), "true guidance begins at 1"),
    "a mask that keeps all": (filling("--mask", "@white.png"), "white.png: the mask keeps 100"),
    "a mask that keeps nothing": (filling("--mask", "@black.png"), "the mask keeps 0.00%"),
    "a mask of another aspect": (filling("--mask", "@wide.png"), "wide.png: the mask has 64 x 32"),
    "a mask for edges": (edges("--mask", "@mask.png"), "mask: it is for one fill adapter"),
    "integration without a mask": (filling("--integrate"), "integrate: give the mask"),
    "tokens left out of a fill": (filling("--drop-empty"), "drop.empty: it is for edges"),
    "a model that is none": (edges("--model", "tiny:nothing"), "tiny:nothing"),
    "conditions of nothing": (("conditions", "@empty"), "there is no picture in this folder"),
    "conditions of a missing picture": (("conditions", "@none.png"), "none.png: no such file"),
    "conditions of no picture": (("conditions", "@text.png"), "text.png: not a picture"),
    "conditions of a cut picture": (("conditions", "@cut.png"), "cut.png: the picture is damaged"),
    "a subject made of a picture": (("conditions", "@photo.png", "--task", "subject"), "none is"),
    "conditions of a side too small": (("conditions", "@photo.png", "--size", "2"), "size"),
    "pairs of a height that is no tokens": (("pairs", "--height", "30"), "height 30: a multiple"),
    "pairs too small to be cut": (("pairs", "--height", "8"), "height"),
    "items that are missing": (("pairs", "--items", "@none.jsonl"), "none.jsonl: no such file"),
    "items that are none": (("pairs", "--items", "@items.jsonl"), "items.jsonl:1: field"),
    "a cost of no whole tokens": (("cost", "--size", "30"), "size 30: a multiple of 4"),
    "a cost of such a condition": (("cost", "--condition-size", "30"), "condition.size 30"),
    "a cost of no model": (("cost", "--model", "no/such/folder"), "no pipeline of this name"),
    "a cost of negative numbers": (("cost", "--conditions", "-1"), "conditions"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_ends_with_one_clear_error(call: Call, name: str) -> None:
    words, told = REFUSED[name]
    code, said = call(*words)
    lines = said.strip().splitlines()
    starts = [place for place, line in enumerate(lines) if "Error: " in line]
    assert code == 2 and "Traceback" not in said
    assert len(starts) == 1, said
    assert all(line.startswith("  ") for line in lines[starts[0] + 1 :]), said
    assert re.search(told, " ".join(lines[starts[0] :])), said


def test_what_the_hub_alone_has_is_not_available_offline(call: Call) -> None:
    code, said = call(*edges(adapter="Yuanshi/OminiControl:omini/subject_512.safetensors"))
    assert code == 4 and said.startswith("Unavailable: Yuanshi/OminiControl")
    assert "fetch this one once" in said and "Traceback" not in said


def test_a_blank_prompt_is_drawn_and_what_is_odd_is_told_on_the_terminal(call: Call) -> None:
    code, said = call("generate", "--prompt", " ", "--condition", "@black.png", "--adapter",
                      "@edges.safetensors", "--steps", "1")  # fmt: skip
    assert code == 0 and "black.png: 1 conditions are all black" in said


def test_a_dry_run_refuses_what_the_run_would(call: Call) -> None:
    for words in (edges("--size", "30"), edges(adapter="@none.safetensors"),
                  edges(condition="@none.png"), ("pairs", "--height", "30")):  # fmt: skip
        code, said = call(*words, "--dry-run")
        assert code == 2 and "Error: " in said and "Traceback" not in said
