"""`relprop benchmark`: a recipe in, tables and plots out; it goes on where it stopped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relprop.cli.output import print_json, print_lines, print_table, progress
from relprop.errors import InputError, RelpropError

if TYPE_CHECKING:
    from relprop.benchmark.recipe import Recipe
    from relprop.benchmark.run import Finished

__all__ = ["Request", "list_recipes", "run_benchmark"]

_MOST = 20  # problems that are printed


@dataclass(frozen=True)
class Request:
    """The options of `relprop benchmark`, parsed; None leaves the recipe's own."""

    recipe: str
    out: Path | None
    data: Path | None
    difficult: Path | None
    model: str | None
    weights: Path | None
    random_weights: bool
    labels: Path | None
    multi_label: bool | None
    methods: list[str] | None
    limit: int | None
    seed: int | None
    chunk: int | None
    batch: int | None
    threads: int | None
    workers: int | None
    engine: str
    address: str | None
    device: str
    json: bool


def list_recipes(json: bool) -> None:
    """Print the recipes that come with the package, and what a recipe of one's own can name."""
    from relprop.benchmark.baselines import BASELINES
    from relprop.benchmark.recipe import recipes
    from relprop.datasets.registry import datasets
    from relprop.metrics.registry import metrics

    found = {"recipe": recipes(), "data set": datasets(), "metric": metrics(), "baseline": BASELINES}
    if json:
        print_json(found)
        return
    for kind, entries in found.items():
        print_table([kind, "what it is"], [[name, text] for name, text in entries.items()])
        print_lines("")
    print_lines("A recipe of your own is a FILE.toml that names these and any of: relprop methods.")


def run_benchmark(request: Request) -> None:
    """Compute what is missing, write tables and plots, and print the table.

    Raises:
        RelpropError: the recipe can't be run, the disk is full, or not a single picture could be used.
    """
    from relprop.benchmark.formats import to_text
    from relprop.benchmark.report import write_report
    from relprop.benchmark.run import run

    recipe = adapted(request)
    folder = request.out or Path("relprop-benchmark") / recipe.name
    with progress(request.json) as bar:
        done = run(
            recipe,
            folder / "results.sqlite",
            engine=request.engine,  # type: ignore[arg-type]  # run refuses other words
            workers=request.workers,
            address=request.address,
            device=request.device,
            progress=None if bar is None else lambda done, total: bar(done, total, recipe.name),
        )
    if not done.records:
        first = done.problems[0] if done.problems else None
        reason = f" First: {first.image}: {first.text}" if first else ""
        raise RelpropError(f"Nothing could be measured on {done.pictures} pictures.{reason}")
    failed: list[str] = []
    table, files = write_report(done, folder, failed.append)
    if request.json:
        print_json(_document(done, table, files))
    else:
        print_lines(to_text(table).rstrip(), "", _rate(done), *_problems(done), "", f"Written to {folder}:")
        print_lines(*(f"  {path.name}" for path in files), "  results.sqlite")
    if failed:
        raise RelpropError(f"{'; '.join(failed)}. The results are safe: run the same command again.")


def adapted(request: Request) -> Recipe:
    """The recipe with what the command line changes.

    Raises:
        InputError: the recipe needs a folder that wasn't given, or an option that can't be used.
    """
    from relprop.benchmark.recipe import MethodEntry, read_recipe
    from relprop.datasets.registry import DATASETS

    recipe = read_recipe(request.recipe)
    options = dict(recipe.data)
    known = signature(DATASETS[options["name"]]).parameters if options["name"] in DATASETS else {}
    place = next((name for name in ("folder", "file") if name in known), None)
    if request.data is not None:
        if place is None:
            raise InputError(f"Expected no --data, for the data set {options['name']} is made, not read.")
        options[place] = str(request.data.expanduser().absolute())
    elif place is not None and place not in options:
        raise InputError(
            f"Expected --data PATH: recipe {recipe.name} reads the data set {options['name']} from a {place} of "
            "yours."
        )
    if request.difficult is not None:
        options["difficult"] = str(request.difficult.expanduser().absolute())
    model = replace(
        recipe.model,
        **_given(
            spec=request.model,
            weights=None if request.weights is None else str(request.weights.absolute()),
            labels=None if request.labels is None else str(request.labels.absolute()),
            multi_label=request.multi_label,
            random_weights=request.random_weights or None,
        ),
    )
    changes = _given(limit=request.limit, seed=request.seed, chunk=request.chunk, batch=request.batch)
    changes |= _given(threads=request.threads)
    if request.methods:
        # A method that the recipe has keeps its reduction and smoothing.
        own = dict(zip(recipe.method_labels, recipe.methods, strict=True))
        changes["methods"] = tuple(
            own.get(text, MethodEntry(text)) for text in dict.fromkeys(request.methods)
        )
    return replace(recipe, data=options, model=model, **changes)


def _given(**options: Any) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _rate(done: Finished) -> str:
    there = done.pictures - done.computed
    if not done.computed:
        return f"All {done.pictures} pictures were there already; nothing was computed."
    before = f" ({there} were there already)" if there else ""
    each = done.seconds / done.computed
    return f"{done.computed} pictures{before} in {done.seconds:.1f} s, {each:.2f} s each, all methods and metrics."


def _problems(done: Finished) -> list[str]:
    if not done.problems:
        return []
    lines = ["", f"Problems ({len(done.problems)}), the rest of the run is unharmed:"]
    lines += [f"  {p.image} ({p.where}): {p.text}" for p in done.problems[:_MOST]]
    if len(done.problems) > _MOST:
        lines.append(f"  … and {len(done.problems) - _MOST} more; --json lists all.")
    return lines


def _document(done: Finished, table: Any, files: list[Path]) -> dict[str, Any]:
    import json

    from relprop.benchmark.formats import to_json

    return {
        **json.loads(to_json(table)),
        "recipe": done.recipe.plain(),
        "pictures": done.pictures,
        "computed": done.computed,
        "seconds": done.seconds,
        "problems": [{"image": p.image, "where": p.where, "text": p.text} for p in done.problems],
        "files": [str(path) for path in files],
    }
