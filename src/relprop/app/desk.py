"""Desk: what the tabs of one running app share: models, the sessions' rooms and work, and downloads."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relprop.app.given import given_files
from relprop.app.offers import Offers
from relprop.app.working import Jobs
from relprop.catalogue import CLIP_MODELS, DETECTORS
from relprop.detectors.sources import LoadedDetector, load_detector
from relprop.errors import InputError
from relprop.models.loaded import LoadedModel
from relprop.models.sources import load_model

__all__ = ["Desk"]

_USUAL = "scenes-resnet"
_KEPT = 8  # conversations; those that were not used for longest are let go of


class Desk:
    """What the tabs share.

    Args:
        models: specifications given on the command line.
        opens: the picture, clip or folder that the app opens with, or None.
        detectors: specifications of detectors, likewise.

    Attributes:
        models: those given but detectors, the bundled classifier if none was.
        detectors: those given, files whose factory may make one, and the bundled ones.
        first: the tab that the page opens with.
        pictures, clips: what `opens` is, or holds: the files that the page offers.
        folder: private to this user; removed with all in it by `close`.
        jobs: what is being computed.
        offers: what can be downloaded.
    """

    def __init__(self, models: list[str], opens: Path | None = None, detectors: Sequence[str] = ()) -> None:
        self.opens = opens
        self.pictures, self.clips = given_files(opens)
        self.models = models or [_USUAL]
        self.detectors = list(dict.fromkeys([*detectors, *(m for m in models if ".py:" in m), *DETECTORS]))
        self.first = "Picture" if models or not detectors else "Detector"
        if self.clips and not self.pictures:
            self.first = "Video"
        self.folder = Path(tempfile.mkdtemp(prefix="relprop-app-"))
        self.jobs, self.offers = Jobs(), Offers(self.folder)
        self._lock = threading.Lock()
        self._loading = threading.Lock()  # takes seconds: of its own, so that nobody else waits meanwhile
        self._loaded: dict[str, LoadedModel] = {}
        self._detectors: dict[str, LoadedDetector] = {}
        self._rooms: dict[str, Path] = {}
        self._talks: OrderedDict[str, tuple[Any, str]] = OrderedDict()

    @property
    def of_pictures(self) -> list[str]:
        """The models that take pictures; the bundled one where none was given."""
        given = [spec for spec in self.models if spec not in CLIP_MODELS and spec != "c3d"]
        return given or [_USUAL]

    def model(self, spec: str) -> LoadedModel:
        """A model of the command line, loaded once for all sessions."""
        with self._loading:
            if spec not in self._loaded:
                self._loaded[spec] = load_model(spec)
            return self._loaded[spec]

    def detector(self, spec: str) -> LoadedDetector:
        """One of `detectors`, likewise.

        Raises:
            RelpropError: another, or what is no detector.
        """
        with self._loading:
            if spec not in self._detectors:
                if spec not in self.detectors:
                    raise InputError("Expected one of the detectors that the app was started with.")
                self._detectors[spec] = load_detector(spec)
            return self._detectors[spec]

    def room(self, request: Any) -> Path:
        """The folder of a request's session, which is removed when its page is left."""
        session = str(request.session_hash)
        with self._lock:
            if session not in self._rooms:  # the page chooses its name for the session: no name of a folder
                self._rooms[session] = Path(tempfile.mkdtemp(prefix="session-", dir=self.folder))
            return self._rooms[session]

    def keep(self, key: str, talk: Any, name: str = "") -> None:
        """Keep what a session's tab goes on with, in place of its earlier one and of the least used of too many.

        Args:
            key: as for `Jobs.run`.
            talk: has `close`.
            name: of the picture or clip that it is about.
        """
        with self._lock:
            earlier = self._talks.pop(key, None)
            self._talks[key] = (talk, name)
            while len(self._talks) > _KEPT:
                self._talks.popitem(last=False)  # not closed: it may be at work
        if earlier is not None:
            earlier[0].close()

    def kept(self, key: str) -> Any:
        """What a session's tab goes on with, or None."""
        with self._lock:
            if key in self._talks:
                self._talks.move_to_end(key)
            return self._talks.get(key, (None, ""))[0]

    def called(self, key: str) -> str:
        """The name of the picture or clip that a session's tab goes on with, or ""."""
        with self._lock:
            return self._talks.get(key, (None, ""))[1]

    def leave(self, session: str) -> None:
        """A page was left: its work is ended, and what it held is removed."""
        self.jobs.leave(f"{session} ")
        with self._lock:
            talks = [self._talks.pop(key) for key in list(self._talks) if key.startswith(f"{session} ")]
            room = self._rooms.pop(session, None)
        for talk, _ in talks:
            talk.close()
        self.offers.leave(session)
        if room is not None:
            shutil.rmtree(room, ignore_errors=True)

    def close(self) -> None:
        """End everything and remove it."""
        self.jobs.leave("", patience=3.0)
        self._talks.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
