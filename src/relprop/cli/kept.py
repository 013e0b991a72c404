"""`relprop benchmark show`: results that are there, or a recipe; nothing is computed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from relprop.cli.changes import Changes, refuse
from relprop.errors import InputError

__all__ = ["show"]


def show(
    name: str, changes: Changes, out: Path | None, format: str | None, as_recipe: bool, json: bool
) -> None:
    """Print the table of results that are there, or a recipe.

    Raises:
        InputError: options that don't concern it, or no such results.
    """
    from relprop.benchmark.formats import format_named
    from relprop.benchmark.reading import read_finished, results_in
    from relprop.benchmark.summary import document, problem_lines
    from relprop.benchmark.tabled import table_of
    from relprop.cli.output import print_json, print_lines

    if as_recipe:
        refuse(
            {"--format": format is not None},
            "with --recipe, which is printed as TOML, or with --json as JSON",
        )
        refuse({"--out": out is not None}, "with --recipe: the results' folder stands behind 'show'")
        _show_recipe(name, changes, json)
        return
    if changes != Changes():
        raise InputError(
            "Expected results as they were asked for last but got changes of the recipe with 'show'. Run the "
            "recipe with them: what is there isn't computed again."
        )
    done = read_finished(results_in(name if out is None else out))
    table = table_of(done)
    if json:
        print_json(document(done, table, []))
    elif format is not None:
        print_lines(format_named(format)(table).rstrip("\n"))
    else:
        print_lines(format_named("text")(table).rstrip(), *problem_lines(done))


def _show_recipe(name: str, changes: Changes, json: bool) -> None:
    from relprop.benchmark.adapted import adapted
    from relprop.benchmark.reading import recipe_of, results_in
    from relprop.benchmark.recipe_text import as_toml
    from relprop.cli.output import print_json, print_lines

    if Path(name).is_dir() or Path(name).suffix == ".sqlite":
        if changes != Changes():
            raise InputError("Expected no changes with the recipe of results. Name a recipe, or its file.")
        whole = recipe_of(results_in(name))
    else:
        whole = adapted(name, complete=False, **asdict(changes))
    if json:
        print_json(whole.plain())
    else:
        print_lines(as_toml(whole).rstrip())
