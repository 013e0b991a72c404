"""Help: options in panels, one spelling of what stands for a value, and lines that fit the terminal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from relprop.cli import run
from relprop.cli.app import app
from relprop.cli.panels import METAVARS, PANELS

ROOT: Any = get_command(app)
COMMANDS: dict[str, Any] = ROOT.commands


def _options(name: str) -> list[Any]:
    return [p for p in COMMANDS[name].params if p.param_type_name == "option"]


def _told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run([*words, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_stands_in_a_panel(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert {option.rich_help_panel for option in _options(name)} <= set(PANELS)
    told = _told(capsys, name)
    shown = re.findall(r"^(\S.*):$", told, re.M)
    assert shown == [panel for panel in PANELS if panel in shown]
    for option in _options(name):
        panel = told[told.index(f"\n{option.rich_help_panel}:\n") :]
        assert option.opts[0] in panel.split("\n\n")[0], option.opts


@pytest.mark.parametrize("name", COMMANDS)
def test_metavars_are_spelled_one_way(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if getattr(parameter, "is_flag", False):
            continue
        assert parameter.metavar, f"{name}: {parameter.opts}"
        plain = re.sub(r"\[:KEY=VALUE,\.\.\.\]|\[,(\w+)\.\.\.\]", "", parameter.metavar)
        words = [word for word in plain.split("|") if not word.islower()]
        assert set(words) <= set(METAVARS), f"{name}: {parameter.opts}"


@pytest.mark.parametrize("name", COMMANDS)
def test_where_results_go_has_one_letter(name: str) -> None:
    assert [option.opts for option in _options(name) if "--out" in option.opts] in ([], [["--out", "-o"]])


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits(
    name: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    told = _told(capsys, *name.split())
    assert max(map(len, told.splitlines())) < min(columns, 100)
    assert "\x1b" not in told
    cut = told.replace("...]", "").split("\n\n", 1)[1]
    for word in ("CLIP", "IMAGE", "PATH"):
        cut = cut.replace(f" {word}...", "")
    assert "..." not in cut, "a sentence is cut"


def test_the_page_explains_the_same_words() -> None:
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
    for word, meaning in METAVARS.items():
        assert f"| `{word}` | {meaning} |" in page


def test_every_command_is_in_the_help_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    told = _told(capsys)
    for name, command in COMMANDS.items():
        said = " ".join(told.split())
        assert " ".join(command.help.split("\n\n")[0].split()) in said, name
