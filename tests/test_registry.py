"""The registries: names and lines that are true, quick to list, and open to files of the user's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relprop import catalogue
from relprop.detectors.sources import load_detector
from relprop.errors import InputError, RelpropError, UnknownNameError
from relprop.methods.registry import resolve
from relprop.models.sources import load_model
from relprop.own_file import beside, code_of, from_file, split_file, without_folder
from relprop.registry import Registry, parameters, split_settings
from relprop.written import own_settings, own_summary

REGISTRIES: dict[str, Registry[Any]] = {
    name: value for name, value in vars(catalogue).items() if isinstance(value, Registry)
}
OWN = """
import beside_it


class Made:
    def __init__(self, *, size=2):
        self.size = size + beside_it.N


class Picky:
    def __init__(self, size):
        raise ValueError("too odd")
"""
ENTRIES = [(kind, name) for kind, registry in REGISTRIES.items() for name in registry]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_lines_are_true(kind: str, name: str) -> None:
    registry = REGISTRIES[kind]
    found = registry[name]
    assert isinstance(found, type)
    assert getattr(found, "name", name) in (name, "")
    said = registry.summary(name)
    assert said.strip()
    assert "\n" not in said
    assert said == getattr(found, "summary", said)  # as read from the source, without importing it
    taken = {key: "needed" if p.default is p.empty else p.default for key, p in parameters(found).items()}
    assert registry.settings(name) == taken


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_settings_are_read_from_the_source(kind: str, name: str) -> None:
    """Nothing has to be imported to say them: a default that isn't written plainly would take a second."""
    module, _, own = REGISTRIES[kind]._places[name].partition(":")
    assert own_settings(module, own) is not None


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from relprop import catalogue as c\n"
        "for r in vars(c).values():\n"
        "    if isinstance(r, c.Registry): r.summaries(), [r.settings(n) for n in r]\n"
        "[c.METHODS.check(name) for name in c.METHODS]\n"
        "[c.MODEL_SPECS.check(spec) for spec in c.MODEL_SPECS if '.' not in spec]\n"
        "print([m for m in ('torch', 'numpy', 'PIL', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("registry", REGISTRIES.values(), ids=list(REGISTRIES))
def test_unknown_names_are_refused_with_the_nearest(registry: Registry[Any]) -> None:
    name = next(iter(registry))
    with pytest.raises(
        UnknownNameError, match=f"known {registry.what} but got '{name}x'. Did you mean '{name}'"
    ):
        registry.find(f"{name}x")
    assert f"{name}x" not in registry
    assert name in registry
    assert len(registry) == len(list(registry))


@pytest.mark.parametrize(
    ("text", "name", "settings"),
    [
        ("lrp-0", "lrp-0", {}),
        ("lrp:rule=z-plus", "lrp", {"rule": "z-plus"}),
        ("rsp:hostile=[1,2],bounds=(0, 1)", "rsp", {"hostile": [1, 2], "bounds": (0, 1)}),
        ("a/b.py:Name", "a/b.py:Name", {}),
        ("../b.py:Name:steps=3,kind=x", "../b.py:Name", {"steps": 3, "kind": "x"}),
        (r"C:\own\b.py:Name:k=1", r"C:\own\b.py:Name", {"k": 1}),
        ("crp:include-background=False", "crp", {"include_background": False}),
    ],
)
def test_names_with_settings(text: str, name: str, settings: dict[str, Any]) -> None:
    assert split_settings(text) == (name, settings)


REFUSED = [
    "lrp-epsilo",
    "lrp-epsilon:epsilo=1",
    "rsp:start=1",
    "lrp:rule",
    "nowhere.py:Own",
    "torchvision:resnet50",
    "grad-cam:steps=3",
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_early_is_refused_with_the_same_words(text: str) -> None:
    with pytest.raises(InputError) as early:
        catalogue.METHODS.check(text)
    with pytest.raises(InputError) as late:
        resolve(text)
    assert str(early.value) == str(late.value)
    assert type(early.value) is type(late.value)


@pytest.mark.parametrize("name", catalogue.METHODS)
def test_nothing_is_refused_early_that_can_be_used(name: str) -> None:
    catalogue.METHODS.check(name)
    for key in catalogue.METHODS.settings(name):
        catalogue.METHODS.check(f"{name}:{key}=1")


@pytest.mark.parametrize("spec", ["scenes-vg", "c3", "resnet50", "torch:resnet50", "nowhere.py:Net", ":", ""])
def test_models_are_refused_early_with_the_same_words(spec: str) -> None:
    for specs, load in ((catalogue.MODEL_SPECS, load_model), (catalogue.DETECTOR_SPECS, load_detector)):
        with pytest.raises(InputError) as early:
            specs.check(spec)
        with pytest.raises(InputError) as late:
            load(spec)
        assert str(early.value) == str(late.value)
    for name in (*catalogue.MODELS, *catalogue.CLIP_MODELS, "c3d", "torchvision:x", "timm:x"):
        catalogue.MODEL_SPECS.check(name)


def test_what_isnt_written_plainly_is_not_guessed() -> None:
    assert own_settings("relprop.registry", "nobody") is None
    assert own_settings("relprop.benchmark.recipe", "Recipe") is None  # a dataclass
    assert own_settings("relprop.nowhere", "Nobody") is None
    assert own_summary("relprop.registry", "Registry") is None


def test_settings_without_a_value() -> None:
    with pytest.raises(InputError, match="Expected a mode as name:key=value,key=value but got 'naive:slice'"):
        split_settings("naive:slice", "mode")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    (tmp_path / "beside_it.py").write_text("N = 1\n")
    return path


def test_own_files(own: Path) -> None:
    tools: Registry[Any] = Registry("tool", {})
    assert tools.make(f"{own}:Made", {"size": 4}).size == 5
    assert tools.find(f"{own}:Made") is tools.find(f"{own}:Made")
    assert from_file(own, "Made", again=True) is not None
    with pytest.raises(
        UnknownNameError, match=r"known name in '.*own.py' but got 'Mad'. Did you mean 'Made'"
    ):
        tools.find(f"{own}:Mad")
    with pytest.raises(
        InputError, match=r"Expected a Python file but got 'nowhere.py', which does not exist"
    ):
        tools.find("nowhere.py:Made")
    with pytest.raises(
        UnknownNameError, match=r"known setting of .*:Made but got 'sise'. Did you mean 'size'"
    ):
        tools.make(f"{own}:Made", {"sise": 4})
    with pytest.raises(InputError, match=r"Expected the setting 'size' of .*:Picky but it is missing"):
        tools.make(f"{own}:Picky", {})
    with pytest.raises(InputError, match=r"settings that .*:Picky accepts but got 'size=1': too odd"):
        tools.make(f"{own}:Picky", {"size": 1})
    assert str(own.parent) not in sys.path


def test_a_changed_file_is_read_again(own: Path) -> None:
    first = from_file(own, "Made")
    own.write_text("class Made:\n    size = 'another file by now'\n")
    assert from_file(own, "Made") is not first
    own.write_text("1 / 0\n")
    with pytest.raises(RelpropError, match=r"Running '.*own.py' raised ZeroDivisionError: division by zero"):
        from_file(own, "Made")


def test_paths_of_own_files(own: Path) -> None:
    assert beside("own.py:Made:size=3", own.parent) == f"{own}:Made:size=3"
    assert beside("other.py:Made", own.parent) == "other.py:Made"
    assert beside("lrp:rule=z-plus", own.parent) == "lrp:rule=z-plus"
    assert without_folder(f"{own}:Made:size=3") == "own.py:Made:size=3"
    assert without_folder(r"C:\own\b.py:Made") == "b.py:Made"
    assert without_folder("torchvision:resnet50") == "torchvision:resnet50"
    assert split_file("torchvision:resnet50") is None
    assert code_of("rsp") == ""
    before = code_of(f"{own}:Made:size=3")
    own.write_text(own.read_text() + "\n# another version\n")
    assert code_of(f"{own}:Made") != before
