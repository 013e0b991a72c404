"""The command line: `relprop explain | detect | video | affine | inspect | benchmark | methods | models`."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress

__all__ = ["main", "run"]

#: Exit codes: a shell gives 128 + the signal's number for what a signal ended.
_FAILED, _USAGE, _INTERRUPTED, _TERMINATED = 1, 2, 130, 143


class _Terminated(BaseException):
    """SIGTERM came: what is half-written is taken away on the way out."""


def main() -> None:
    """Entry point of the `relprop` command."""
    warnings.showwarning = _show_warning
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell: `relprop methods >&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif hasattr(stream, "reconfigure"):  # names of files may hold what the terminal can't show
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code.

    0: done. 1: refused or failed. 2: usage or input, which can't be used as typed. 130: interrupted. 143: ended by
    SIGTERM. An error is one line on stderr; `--debug` or a set RELPROP_DEBUG shows the traceback instead.
    """
    try:
        code = _run(list(arguments))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _fail("interrupted", _INTERRUPTED)
    except _Terminated:
        return _fail("ended by a signal (SIGTERM)", _TERMINATED)
    except BrokenPipeError:  # the reader of our stdout went away: `relprop methods | head -1`
        _drop_stdout()
        return _FAILED
    except OSError as error:  # nowhere to print to
        _drop_stdout()
        return _fail(_failure(error), _FAILED)


def _run(arguments: list[str]) -> int:
    from relprop.errors import InputError, OutputError, RelpropError

    debug = "--debug" in arguments or bool(os.environ.get("RELPROP_DEBUG"))
    try:
        from relprop.cli.app import app

        # Nothing at all is a question, too.
        code = app(arguments or ["--help"], prog_name="relprop", standalone_mode=False) or 0
        return _fail("interrupted", _INTERRUPTED) if code == _INTERRUPTED else int(code)
    except BrokenPipeError:
        raise
    except SystemExit as error:
        if "_RELPROP_COMPLETE" in os.environ:  # typer answers the shell's question and ends
            raise
        if isinstance(error.__context__, BrokenPipeError):  # typer's parser hides it so
            raise error.__context__ from None
        return _fail(
            f"Something that was run called sys.exit({error.code!r}) and ended the command.", _FAILED
        )
    except Exception as error:
        # The usage errors of typer's parser carry their own code; which package defines them depends on
        # typer's version.
        if type(error).__name__ == "Abort":  # how some versions hand on an interrupt
            return _fail("interrupted", _INTERRUPTED)
        own = getattr(error, "exit_code", None)
        if isinstance(own, int):
            text = error.format_message() if hasattr(error, "format_message") else str(error) or "aborted"
            return _fail(f"{text.rstrip('.')}. See: relprop --help", own)
        if debug:
            raise
        if isinstance(error, RelpropError):
            usage = isinstance(error, InputError) and not isinstance(error, OutputError)
            return _fail(_worded(str(error)), _USAGE if usage else _FAILED)
        return _fail(_failure(error), _FAILED)


def _failure(error: Exception) -> str:
    """What to say of an error that isn't ours."""
    import errno

    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        name = f"'{error.filename}'" if error.filename else "a file"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return (
                f"The disk is full, so {name} could not be written. Make room and run the same command again."
            )
        return f"Reading or writing {name} failed: {error.strerror}. Check that it is there and may be used."
    lower = text.lower()
    if isinstance(error, MemoryError) or any(
        sign in lower for sign in ("allocate memory", "not enough memory", "out of memory", "bad_alloc")
    ):
        return (
            "The memory is not enough for this. Try --memory low, smaller inputs (--size), fewer pictures, "
            "targets or layers at once, or a smaller chunk."
        )
    if len(text) > 400:  # torch's may go on for pages
        text = text[:400] + "…"
    return f"{type(error).__name__}: {text} (run again with --debug for the traceback)"


def _worded(text: str) -> str:
    """An error's text, which speaks of Python's arguments, for somebody who types commands."""
    import re

    from relprop.cli.wording import OPTIONS, method_settings

    for python, option in OPTIONS.items():
        text = text.replace(python, option)
    own = re.sub(r"'[^']*'", "", text)  # without what the user typed, names of files among it
    found = [key for key in re.findall(r"(?<![\w:,\-])([a-z_]+)=(?=\S)", own) if key in method_settings()]
    if found and "--method" not in text:
        text += f" (On the command line {found[0]} stands behind the method: --method NAME:{found[0]}=....)"
    return text


def _terminate(*_: object) -> None:
    raise _Terminated


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    # One line, like an error; where in whose code it was raised helps nobody on a command line.
    with suppress(OSError):
        print(f"relprop: warning: {' '.join(str(message).split())}", file=sys.stderr)  # noqa: T201


def _drop_stdout() -> None:
    """Let what is still to be written go nowhere, or Python would complain about it at its end."""
    with suppress(OSError, ValueError):  # no file of the system behind it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(text: str, code: int) -> int:
    with suppress(OSError):
        print("relprop: " + " ".join(text.split()), file=sys.stderr)  # noqa: T201
    return code
