"""Recipe: which data, model, methods and metrics make a benchmark; read from TOML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from relprop.catalogue import BASELINES, DATASETS, GEOMETRIES
from relprop.checks import check_choice, check_spelling
from relprop.errors import InputError, unknown_name
from relprop.files import brief, read_text
from relprop.own_file import beside

__all__ = [
    "SQUARED",
    "MethodEntry",
    "MetricEntry",
    "ModelEntry",
    "Recipe",
    "read_recipe",
    "recipe_from",
    "recipes",
]

_REDUCTIONS = ("sum", "max-abs", "positive")
_PREDICTED = ("auto", "sigmoid", "top-1", "top-5")
_TARGETS = ("labels", "top-1")
_DISCONNECTED = ("", "full", "part")
_CLASSES = ("auto", "names", "synsets")

#: The control that is no map of its own: the map of the method that is best in energy, squared.
SQUARED = "squared"
_STEEPEST = 8.0  # of an exponent: beyond it nothing is left but the strongest pixel


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


#: A field's type -> what a value has to be, in words, and the check. TOML and JSON know lists, no tuples.
_VALUES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "str": ("a text", lambda v: isinstance(v, str)),
    "bool": ("true or false", lambda v: isinstance(v, bool)),
    "float": ("a number", _is_number),
    "bool | tuple[str, ...]": (
        "true, false or a list of texts",
        lambda v: (
            isinstance(v, bool) or (isinstance(v, (list, tuple)) and all(isinstance(t, str) for t in v))
        ),
    ),
    "tuple[int, ...]": (
        "a list of whole numbers",
        lambda v: isinstance(v, (list, tuple)) and all(map(_is_whole, v)),
    ),
    "tuple[float, ...]": (
        "a list of numbers",
        lambda v: isinstance(v, (list, tuple)) and all(map(_is_number, v)),
    ),
    "dict[str, dict[str, float]]": (
        "tables of numbers",
        lambda v: (
            isinstance(v, Mapping)
            and all(isinstance(m, Mapping) and all(map(_is_number, m.values())) for m in v.values())
        ),
    ),
}


@dataclass(frozen=True)
class ModelEntry:
    """The `[model]` table.

    Attributes:
        spec: as for the command line's `--model`.
        weights, labels, size, mean, std, multi_label, random_weights: as for `load_model`.
        geometry: see `Geometry`.
        classes: how the data set's classes meet the model's outputs: "names" (the same names, or the same
            number where the model has none), "synsets" (an ImageNet classifier asked about VOC or COCO), or
            "auto": synsets where a model of 1000 classes meets VOC or COCO, else names.
        disconnected: for the data set `grids`: "full" (DiFull) or "part" (DiPart), see
            `relprop.benchmark.disconnected`; "": the model itself (GridPG).
        places: where it is taken apart then, modules or nodes, separated by commas; "": at its last feature map.
        predicted: when a class counts as predicted: "sigmoid" (score >= 0.5), "top-1", "top-5", or "auto":
            sigmoid for multi-label models, top-1 for others.
    """

    spec: str
    weights: str | None = None
    labels: str | None = None
    size: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    multi_label: bool | None = None
    random_weights: bool = False
    geometry: str = "shorter"
    classes: str = "auto"
    predicted: str = "auto"
    disconnected: str = ""
    places: str = ""


@dataclass(frozen=True)
class MethodEntry:
    """One of `methods`: a string, or a table with these keys.

    Attributes:
        method: `name`, `name:key=value,...` or `file.py:Name` as on the command line; or a baseline ("center",
            "random", "edges", "oracle", or one of your own).
        label: its name in tables; default: the text of `method`.
        reduce: how channels become a map: "sum", "max-abs" (largest magnitude), "positive" (positive part of
            the sum).
        smooth: Gaussian blur of the map on the picture, sigma as a share of the picture's longer side.
        at: a layer: the relevance there instead of the input's.
        power: the map R on the picture becomes sign(R) |R|^power before it is judged. Above 1 it is sharper and
            ranks pixels as before, so a gain in energy by it is no better explanation.
    """

    method: str
    label: str = ""
    reduce: str = "sum"
    smooth: float = 0.0
    at: str = ""
    power: float = 1.0


@dataclass(frozen=True)
class MetricEntry:
    """One of `[[metrics]]`: `name` (or `file.py:Name`), an optional `label` for tables, and its settings."""

    name: str
    label: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A benchmark, fully stated: the same recipe gives the same table.

    Attributes:
        name: for titles.
        about: one line.
        data: `name` of a data set and its options.
        model: the model.
        methods: what is judged.
        metrics: how.
        controls: what every method should beat, added to the methods. True: every baseline that comes with
            relprop, and "squared", the map of the method that is best in energy (in the first metric with a
            region, where energy isn't measured), squared. False: none. Or a list of names. What is among the
            methods anyway isn't added.
        ceiling: where the data are drawn: also say what the world's own map gets, by the metrics that know what to
            make of it. A row of its own, "the world".
        targets: "labels": every annotated class of a picture that the model knows; "top-1": the class that
            the model finds likeliest, judged by all the picture's objects.
        seed: of everything random: baselines, bootstrap.
        limit: pictures at most, drawn with the seed; 0: all.
        chunk: pictures that are computed and written together; at most these are lost when a run dies.
        batch: pictures of one size that run through the model together.
        threads: CPU threads a worker. 1 gives the same digits whatever the number of workers.
        replicates: of the bootstrap.
        maps: whether maps are kept, so that another metric or setting needs no explaining.
        published: column -> method -> a paper's number, printed apart from ours.
        network: what the published numbers were measured on: "VGG-16 trained on VOC".
        source: what the published numbers are from.
        folder: where the files of `file.py:Name` lie, if they aren't found from here; a recipe's own file says it.
    """

    name: str
    data: dict[str, Any]
    model: ModelEntry
    methods: tuple[MethodEntry, ...]
    metrics: tuple[MetricEntry, ...]
    about: str = ""
    controls: bool | tuple[str, ...] = True
    ceiling: bool = True
    targets: Literal["labels", "top-1"] = "labels"
    seed: int = 0
    limit: int = 0
    chunk: int = 16
    batch: int = 1
    threads: int = 1
    replicates: int = 1000
    maps: bool = True
    published: dict[str, dict[str, float]] = field(default_factory=dict)
    network: str = ""
    source: str = ""
    folder: str = ""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("chunk", 1, 10**6),
            ("batch", 1, 4096),
            ("threads", 1, 1024),
            ("limit", 0, 10**9),
            ("seed", 0, 2**32 - 1),
            ("replicates", 1, 10**6),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise InputError(
                    f"Expected {name} to be a whole number from {least} to {most} but got {brief(value)}."
                )
        check_choice("targets", self.targets, _TARGETS)
        check_choice("model.geometry", self.model.geometry, GEOMETRIES)
        check_choice("model.classes", self.model.classes, _CLASSES)
        check_choice("model.predicted", self.model.predicted, _PREDICTED)
        check_choice("model.disconnected", self.model.disconnected, _DISCONNECTED)
        if not self.methods or not self.metrics:
            raise InputError(f"Expected at least one method and one metric in recipe {self.name!r}.")
        for what, labels in (("method", self.method_labels), ("metric", self.metric_labels)):
            twice = [label for label in labels if labels.count(label) > 1]
            if twice:
                raise InputError(
                    f"Expected {what}s with different labels but {twice[0]!r} comes twice. Set label."
                )
        for entry in self.rows:
            check_choice(f"reduce of {entry.method}", entry.reduce, _REDUCTIONS)
            if not 0 < entry.power <= _STEEPEST:
                raise InputError(
                    f"Expected power of {entry.method} above 0 and at most {_STEEPEST:g} but got {entry.power!r}."
                )
            if not 0 <= entry.smooth < 1:
                raise InputError(f"Expected smooth of {entry.method} from 0 to 1 but got {entry.smooth!r}.")

    @property
    def rows(self) -> tuple[MethodEntry, ...]:
        """The methods, then those controls that are baselines and aren't among them."""
        taken = {text for entry in self.methods for text in (entry.label or entry.method, entry.method)}
        names = (BASELINES if self.controls else ()) if isinstance(self.controls, bool) else self.controls
        added = (name for name in dict.fromkeys(names) if name != SQUARED and name not in taken)
        return (*self.methods, *map(MethodEntry, added))

    @property
    def squares(self) -> bool:
        """Whether the best method squared is a control."""
        return self.controls if isinstance(self.controls, bool) else SQUARED in self.controls

    @property
    def method_labels(self) -> list[str]:
        """Names of the methods and baselines in tables."""
        return [entry.label or entry.method for entry in self.rows]

    @property
    def metric_labels(self) -> list[str]:
        """Names of the metrics in tables."""
        return [entry.label or entry.name for entry in self.metrics]

    def plain(self) -> dict[str, Any]:
        """The recipe as plain values (JSON)."""
        values = json.loads(json.dumps(asdict(self)))
        if not self.folder:
            del values["folder"]
        return values

    def located(self, text: str) -> str:
        """A name of the recipe, with the path of its file where it is `file.py:Name`.

        The file is looked for beside the recipe first, then where the command runs.
        """
        return beside(text, self.folder) if self.folder else text

    @property
    def data_set(self) -> Any:
        """The class of the recipe's data set, or the function that makes it.

        Raises:
            UnknownNameError: no such data set.
        """
        return DATASETS.find(self.located(self.data["name"]))

    def with_(self, **changes: Any) -> Recipe:
        """A copy with other values; None leaves a value as it is."""
        return replace(self, **{k: v for k, v in changes.items() if v is not None})


