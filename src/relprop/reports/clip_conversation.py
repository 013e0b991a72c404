"""A conversation about a clip: several questions, one after another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from relprop.explanation.folder import version
from relprop.files import FILM, regular_file
from relprop.models.classes import Prediction
from relprop.models.loaded import LoadedModel
from relprop.models.sampling import Sampling
from relprop.precision import full_precision
from relprop.reports.clip_found import ClipFound, clip_predictions, clip_sampling, explained
from relprop.reports.clip_page import TOLD, clip_page
from relprop.reports.clip_question import clip_question
from relprop.reports.clip_words import clip_sentences
from relprop.reports.report import Report, gathered
from relprop.reports.sources import Model, folders, loaded, model_facts
from relprop.reports.steps import Progress, Steps
from relprop.video.clip import Clip, read_clip
from relprop.video.films import reel
from relprop.viz.motion_player import motion_player

__all__ = ["ClipAnswer", "ClipConversation"]

_KEPT = 6  # answers


@dataclass(frozen=True, eq=False)
class ClipAnswer:
    """An answer about a clip.

    Attributes:
        report: what `relprop.reports.video` gives.
        sentences: what the films say, in plain words.
        warnings: what speaks against them.
        found: the films with what belongs to them.
        model: whose answer it is.
    """

    report: Report
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]
    found: ClipFound
    model: LoadedModel

    def player(self, *, fps: float = 6, autoplay: bool = False, script: bool = True) -> str:
        """The clip and its films in step, as `relprop.viz.player.player_html` plays them.

        Args:
            fps: frames a second at first.
            autoplay, script: as there.
        """
        clip = self.found.clip
        filmed = None if clip.fps is None else clip.fps / clip.sampling.stride
        names = {p.index: p.name for p in self.found.predictions}
        film = reel(self.found.made, clip.frames)
        return motion_player(film, names=names, fps=fps, filmed=filmed, autoplay=autoplay, script=script)


class ClipConversation:
    """Questions about one clip, one after another: it is read and classified once, and the last answers are kept.

    Args:
        model: of clips, as for `relprop.reports.video`.
        clip: a film file.
        name: what the clip is called in reports; None: its path.
        sampling: as for `relprop.reports.video`.

    Attributes:
        model: the model, loaded.
        clip: the frames that it sees.
        predictions: what it says of them, best first.

    Raises:
        RelpropError: a film or model that can't be used.

    >>> import relprop
    >>> with ClipConversation("motion-c3d", relprop.datasets.demo_clip_path()) as talk:
    ...     answer = talk.ask(mode="selective")
    >>> talk.predictions[0].name, list(answer.report.figures)
    ('left-right', ['demo_clip/figure.png'])
    """

    @full_precision
    def __init__(
        self,
        model: Model,
        clip: str | Path,
        *,
        name: str | None = None,
        sampling: Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(sampling or {})
        Sampling(**given)
        path = regular_file(Path(clip), FILM)
        self.model = loaded(model)
        read = read_clip(path, clip_sampling(given, self.model))
        self.clip: Clip = read if name is None else replace(read, path=Path(name))
        self.predictions: list[Prediction] = clip_predictions(self.model, self.clip)
        self._answers: OrderedDict[str, ClipAnswer] = OrderedDict()

    @full_precision
    def ask(
        self,
        *,
        target: str | int = "top",
        method: str = "deep-taylor",
        versus: str | int | None = None,
        mode: str | None = None,
        camera: Literal["auto", "still"] = "auto",
        progress: Progress | None = None,
    ) -> ClipAnswer:
        """An answer, computed anew unless it is among the last six that were given.

        Args:
            target, versus, mode, progress: as for `relprop.reports.video`.
            method: its name, with settings or without.
            camera: "auto" or "still".

        Raises:
            RelpropError: as `relprop.reports.video`.
        """
        key = repr((str(target), method, versus, mode, camera))
        if key not in self._answers:
            self._answers[key] = self._answer(
                progress, target=target, method=method, versus=versus, mode=mode, camera=camera
            )
            while len(self._answers) > _KEPT:
                self._answers.popitem(last=False)
        self._answers.move_to_end(key)
        return self._answers[key]

    def _answer(self, progress: Progress | None, **question: Any) -> ClipAnswer:
        asked = clip_question(**question)
        (folder,) = folders(None, [self.clip.path])
        steps = Steps(progress, 1)
        steps.doing(f"{self.clip.path.name}: {asked.mode or asked.name}")
        found = explained(asked, self.model, self.clip, self.predictions, steps)
        head = {
            "relprop": version(),
            "model": model_facts(self.model.spec, self.model.weights),
            "sampling": self.clip.sampling.as_dict(),
        }
        report = gathered(head, "clips", [clip_page(asked, self.model, folder, found)], None, told=TOLD)
        steps.done()
        return ClipAnswer(report, clip_sentences(found), found.made.warnings, found, self.model)

    def close(self) -> None:
        """Let go of the answers."""
        self._answers.clear()

    def __enter__(self) -> ClipConversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
