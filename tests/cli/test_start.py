"""What is answered without torch, which takes a second or more to import: listings, help, completion, refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = "explain detect video affine inspect benchmark report methods models doctor".split()
HEAVY = ("torch", "torchvision", "matplotlib", "sympy")
ANSWERS = [
    "",
    "--help",
    "--version",
    *(f"{command} --help" for command in COMMANDS),
    "methods",
    "methods --json",
    "methods rsp",
    "methods lrp-composite --json",
    "models",
    "models --json",
    "benchmark list",
    "benchmark list --json",
]
REFUSALS = {
    "nonsense": "No such command",
    "explain": "Missing argument",
    "explain there.png": "Missing option",
    "explain there.png -m scenes-vgg --nonsense": "No such option",
    "explain nowhere.png -m scenes-vgg": "Expected a picture file but got 'nowhere.png'",
    "explain there.png -m scenes-vg": "Did you mean 'scenes-vgg'",
    "explain there.png -m nowhere.py:Net": "Expected a Python file but got 'nowhere.py'",
    "explain there.png -m scenes-vgg -x lrp-epsilo": "Did you mean 'lrp-epsilon'",
    "explain there.png -m scenes-vgg -x gradient -x rsp:mod=1": "Did you mean 'mode'",
    "explain there.png -m scenes-vgg -x rsp:start=1": "Expected at=... for rsp",
    "explain there.png -m scenes-vgg -x nowhere.py:Own": "Expected a Python file but got 'nowhere.py'",
    "explain there.png -m scenes-vgg --size 0": "Expected a size",
    "explain there.png -m scenes-vgg --mean x": "Expected numbers with commas",
    "explain there.png -m scenes-vgg --scale loud": "Expected --scale symmetric",
    "explain there.png -m scenes-vgg --weights nowhere.pth": "Expected a weights file",
    "explain there.png -m scenes-vgg --labels nowhere.txt": "Expected a labels file",
    "explain there.png -m scenes-vgg --region nowhere.png": "Expected a picture file",
    "inspect -m scenes-vgg -x nope": "Expected a known method",
    "detect nowhere.png": "Expected a picture file",
    "detect -m scenes-sd": "Did you mean 'scenes-ssd'",
    "detect -x cpr": "Did you mean 'crp'",
    "video nowhere.avi": "Expected a film",
    "video -m motion-c3": "Did you mean 'motion-c3d'",
    "video --mode naiv": "Did you mean 'naive'",
    "video --mode naive:slise=1": "Expected a setting of mode naive but got 'slise'",
    "affine nowhere.png": "Expected a picture file",
    "affine -m scenes-vg": "Did you mean 'scenes-vgg'",
    "benchmark scene": "Did you mean 'scenes'",
    "benchmark nowhere.toml": "Expected a recipe file",
    "benchmark scenes -x centre": "Expected a known method",
    "benchmark scenes -m scenes-vg": "Did you mean 'scenes-vgg'",
    "benchmark rsp-table1-voc07": "Expected --data PATH",
    "report": "Missing argument",
    "benchmark list --format csv": "Expected no --format with 'list'",
    "benchmark list --out there": "Expected no --out with 'list'",
    "benchmark list -m scenes-vgg": "Expected no --model with 'list'",
    "benchmark list --no-maps": "Expected no --maps/--no-maps with 'list'",
    "benchmark show --figures pdf": "Expected no --figures with 'show'",
    "benchmark show --picture a": "Expected no --picture with 'show'",
    "benchmark show --workers 2": "Expected no --workers with 'show'",
    "benchmark show --engine ray": "Expected no --engine with 'show'",
    "benchmark show --address here": "Expected no --address with 'show'",
    "benchmark show --device cuda": "Expected no --device with 'show'",
    "methods lrp-epsilo": "Did you mean 'lrp-epsilon'",
    "methods nowhere.py:Own": "Expected a Python file",
    "models --source tim": "Did you mean 'timm'",
}
COMPLETIONS = {
    "relprop exp": "explain",
    "relprop explain -x lrp-eps": "lrp-epsilon",
    "relprop explain -m scenes-r": "scenes-resnet",
    "relprop detect -m scenes-s": "scenes-ssd",
    "relprop video -m motion": "motion-c3d",
    "relprop video --mode cons": "conserving",
    "relprop benchmark rsp-table2": "rsp-table2-imagenet-seg",
    "relprop methods cr": "crp",
}


def answered(words: str, here: Path, **environment: str) -> tuple[int, str, list[str]]:
    """Exit code, what was printed, and which heavy modules were imported for it."""
    code = (
        "import sys\nfrom relprop.cli import main\n"
        "try:\n    main()\nfinally:\n"
        f"    print('IMPORTED', *[m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()],
        capture_output=True,
        text=True,
        cwd=here,
        env={**os.environ, **environment},
    )
    said, _, imported = done.stdout.rpartition("IMPORTED")
    return done.returncode, said + done.stderr, imported.split()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("here")
    (folder / "there.png").write_bytes(b"a picture that nobody reads")
    return folder


@pytest.mark.parametrize("words", ANSWERS)
def test_answers_without_torch(words: str, here: Path) -> None:
    code, said, imported = answered(words, here)
    assert (code, imported) == (0, []), said
    assert said.strip()


@pytest.mark.parametrize("words", REFUSALS)
def test_refusals_without_torch(words: str, here: Path) -> None:
    code, said, imported = answered(words, here)
    assert REFUSALS[words] in said
    assert (code, imported) == (2, [])


@pytest.mark.parametrize("typed", COMPLETIONS)
def test_completion_without_torch(typed: str, here: Path) -> None:
    asked = {"_RELPROP_COMPLETE": "complete_bash", "COMP_WORDS": typed}
    code, said, imported = answered("", here, **asked, COMP_CWORD=str(len(typed.split()) - 1))
    assert (code, imported) == (0, []), said
    assert COMPLETIONS[typed] in said.split()


def test_what_is_imported_is_seen(here: Path) -> None:
    """A refusal that needs the library's own list, for which torch has to be imported."""
    assert "torch" in answered("explain there.png -m torchvision:resnet5", here)[2]


def test_as_a_module(here: Path) -> None:
    """`python -m relprop` is the command."""
    done = subprocess.run(
        [sys.executable, "-m", "relprop", "methods", "crp"], capture_output=True, text=True, cwd=here
    )
    assert done.returncode == 0
    assert "include_background" in done.stdout
