"""Many pictures explained: a sheet and numbers of each on the disk, one line of each in the summary."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relprop.bar import draws_bar
from relprop.catalogue import RECOMMENDED
from relprop.checks import layer_names, parsed_scale
from relprop.errors import InputError
from relprop.explanation.answer import Asking
from relprop.explanation.folder import version
from relprop.explanation.sheet import contact_sheet
from relprop.many.batches import Answered, Batch, Batches
from relprop.many.explain_many import Progress, save_many
from relprop.many.pictures import Reader, Ready, given
from relprop.many.results import Results, Saved, settings_of
from relprop.methods.facts import facts_of
from relprop.methods.registry import MethodLike
from relprop.models.classes import resolve
from relprop.models.loaded import LoadedModel
from relprop.reports.asked import Spot
from relprop.reports.pictures import named_methods, title_of
from relprop.reports.report import Page, Report, leave_document
from relprop.reports.sources import Model, Picture, listed, loaded, model_facts
from relprop.reports.text import Block, Table, Written, percent
from relprop.tracing.view import Key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pictures"]

_SHOWN = 40  # lines of the printed table
_TOLD = "explain.json"
_HEADERS = [
    "picture",
    "method",
    "class",
    "name",
    "output",
    "adds up",
    "largest error",
    "arrived",
    "bias",
    "lost",
]


@draws_bar("pictures")
def pictures(
    model: Model,
    images: Any,
    *,
    out: str | Path,
    method: MethodLike | Sequence[MethodLike] = RECOMMENDED,
    target: str | int | Sequence[str | int] = "top",
    layers: Sequence[str] = (),
    scale: str | float = "symmetric",
    versus: str | int | None = None,
    output: Key = None,
    region: str | None = None,
    start: str | None = None,
    batch: Batch = "auto",
    progress: Progress | bool | None = None,
) -> Report:
    """Explain many pictures: what `relprop explain` does with folders, patterns and long lists.

    Batches are formed by size, each picture's contact sheet and numbers are written once they are there, and
    nothing of them stays in memory. A picture that can't be read or explained is named in the summary, and the
    others go on. What is in `out` already, whole and of the same settings, is skipped; other settings are refused.

    Args:
        model: as for `relprop.reports.picture`; a `torch.nn.Module` alone doesn't know how pictures become inputs.
        images: one or several of: a file, a folder (with all below it but relprop's results), a pattern.
        out: the folder: a folder a picture with ``sheet.png`` and one of numbers a method, and ``summary.csv``.
        method, target, layers, scale, versus, output, start: as for `relprop.reports.picture`.
        region: "all", or None: a region drawn on one picture doesn't fit others.
        batch: pictures of a size that run together, or "auto".
        progress: True for a bar in a notebook or on a terminal; or a function of
            the pictures done, their number (None: nobody knows), and the name of the last.

    Raises:
        RelpropError: anything that can't be used; no picture could be explained.

    >>> import tempfile, relprop
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = pictures("scenes-vgg", [relprop.datasets.demo_image_path()] * 2, out=folder)
    >>> [(row["name"], row["adds_up"], row["folder"]) for row in report.document["rows"]]
    [('dotted ball', 'yes', 'demo_scene/recommended'), ('dotted ball', 'yes', 'demo_scene-2/recommended')]
    """
    if region not in (None, "all"):
        raise InputError(
            f"Expected --region all, or none, with many pictures but got {str(region)!r}: it fits one picture. "
            "Explain that picture by itself."
        )
    several = given([str(image) if isinstance(image, Path) else image for image in listed(images)])
    methods = named_methods(listed(method))
    drawn_in = parsed_scale(scale)
    wanted = [str(one) for one in listed(target)]
    ready = loaded(model)
    if ready.takes_clips:
        raise InputError(
            f"Expected a model of pictures but {ready.spec} takes clips (N, C, T, H, W). Use relprop video."
        )
    places = layer_names(layers)
    rival = None if versus is None else _class(str(versus))
    asking = {name: Asking(recipe, places, rival, region, start) for name, recipe in methods.items()}
    batches = Batches(ready.module, asking, output, batch=batch)
    fixed = None if wanted == ["top"] else [_class(text) for text in wanted]
    single = fixed[0] if fixed and len(fixed) == 1 else fixed
    moving = fixed is not None and any(text in ("top", "predicted") for text in wanted)
    ask = partial(_asked, ready, Spot(output, start, region, region or ""), wanted) if moving else None
    names = facts_of(ready.module).classes if start is None else None
    drawing = {
        "labels": names, "scale": drawn_in, "mean": ready.mean, "std": ready.std, "picture": False,
    }  # fmt: skip
    others = {"targets": wanted, "scale": drawn_in, "labels": names, "sheet": True}
    results = Results(
        Path(out),
        settings_of(batches, ready.preprocess, None, **others),
        list(methods),
        drawing,
        partial(_sheet, ready, drawn_in, names),
        names,
    )
    reader = Reader(ready.module, ready.preprocess, None if moving else single)
    saved = save_many(results, batches, reader, several, progress, ask)
    head = {
        "relprop": version(),
        "model": model_facts(ready.spec, ready.weights)
        | {"input_size": list(ready.input_size), "multi_label": ready.multi_label},
    }
    page = _page(ready, saved, results.open or bool(saved.failures))
    leave_document(_TOLD, head, None, page, saved.folder)
    return Report(head, None, (page,), saved.folder)


def _class(text: str) -> int | str:
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else text


def _asked(model: LoadedModel, spot: Spot, wanted: Sequence[str], one: Ready) -> int | list[int]:
    """The classes of one picture, which what the model says of it decides."""
    value = spot.value(model, Picture(Path(one.given.source), one.x), one.x)
    found = resolve(wanted, value.predictions, value.classes, model.multi_label)
    return found[0] if len(found) == 1 else found


def _sheet(model: LoadedModel, scale: Any, names: Sequence[str] | None, found: Answered) -> Figure:
    return contact_sheet(
        list(found.explanations.values()),
        labels=names,
        scale=scale,
        probability="sigmoid" if model.multi_label else "softmax",
        columns=[title_of(name, e) for name, e in found.explanations.items()],
        title=f"{found.given.name} · {model.spec}",
        mean=model.mean,
        std=model.std,
    )


def _page(model: LoadedModel, saved: Saved, unclosed: bool) -> Page:
    document = {
        "pictures": {"computed": saved.computed, "kept": saved.kept, "failed": len(saved.failures)},
        "seconds": saved.seconds,
        "rows": saved.rows,
        "summary": Path("summary.csv"),
    }
    good = [row for row in saved.rows if row["problem"] is None]
    rows = [_row(row) for row in good[:_SHOWN]]
    rate = f", {saved.computed / saved.seconds:.3g} a second" if saved.computed and saved.seconds else ""
    were = f"; {saved.kept} were there already" if saved.kept else ""
    more = len(good) - len(rows)
    warned = [row for row in good if row["warnings"]]
    text: list[Block] = [
        f"{saved.computed} pictures through {model.spec} (weights: {model.weights}){rate}{were}",
        "",
        Table(_HEADERS, rows, (2, 4, *range(6, 10))),
        *([f"and {more} more lines in the summary"] if more else []),
        *(f"WARNING, {row['picture']}, {row['method']}: {row['warnings']}" for row in warned[:_SHOWN]),
        *(f"FAILED, {failure}" for failure in saved.failures[:_SHOWN]),
        "",
        Written("Summary", Path("summary.csv")),
        Written("Sheets and numbers, a folder a picture", Path()),
        "",
    ]
    return Page({}, document, tuple(text), unclosed)


def _row(row: Mapping[str, Any]) -> list[str]:
    start = row["start"]
    shares = [
        "–" if row[key] is None or start is None else percent(row[key], start)
        for key in ("arrived", "bias", "lost")
    ]
    output, error = row["output"], row["largest_error"]
    return [
        row["picture"],
        row["method"],
        str(row["target"]) if row["target"] >= 0 else "",
        str(row["name"]),
        "" if output is None else f"{output:.3f}".replace("-", "−"),
        row["adds_up"],
        "–" if error is None else f"{error:.1e}",
        *shares,
    ]
