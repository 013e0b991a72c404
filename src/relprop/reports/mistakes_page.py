"""Mistakes page: one HTML file that holds its pictures, its numbers and its program, and fetches nothing."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from relprop.detectors.matching import FALSE_POSITIVES
from relprop.detectors.misses import MISSES
from relprop.explanation.folder import version
from relprop.files import read_bytes
from relprop.models.pictures import read_picture
from relprop.reports.mistake_maps import crop_around, webp
from relprop.reports.template import template

__all__ = ["mistakes_page"]

_ROWS = 5000  # that a browser still sorts without a pause
_SIDES = ((100, 320), (400, 240), (2000, 120))  # up to so many pictures: their longer side on the page
_QUALITY = 62
_THUMB = (128, 96)


def mistakes_page(document: Mapping[str, Any], files: Mapping[str, Path], folder: Path, title: str) -> str:
    """The page of a document of mistakes.

    Pictures stand in it once each, as small WebP; the thumbnails of a picture's mistakes are cut out of it by the
    browser. Of more than 5,000 mistakes those come on the page that are explained, then the highest scores.

    Args:
        document: what `mistakes.json` holds.
        files: picture -> its file.
        folder: where the maps are.
        title: the detector's name.
    """
    every = sorted(document["mistakes"], key=lambda row: (row["explained"] is None, -row["score"]))
    rows, summary = every[:_ROWS], document["summary"]
    shown = dict.fromkeys(row["picture"] for row in rows)
    sizes = {one["picture"]: one["size"] for one in document["judged"]}
    side = next((side for most, side in _SIDES if len(shown) <= most), 0)
    numbers = {name: n for n, name in enumerate(shown)} if side else {}
    drawn: list[tuple[str, str]] = []
    found = [_row(row, n, sizes[row["picture"]], numbers, folder, drawn) for n, row in enumerate(rows)]
    confused = Counter[str]()
    for one in summary["confusions"]:
        confused[one["true"]] += one["count"]
    wrong, missed = summary["false_positives"], sum(summary["missed"].values())
    return template("mistakes.html").render(
        title=title,
        doc=document,
        s=summary,
        version=version(),
        rows=found,
        left_out=len(every) - len(rows),
        pictures=[{"number": n, "data": _picture(files[name], side)} for name, n in numbers.items()],
        drawn=drawn,
        wrong=sum(wrong.values()),
        missed=missed,
        map50="–" if summary["map50"] is None else _percent(summary["map50"]),
        largest=max(*wrong.values(), missed),
        most_missed=max(summary["missed"].values()),
        kinds=FALSE_POSITIVES,
        every_kind=[*FALSE_POSITIVES, "missed"],
        reasons=MISSES,
        confused=sum(confused.values()),
        instead=sum(one["not_found"] for one in summary["confusions"]),
        most_confused=_most(confused),
        said=sorted({row["said"] for row in rows}),
        truths=sorted({row["true"] for row in rows if row["true"] is not None}),
        percent=_percent,
        score=_score,
    )


def _row(
    row: Mapping[str, Any],
    n: int,
    size: Sequence[int],
    numbers: Mapping[str, int],
    folder: Path,
    drawn: list[tuple[str, str]],
) -> dict[str, Any]:
    """A row with its places on the page; what it draws is added to `drawn`."""
    why = row["explained"]
    both = [row["box"], *([] if row["true_box"] is None else [row["true_box"]])]
    crop = crop_around(both, (size[0], size[1])) if why is None else tuple(why["crop"])
    across, down = crop[2] - crop[0], crop[3] - crop[1]
    scale = min(_THUMB[0] / across, _THUMB[1] / down)
    made = dict(row) | {
        "key": f"r{n}",
        "picture_class": f"p{numbers[row['picture']]}" if row["picture"] in numbers else "",
        "thumb": (
            f"width:{across * scale:.0f}px;height:{down * scale:.0f}px;"
            f"background-size:{size[1] * scale:.0f}px {size[0] * scale:.0f}px;"
            f"background-position:{-crop[0] * scale:.0f}px {-crop[1] * scale:.0f}px"
        ),
        "at": _placed(row["box"], crop),
        "true_at": None if row["true_box"] is None else _placed(row["true_box"], crop),
        "shape": f"aspect-ratio:{across:.1f}/{down:.1f}",
    }
    if why is not None:
        made["photo"] = f"f{n}"
        drawn.append((f"f{n}", _data(folder / why["photo"])))
        made["drawn"] = []
        for k, (file, one) in enumerate(zip(why["files"], why["maps"], strict=True)):
            drawn.append((f"m{n}-{k}", _data(folder / file)))
            made["drawn"].append({"name": f"m{n}-{k}", **one})
    return made


def _most(counted: Counter[str]) -> dict[str, Any] | None:
    """The most frequent, and how often it comes."""
    return dict(zip(("name", "count"), counted.most_common(1)[0], strict=True)) if counted else None


def _placed(box: Sequence[float], crop: Sequence[float]) -> str:
    """A box's place in a cut-out, as a style."""
    across, down = crop[2] - crop[0], crop[3] - crop[1]
    left, top = 100 * (box[0] - crop[0]) / across, 100 * (box[1] - crop[1]) / down
    width, height = 100 * (box[2] - box[0]) / across, 100 * (box[3] - box[1]) / down
    return f"left:{left:.3g}%;top:{top:.3g}%;width:{width:.3g}%;height:{height:.3g}%"


def _picture(file: Path, side: int) -> str:
    picture = read_picture(file)
    picture.thumbnail((side, side), Image.Resampling.BILINEAR)
    return _link(webp(picture, _QUALITY))


def _data(file: Path) -> str:
    return _link(read_bytes(file, "a drawn map"))


def _link(data: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def _percent(share: float | None) -> str:
    return "–" if share is None or math.isnan(share) else f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def _score(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if value >= 0.01 or value == 0 else f"{value:.1g}"
