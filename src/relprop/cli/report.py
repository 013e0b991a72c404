"""`relprop report`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relprop.cli.options import Debug, Json
from relprop.cli.panels import output_option

__all__ = ["report"]

_Results = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help="Folders given as --out, folders with many of them below, documents printed with --json.",
        show_default=False,
    ),
]
_Out = Annotated[Path, output_option("--out", "-o", metavar="FILE", help="The file, which ends in .html.")]
_Title = Annotated[str | None, output_option(metavar="TEXT", help="Of the page. Default: what it is about.")]


def report(
    results: _Results,
    out: _Out = Path("report.html"),
    title: _Title = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Put results of any command into one HTML file, to be sent: pictures, sliders, tables, nothing fetched.

    Takes what explain, detect, video, affine and benchmark wrote. What can't be read is named and left out, with
    exit code 1.
    """
    from relprop import reports
    from relprop.bar import progress_bar
    from relprop.cli.output import print_json, print_lines, results_alone

    with results_alone(), progress_bar("results", json) as bar:
        made = reports.html_report(results, title=title, out=out, progress=bar)
    if json:
        print_json(made.document)
    else:
        print_lines(*str(made).splitlines())
    if made.skipped:
        raise typer.Exit(1)
