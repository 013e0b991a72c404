"""Help: a command's arguments and options in panels, as plain text that fits the terminal.

Plain, since a pipe, NO_COLOR and a screen reader are all served by it. Laid out here, since typer's own help knows
panels only in drawn frames, and assumes 50 columns where a terminal has fewer.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

from relprop.cli.panels import OUTPUT, PANELS, WHAT

__all__ = ["Command", "Group"]

_Row = tuple[str, str]  # name, what it does

_MOST, _LEAST = 100, 30  # columns; longer lines are hard to read
_NARROW, _NARROW_SIDE = 60, 6  # below it what an option does stands under its name, so far in


class Command(TyperCommand):
    """A command with its help in panels."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        columns, panels = _columns(), _panels(self, ctx)
        side = _side([row for rows in panels.values() for row in rows], columns)
        parts = [_panel(title, rows, side, columns) for title, rows in panels.items() if rows]
        formatter.write(_page(self, ctx, _usage(self, ctx), parts, columns))


class Group(TyperGroup):
    """Commands with their help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [
            (name, (_paragraphs(c.help) or [""])[0]) for name, c in found if c is not None and not c.hidden
        ]
        options = [(_left(option), _right(option)) for option in self.get_params(ctx)]
        columns = _columns()
        both = {"Commands": rows, "Options": options}
        parts = [_panel(title, rows, _side(rows, columns), columns) for title, rows in both.items()]
        formatter.write(_page(self, ctx, "COMMAND ...", parts, columns))


def _columns() -> int:
    return max(_LEAST, min(shutil.get_terminal_size().columns, _MOST)) - 1


def _page(command: Any, ctx: Any, usage: str, panels: list[str], columns: int) -> str:
    usage = f"Usage: {ctx.command_path} [OPTIONS] {usage}".rstrip()
    told = [_wrapped(text, columns, "  ") for text in _paragraphs(command.help)]
    last = [_wrapped(text, columns, "") for text in _paragraphs(command.epilog)]
    return "\n\n".join([_wrapped(usage, columns, "", "  "), *told, *panels, *last]) + "\n"


def _panels(command: Any, ctx: Any) -> dict[str, list[_Row]]:
    """Panel -> its rows, in the order of `PANELS`; what names none, such as --help, goes to the output's."""
    shown = [parameter for parameter in command.get_params(ctx) if not getattr(parameter, "hidden", False)]
    own = {parameter.name: getattr(parameter, "rich_help_panel", None) for parameter in shown}
    found: dict[str, list[_Row]] = {panel: [] for panel in PANELS}
    for parameter in shown:
        panel = own[parameter.name] or (WHAT if _is_argument(parameter) else OUTPUT)
        found.setdefault(panel, []).append((_left(parameter), _right(parameter)))
    return found


def _usage(command: Any, ctx: Any) -> str:
    arguments = filter(_is_argument, command.get_params(ctx))
    return " ".join(_name(p) if p.required else f"[{_name(p)}]" for p in arguments)


def _name(argument: Any) -> str:
    """`IMAGE...`, where several may stand."""
    plain = (argument.metavar or argument.name.upper()).strip("[].")
    return plain if argument.nargs == 1 else f"{plain}..."


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _left(parameter: Any) -> str:
    if _is_argument(parameter):
        return _name(parameter)
    names = ", ".join(sorted(parameter.opts, key=len))
    if parameter.secondary_opts:
        names += "/" + "/".join(parameter.secondary_opts)
    return names if parameter.is_flag else f"{names} {parameter.metavar or parameter.name.upper()}"


def _right(parameter: Any) -> str:
    text = parameter.help or ""
    if parameter.required:
        return f"{text} Required."
    default = parameter.default
    told = isinstance(default, str | int | float | Path) and not isinstance(default, bool)
    return f"{text} Default: {default}." if told and getattr(parameter, "show_default", True) else text


def _side(rows: list[_Row], columns: int) -> int:
    """Where what an option does begins: behind the longest name that leaves room enough for it."""
    if columns < _NARROW:
        return _NARROW_SIDE
    return 4 + max((len(left) for left, _ in rows if len(left) <= columns // 4), default=columns // 4)


def _panel(title: str, rows: list[_Row], side: int, columns: int) -> str:
    found = [f"{title}:"]
    for left, right in rows:
        text = _wrapped(right, columns, " " * side)
        beside = len(left) <= side - 4
        found.append(f"  {left}".ljust(side) + text[side:] if beside else f"  {left}\n{text}")
    return "\n".join(line.rstrip() for line in found)


def _paragraphs(text: str | None) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text or "") if part.strip()]


def _wrapped(text: str, columns: int, indent: str, further: str | None = None) -> str:
    further = indent if further is None else further
    return textwrap.fill(
        text,
        columns,
        initial_indent=indent,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )
