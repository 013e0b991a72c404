"""The documentation says what is there, and its examples run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import relprop.rules
from relprop.methods.registry import METHODS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A block of Python, and the output that the page says it prints, where it says so.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```(?:bash|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_has_a_page(name: str) -> None:
    page = ROOT / "docs" / "methods" / f"{name}.md"
    assert page.is_file(), f"write docs/methods/{name}.md"
    assert page.read_text(encoding="utf-8").startswith("# ")


def test_no_page_without_a_method() -> None:
    pages = {p.stem for p in (ROOT / "docs" / "methods").glob("*.md")} - {"index"}
    assert pages <= set(METHODS)


def test_every_rule_is_described() -> None:
    text = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs" / "rules").glob("*.md"))
    named = [n for n in relprop.rules.__all__ if n not in ("Rule", "LinearRule", "SharingRule")]
    assert [n for n in named if f"`{n}" not in text] == []


@pytest.mark.parametrize(
    "page", [p for p in PAGES if BLOCK.search(p.read_text(encoding="utf-8"))], ids=lambda p: p.stem
)
@pytest.mark.usefixtures("bundled_networks_are_loaded_once")
def test_python_blocks_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for block, said in BLOCK.findall(page.read_text(encoding="utf-8")):
        if not block.startswith("# continues\n"):  # a reader may paste it alone
            names: dict[str, object] = {"__name__": "__main__"}
        exec(compile(block, str(page), "exec"), names)
        printed = capsys.readouterr().out
        if said or page.parent.name == "methods":  # there every output is shown
            assert printed == said


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_local_links_lead_somewhere(page: Path) -> None:
    # mkdocs checks docs/; README is read on a code host.
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if not (page.parent / t).exists()]
    assert missing == []


def test_commands_in_the_docs_exist() -> None:
    from relprop.cli.app import app

    known = {c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands}
    for page in PAGES:
        for block in SHELL.findall(page.read_text(encoding="utf-8")):
            for command in re.findall(r"^relprop (\w+)", block, re.MULTILINE):
                assert command in known, f"{page.name}: relprop {command}"


def _one_line(source: str) -> str:
    # Sentences run over several string literals: join them.
    return re.sub(r'"\s*\n\s*f?"', "", source)


def test_every_extra_is_listed() -> None:
    with (ROOT / "pyproject.toml").open("rb") as f:
        extras = tomllib.load(f)["project"]["optional-dependencies"]
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    listed = [
        name
        for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
        for name in row.strip("`").split("`, `")
    ]
    assert [name for name in extras if name not in listed] == []


def test_troubleshooting_quotes_real_texts() -> None:
    package = " ".join(_one_line(p.read_text(encoding="utf-8")) for p in (ROOT / "src").rglob("*.py"))
    pages = [
        (ROOT / "docs" / "troubleshooting" / name).read_text(encoding="utf-8")
        for name in ("inputs.md", "models.md")
    ]
    headings = re.findall(r"^### (.*)$", "\n".join(pages), re.MULTILINE)
    quotes = [q for heading in headings for q in re.findall(r"“([^”]+)”", heading)]
    assert len(quotes) >= 15
    parts = [part.strip(" :") for q in quotes for part in q.split("…")]
    assert [part for part in parts if len(part) > 3 and part not in package] == []


def test_doctests_become_code_on_api_pages() -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("griffe_doctests", ROOT / "scripts" / "griffe_doctests.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = "Sum.\n\n>>> f(\n...     1)\n2\n>>> 3\n3\n\nAfter.\n"
    assert module.fenced(text) == "Sum.\n\n```pycon\n>>> f(\n...     1)\n2\n>>> 3\n3\n```\n\nAfter.\n"
    assert module.fenced("No code.\n") == "No code.\n"
