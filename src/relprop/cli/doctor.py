"""`relprop doctor`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from relprop.checks import check_known
from relprop.cli.options import Debug, Json, checked
from relprop.cli.panels import output_option

__all__ = ["doctor"]

_FORMATS = ("text", "json")
_Format = Annotated[
    str,
    output_option(
        metavar="text|json",
        help="How it is told; json is the same as --json.",
        callback=checked(lambda name: check_known("format", name, _FORMATS)),
    ),
]


def doctor(format: _Format = "text", json: Json = False, debug: Debug = False) -> None:
    """Say whether relprop works here: versions, extras, CPU or GPU, and a self-test of a few seconds.

    Downloads nothing. The self-test explains the demo picture, and passes where the ledger closes.
    Exit code 1 where it fails.
    """
    from relprop.cli.output import print_json, print_report_lines, results_alone
    from relprop.reports.doctor import doctor as look

    with results_alone():
        found = look()
    if json or format == "json":
        print_json(found.document)
    else:
        print_report_lines(found.lines)
    if not found.well:
        raise typer.Exit(1)