def recipes() -> dict[str, str]:
    """Names of the recipes that come with the package, with a line about each.

    >>> "scenes" in recipes()
    True
    """
    found = {}
    for file in sorted(files("relprop.benchmark").joinpath("recipes").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".toml"):
            found[file.name[:-5]] = tomllib.loads(file.read_text(encoding="utf-8")).get("about", "")
    return found


def read_recipe(which: str | Path) -> Recipe:
    """A recipe by name, or from a TOML file.

    Raises:
        InputError: no such recipe or file, not TOML, a key that is missing or unknown.
    """
    text, name, folder = _text(str(which))
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise InputError(f"Expected a recipe in TOML but '{which}' is not: {reason}.") from None
    return recipe_from({"name": name, **({"folder": folder} if folder else {}), **table}, str(which))


def recipe_from(table: Mapping[str, Any], where: str = "the recipe") -> Recipe:
    """A recipe from plain values, such as `Recipe.plain()`.

    Raises:
        InputError: a key that is missing or unknown, or a value that can't be used.
    """
    known = {f.name for f in fields(Recipe)}
    _keys(table, known, where)
    _plain(table, where)
    for needed in ("data", "model", "methods", "metrics"):
        if needed not in table:
            raise InputError(f"Expected {where} to have '{needed}' but it has none.")
    _typed(Recipe, table, where)
    if not isinstance(table["data"], Mapping) or not isinstance(table["data"].get("name"), str):
        raise InputError(f"Expected [data] of {where} to have a 'name' such as \"voc\".")
    values = dict(table)
    values["data"] = dict(table["data"])
    values["model"] = _entry(
        ModelEntry, _table(table["model"], "model", where), f"[model] of {where}", "spec"
    )
    values["methods"] = tuple(
        _entry(
            MethodEntry,
            {"method": m} if isinstance(m, str) else _table(m, "methods", where),
            f"[[methods]] of {where}",
            "method",
        )
        for m in _list(table["methods"], "methods", where)
    )
    values["metrics"] = tuple(_metric(m, where) for m in _list(table["metrics"], "metrics", where))
    if not isinstance(table.get("controls", True), bool):
        values["controls"] = tuple(table["controls"])
    return Recipe(**values)


