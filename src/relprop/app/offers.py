"""Offers: results that a page may download, as the folder that the command writes."""

from __future__ import annotations

import io
import secrets
import tempfile
import threading
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Offered", "Offers"]

_KEPT = 8  # of one session; older ones are let go of


class Offered(Protocol):
    """A result that can be written to a folder, as a `Report`."""

    def save(self, out: Path, /) -> Any:
        """Write it."""


class Offers:
    """What can be downloaded, under names that nobody can guess.

    Args:
        folder: what is packed is written there first, and removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._results: OrderedDict[str, tuple[str, Offered]] = OrderedDict()

    def link(self, request: Any, result: Offered, text: str = "Download all of it (zip)") -> str:
        """A link that downloads a result, until the page is left or asked for many others."""
        session, token = str(request.session_hash), secrets.token_urlsafe(24)
        with self._lock:
            self._results[token] = (session, result)
            own = [key for key, (owner, _) in self._results.items() if owner == session]
            for key in own[:-_KEPT]:
                del self._results[key]
        return f'<a class="relprop-download" href="results/{token}.zip" download>{text}</a>'

    def packed(self, token: str) -> bytes | None:
        """The zip file of a link, or None where there is none any more."""
        _, result = self._results.get(token, ("", None))
        if result is None:
            return None
        held = io.BytesIO()
        with (
            tempfile.TemporaryDirectory(dir=self._folder) as made,
            zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as pack,
        ):
            result.save(Path(made))
            for path in sorted(Path(made).rglob("*")):
                if path.is_file():
                    pack.write(path, Path("relprop-out") / path.relative_to(made))
        return held.getvalue()

    def leave(self, session: str) -> None:
        """A page was left."""
        with self._lock:
            for key in [key for key, (owner, _) in self._results.items() if owner == session]:
                del self._results[key]
