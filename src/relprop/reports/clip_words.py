"""Words about a clip: what share of the score is motion's, looks' or neither's, for who knows no methods."""

from __future__ import annotations

from collections import Counter

from relprop.explanation import Explanation
from relprop.explanation.warned import all_zero
from relprop.reports.clip_found import ClipFound
from relprop.reports.sentence import kept_back, nearly_nothing, sentence
from relprop.reports.text import percent
from relprop.video.films import reel
from relprop.video.separation import MotionSeparation

__all__ = ["camera_words", "clip_sentences", "split_sentence"]

_NOTHING = 5e-4  # of the score: 0.0 %
_SPLIT = {
    "conserving": "{moves} is there because something moves, {still} because of how things look",
    "naive": "{still} is what its frames hold standing still, {moves} is left for motion",
    "selective": "{moves} lies where relevance changes over time, {still} where it stays",
}


def clip_sentences(found: ClipFound) -> tuple[str, ...]:
    """What the films say, in sentences: the shares; what the network says of still frames; the camera."""
    if isinstance(found.made, Explanation):
        return (sentence(found.made, found.chosen.name), _seen(found))
    name = found.chosen.name if found.rival is None else f"{found.chosen.name} rather than {found.rival}"
    said = [split_sentence(found.made, name, reel(found.made, found.clip.frames).caution)]
    if found.made.frozen_targets is not None:
        said.append(_standing_still(found, found.made.frozen_targets[0].tolist()))
    if found.path is not None:
        said.append(f"The camera {camera_words(found)}.")
    return (*said, _seen(found))


def camera_words(found: ClipFound, estimated: str = "") -> str:
    """What the camera did, to follow "the camera".

    Args:
        found: with a camera's path.
        estimated: follows the words that the path was estimated.
    """
    assert found.path is not None
    height, width = found.clip.frames.shape[1:3]
    how = f"as estimated from the frames{estimated}" if found.path.estimated else "as given"
    return f"{found.path.words((height, width))}, {how}"


def split_sentence(made: MotionSeparation, name: str, caution: str) -> str:
    """What share of a class's score is there because something moves, because of how things look, or neither.

    Args:
        made: the films.
        name: of the class, or of the one rather than the other.
        caution: of their `Reel`: why sums of the films say nothing, or "".
    """
    films = (made.original, made.spatial, made.temporal)
    if all(map(all_zero, films)):
        return f"No place of the clip holds relevance for {name}: there is nothing to split."
    if caution:
        return f"The films say where, not how much: {caution}."
    whole, looks, motion = (float(film.double().sum()) for film in films)
    if made.ledger is None:
        return (
            f"Of all relevance for {name} {percent(motion, whole)} is motion's and {percent(looks, whole)} is the "
            "looks'. This method keeps no account of how much of the score its map holds."
        )
    if nearly_nothing(made.ledger):
        return f"The films say where, not how much: what is shared out for {name} is a difference."
    s = made.ledger.summary()
    start = float(s["start"])
    gone = float(s["bias"]), float(s["stabiliser"]), float(s["lost"])
    moves, still, neither = (percent(part, start) for part in (motion, looks, start - whole))
    rest = kept_back(start, *gone)
    if max(map(abs, (start - whole, *gone))) < _NOTHING * abs(start):
        rest = "nothing went to biases or was lost"
    parts = _SPLIT[made.mode].format(moves=moves, still=still)
    said = f"Of the score of {name} {parts}, and {neither} is neither: {rest}."
    if min(motion / start, looks / start) < -_NOTHING:
        said += f" A negative share speaks {'against' if start > 0 else 'for'} it."
    if made.mode == "naive" and made.settings["method"].get("seed") == "one":
        said += " Each still frame is explained with the same amount, whatever it scores: these shares say little."
    closes = all(ledger.closes for ledger in made.ledgers.values())
    return said if closes else f"{said} The account does not add up: don't trust these films."


def _seen(found: ClipFound) -> str:
    clip = found.clip
    total = "film" if clip.total is None else f"film's {clip.total} frames"
    looped = " It is too short for this network, and starts again." if clip.looped else ""
    first, last = min(clip.indices), max(clip.indices)
    span = f"from {min(clip.seconds):.2f} to {max(clip.seconds):.2f} s"
    return f"The network saw frames {first} to {last} of the {total}, {span}.{looped}"


def _standing_still(found: ClipFound, classes: list[int]) -> str:
    names = {p.index: p.name for p in found.predictions}
    count, total = classes.count(found.chosen.index), len(classes)
    said = f"Shown standing still, {count} of {total} frames are taken for {found.chosen.name}"
    others = Counter(index for index in classes if index != found.chosen.index).most_common(1)
    return said + (f", {others[0][1]} for {names[others[0][0]]}." if others else ".")
