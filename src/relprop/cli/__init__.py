"""The command line: `relprop explain | detect | video | affine | inspect | benchmark | methods | models`."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

__all__ = ["main", "run"]


def main() -> None:
    """Entry point of the `relprop` command."""
    warnings.showwarning = _show_warning
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code: 0, 1 (failed) or 2 (usage or input).

    An error is one line on stderr; `--debug` or a set RELPROP_DEBUG shows the traceback instead.
    """
    from relprop.cli.app import app
    from relprop.errors import InputError, RelpropError

    arguments = list(arguments)
    debug = "--debug" in arguments or bool(os.environ.get("RELPROP_DEBUG"))
    try:
        code = app(arguments, prog_name="relprop", standalone_mode=False) or 0
        return _fail("interrupted", 130) if code == 130 else int(code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our stdout went away: `relprop methods | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        # The usage errors of typer's parser carry their own code; which package defines them depends on
        # typer's version.
        if type(error).__name__ == "Abort":  # how some versions hand on an interrupt
            return _fail("interrupted", 130)
        code = getattr(error, "exit_code", None)
        if isinstance(code, int):
            text = error.format_message() if hasattr(error, "format_message") else str(error) or "aborted"
            return _fail(f"{text.rstrip('.')}. See: relprop --help", code)
        if debug:
            raise
        if isinstance(error, InputError):
            return _fail(str(error), 2)
        if isinstance(error, (RelpropError, OSError)):
            return _fail(str(error), 1)
        return _fail(f"{type(error).__name__}: {error} (run again with --debug for the traceback)", 1)


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    # One line, like an error; where in whose code it was raised helps nobody on a command line.
    print(f"relprop: warning: {' '.join(str(message).split())}", file=sys.stderr)  # noqa: T201


def _fail(text: str, code: int) -> int:
    print("relprop: " + " ".join(text.split()), file=sys.stderr)  # noqa: T201
    return code