def _text(which: str) -> tuple[str, str, str]:
    """A recipe's text, its name, and the folder it lies in ("" for ours)."""
    path = Path(which)
    if path.suffix == ".toml":
        return read_text(path, "a recipe file"), path.stem, str(path.parent.absolute())
    if which not in recipes():
        raise unknown_name("recipe", which, [*recipes(), "FILE.toml"])
    ours = files("relprop.benchmark").joinpath("recipes", f"{which}.toml")
    return ours.read_text(encoding="utf-8"), which, ""


def _metric(given: Any, where: str) -> MetricEntry:
    if isinstance(given, str):
        return MetricEntry(given)
    table = dict(_table(given, "metrics", where))
    if "name" not in table:
        raise InputError(f"Expected every metric of {where} to have a 'name'.")
    # A recipe as plain values keeps the settings apart; in TOML they stand beside the name.
    settings = dict(_table(table.pop("settings", {}), "settings", where))
    _typed(MetricEntry, table, f"[[metrics]] of {where}")
    name, label = table.pop("name"), table.pop("label", "")
    return MetricEntry(name, label, {**settings, **table})


def _entry(kind: Any, table: Mapping[str, Any], where: str, needed: str) -> Any:
    _keys(table, {f.name for f in fields(kind)}, where)
    if needed not in table:
        raise InputError(f"Expected {where} to have a '{needed}'.")
    _typed(kind, table, where)
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})


def _keys(table: Mapping[str, Any], known: set[str], where: str) -> None:
    check_spelling(where, table, known)
    for key in table:
        if key not in known:
            raise unknown_name(f"key in {where}", key, known)


def _plain(table: Mapping[str, Any], where: str) -> None:
    try:
        json.dumps(table)
    except (TypeError, ValueError) as error:  # TOML knows dates
        raise InputError(
            f"Expected texts, numbers, lists and tables in {where} but it has something else: {error}."
        ) from None


def _typed(kind: Any, table: Mapping[str, Any], where: str) -> None:
    for own in fields(kind):
        bare = own.type.removesuffix(" | None")
        if own.name not in table or bare not in _VALUES:
            continue
        value, (words, fits) = table[own.name], _VALUES[bare]
        if not fits(value) and not (value is None and bare != own.type):
            raise InputError(f"Expected {own.name} of {where} to be {words} but got {brief(value)}.")


def _table(value: Any, key: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"Expected '{key}' of {where} to be a table but got {brief(value)}.")
    return value


def _list(value: Any, key: str, where: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise InputError(f"Expected '{key}' of {where} to be a list but got {brief(value)}.")
    return value
