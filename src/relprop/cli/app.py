"""The commands. Nothing here imports torch: `relprop --help` stays quick."""

from __future__ import annotations

from typing import Annotated

import typer

from relprop.cli.affine import affine
from relprop.cli.benchmark import benchmark
from relprop.cli.browser import browser
from relprop.cli.detect import detect
from relprop.cli.doctor import doctor
from relprop.cli.explain import explain
from relprop.cli.help import Command, Group
from relprop.cli.inspect import inspect
from relprop.cli.listing import methods, models
from relprop.cli.options import Debug
from relprop.cli.report import report
from relprop.cli.video import video

__all__ = ["app"]

app = typer.Typer(
    name="relprop",
    cls=Group,
    help="What in the input made a vision network say this? Relevance that adds up, or a refusal by name.",
    epilog="First steps, without a file of yours: relprop detect --explain, relprop video --separate, "
    "relprop affine. With one: relprop explain photo.jpg --model efficientnet-lite0. What a command takes: "
    "relprop explain --help. Does it work here: relprop doctor.\n\n"
    "Exit codes: 0 done; 1 refused or failed, or a ledger is open; 2 usage, or input that can't be used; "
    "130 interrupted (Ctrl-C); 143 ended by SIGTERM. An error is one line on stderr.",
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        typer.echo(f"relprop {version('relprop')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Debug = False,
) -> None:
    pass


for command in (explain, detect, video, affine, inspect, benchmark, report, methods, models, doctor):
    app.command(cls=Command)(command)
app.command("app", cls=Command)(browser)
