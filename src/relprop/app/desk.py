"""Desk: what the tabs of one running app share: the models, sessions' folders, and what can be downloaded."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from relprop.models.loaded import LoadedModel
from relprop.models.sources import load_model
from relprop.reports import Report

__all__ = ["Desk"]

_KEPT = 8  # results and conversations; older ones are let go of


class Desk:
    """What the tabs share.

    Args:
        models: specifications given on the command line.
        opens: the picture, clip or folder that the app opens with, or None.

    Attributes:
        folder: private to this user; removed with all in it by `close`.
    """

    def __init__(self, models: list[str], opens: Path | None = None) -> None:
        self.models, self.opens = models, opens
        self.folder = Path(tempfile.mkdtemp(prefix="relprop-app-"))
        self._lock = threading.Lock()
        self._loaded: dict[str, LoadedModel] = {}
        self._reports: OrderedDict[str, Report] = OrderedDict()
        self._talks: OrderedDict[str, Any] = OrderedDict()

    def model(self, spec: str) -> LoadedModel:
        """A model of the command line, loaded once for all sessions."""
        with self._lock:
            if spec not in self._loaded:
                self._loaded[spec] = load_model(spec)
            return self._loaded[spec]

    def offer(self, report: Report) -> str:
        """Make a report downloadable, and give the name that its link bears."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._reports[token] = report
            while len(self._reports) > 4 * _KEPT:
                self._reports.popitem(last=False)
        return token

    def offered(self, token: str) -> Report | None:
        """The report of a link, or None where there is none any more."""
        return self._reports.get(token)

    def keep(self, session: str, talk: Any) -> None:
        """Keep a session's conversation, in place of its earlier one and of the oldest of too many."""
        with self._lock:
            old = [self._talks.pop(session, None)]
            self._talks[session] = talk
            while len(self._talks) > _KEPT:
                old.append(self._talks.popitem(last=False)[1])
        for one in old:
            if one is not None:
                one.close()

    def kept(self, session: str) -> Any:
        """The session's conversation, or None."""
        return self._talks.get(session)

    def leave(self, session: str) -> None:
        """A session is over."""
        talk = self._talks.pop(session, None)
        if talk is not None:
            talk.close()

    def close(self) -> None:
        """Remove everything."""
        for session in list(self._talks):
            self.leave(session)
        shutil.rmtree(self.folder, ignore_errors=True)
