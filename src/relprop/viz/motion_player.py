"""The films of a clip beside its frames, as a page plays them in step."""

from __future__ import annotations

from typing import Literal

import numpy as np

from relprop.viz.labels import Labels, class_name
from relprop.viz.panels import Panel, panel_pixels
from relprop.viz.player import PlayedFilm, player_html
from relprop.viz.reel import Reel, film_limit

__all__ = ["motion_player"]

_LEAST = 160  # pixels of a map's longer side, at least
_TITLES = {
    "original": "All relevance",
    "spatial": "Looks (spatial)",
    "temporal": "Motion (temporal)",
    "relevance": "Relevance",
}
_ALTS = {
    "original": "what is relevant for {name}",
    "spatial": "what is relevant for {name} because of how it looks",
    "temporal": "what is relevant for {name} because it moves",
}


def motion_player(
    clip: Reel,
    *,
    names: Labels | None = None,
    scale: Literal["shared"] | float = "shared",
    fps: float = 6,
    filmed: float | None = None,
    caption: str = "",
    clip_shown: bool = True,
    autoplay: bool = False,
    key: str | None = None,
    script: bool = True,
) -> str:
    """A clip and its films of relevance in step, with the sums of every frame: an HTML fragment.

    Films are drawn as in :func:`relprop.viz.motion_film.overlay_frames`: over faint outlines, on one scale.

    Args:
        clip: frames and films; `relprop.video.films.reel` makes it of a separation or an explanation.
        names: class names by index.
        clip_shown: False leaves the clip itself out, where its frames are blank.
        scale: ``"shared"``, see :func:`relprop.viz.reel.film_limit`, or a number > 0.
        fps, filmed, caption, autoplay, key, script: as for :func:`relprop.viz.player.player_html`.

    Raises:
        InputError: if names are missing, or a value is NaN or infinite.
    """
    limit = film_limit(clip.films, scale)
    said = "the class" if clip.target is None else class_name(clip.target, names)
    played = [PlayedFilm("Clip", clip.frames, "the clip as the network saw it")] if clip_shown else []
    for name, film in clip.films.items():
        drawn = [
            panel_pixels(Panel(values, frame / 255.0), limit.value, "outlines", _LEAST)
            for values, frame in zip(film, clip.frames, strict=True)
        ]
        sums = {} if clip.caution else {
            "positive": film.clip(min=0).sum((1, 2)), "negative": film.clip(max=0).sum((1, 2)),
        }  # fmt: skip
        alt = _ALTS.get(name, "what is relevant for {name}").format(name=said)
        part = clip.part(name)
        words = "" if part is None else f"{100 * part:.0f} % of all relevance"
        played.append(PlayedFilm(_TITLES.get(name, name), np.stack(drawn), alt, words, **sums))
    return player_html(
        played,
        fps=fps,
        filmed=filmed,
        caption=caption,
        limit=limit,
        autoplay=autoplay,
        key=key,
        script=script,
    )
