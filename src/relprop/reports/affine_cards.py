"""Cards of scores taken apart: what the input holds and what biases hold, of one picture or layer by layer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from relprop.errors import InputError
from relprop.explanation.folder import as_saved
from relprop.files import read_text
from relprop.piecewise import BiasByDepth
from relprop.reports.card import Card, Listing, ReportSection
from relprop.reports.found import Skipped, Subject, brief_place
from relprop.reports.picture_cards import picture_section
from relprop.reports.text import percent, signed
from relprop.viz.still import folded_html, still_file

__all__ = ["affine_section", "depth_section"]

_FIGURES = {
    "bias.png": "The score as a sum: the input's part, and what every layer's bias adds",
    "layers.png": "The contributions of every layer beside Grad-CAM's maps",
    "bias-maps.png": "Where in the picture the largest biases work",
}
_QUARTILES = ("lower", "median", "upper")


def affine_section(subject: Subject, side: int, skip: Callable[[Skipped], None]) -> ReportSection | None:
    """The section of a picture whose score was taken apart; None where nothing of it could be read."""
    whole = picture_section(subject, side, skip)
    if whole is None or not whole.cards:
        return whole
    card, *others = whole.cards
    told = subject.document
    page = {} if told is None else told.page
    figures = [*card.figures]
    for name, alt in _FIGURES.items():
        file = subject.folder / name
        if file.is_file():
            try:
                drawn = still_file(file, alt=f"{alt}.", caption=alt, width=1000, most=70_000)
                figures.append(drawn if name == "bias.png" else folded_html(drawn, alt))
            except InputError as error:
                skip(Skipped(file, str(error)))
    try:
        with as_saved(subject.folder):
            own = replace(
                card, figures=figures, sentence=_sentence(page, card), wide=True,
                listings=[*_layers(page), *_owners(page), *card.listings],
            )  # fmt: skip
    except InputError as error:
        skip(Skipped(subject.folder / "affine.json", str(error)))
        own = replace(card, figures=figures, wide=True)
    return replace(whole, kind="affine", cards=[own, *others])


def _sentence(page: Mapping[str, Any], card: Card) -> str:
    if not page:
        return card.sentence
    less = "" if page.get("versus") is None else f" less that of {page['versus']}"
    score, first = float(page["score"]), page["layers"][0]
    bias = float(first["bias"])
    exact = "exactly" if page.get("exact") else "by its tangent, as the network isn't piece-wise affine,"
    return (
        f"The score of {page['target']['name']}{less}, {_three(score)}, is {exact} the input times weights, "
        f"{_three(score - bias)} ({percent(score - bias, score)}), and biases, {_three(bias)} "
        f"({percent(bias, score)})."
    )


def _three(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _layers(page: Mapping[str, Any]) -> list[Listing]:
    rows: list[list[str]] = []
    values: dict[tuple[int, int], float] = {}
    for i, one in enumerate(page.get("layers", ())):
        ratio, share = one["bias_ratio"], one["bias_share"]
        rows.append([str(one["layer"]), signed(one["bias"]), _part(ratio), _part(share)])
        values |= {(i, j): float(v) for j, v in enumerate((one["bias"], ratio, share), 1) if v is not None}
    headers = ["layer", "bias", "of the score", "|bias| of all"]
    return (
        [Listing("What is left to biases from each layer on", headers, rows, (1, 2, 3), values)]
        if rows
        else []
    )


def _owners(page: Mapping[str, Any]) -> list[Listing]:
    owners = sorted(page.get("owners", ()), key=lambda one: -abs(float(one["amount"])))
    rows = [
        [str(o["module"] or "–"), str(o["operator"]), str(o["kind"]), signed(float(o["amount"]))]
        for o in owners
    ]
    values = {(i, 3): float(o["amount"]) for i, o in enumerate(owners)}
    headers = ["module", "operator", "kind", "amount"]
    return [Listing(f"Whose bias it is ({len(rows)})", headers, rows, (3,), values)] if rows else []


def _part(value: float | None) -> str:
    return "–" if value is None else percent(float(value), 1)


def depth_section(subject: Subject, skip: Callable[[Skipped], None]) -> ReportSection | None:
    """The section of a study of biases over depth; None where it can't be read."""
    try:
        with as_saved(subject.folder):
            tables = _tables(subject)
            figure = subject.folder / "depth.png"
            alt = "Curves of the bias's share of the score from each layer on, model by model."
            drawn = [still_file(figure, alt=alt, width=1000)] if figure.is_file() else []
            models = ", ".join(tables)
            card = Card(
                "Bias from each layer on", figures=drawn, wide=True,
                sentence="; ".join(_first(spec, rows) for spec, rows in tables.items()) + ".",
                listings=[_depth(spec, rows, len(tables) > 1) for spec, rows in tables.items()],
            )  # fmt: skip
            told = subject.document
            versions = [str(told.head["relprop"])] if told is not None and "relprop" in told.head else []
            return ReportSection(
                "depth", f"Bias over depth: {models}", facts=[("results", brief_place(subject.folder))],
                cards=[card], model=models, versions=versions,
            )  # fmt: skip
    except InputError as error:
        skip(Skipped(subject.folder, str(error)))
        return None


def _tables(subject: Subject) -> dict[str, list[Any]]:
    """The table of each model: of a document, or of the numbers that are kept of every picture."""
    told = subject.document
    if told is not None and isinstance(told.page.get("models"), dict):
        return dict(told.page["models"])
    file = subject.folder / "depth.jsonl"
    lines = [
        line
        for line in read_text(file, "numbers of a study").splitlines(keepends=True)
        if line.endswith("\n")
    ]
    entries: dict[str, dict[tuple[str, ...], list[Any]]] = {}
    try:
        for line in lines:
            entry = json.loads(line)
            entries.setdefault(str(entry["key"][0]), {}).setdefault(tuple(entry["layers"]), []).append(entry)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise InputError(
            f"Expected numbers of relprop affine --depth but a line of '{file}' holds something else. Run it "
            "again into another folder."
        ) from None
    if not entries:
        raise InputError(f"Expected numbers of relprop affine --depth but '{file}' holds none.")
    found: dict[str, list[Any]] = {}
    for spec, by_layers in entries.items():
        for k, (layers, several) in enumerate(by_layers.items()):
            ratio, share = (
                torch.tensor([_numbers(e[key]) for e in several], dtype=torch.float64)
                for key in ("ratio", "share")
            )
            targets = torch.tensor([int(e["target"]) for e in several])
            found[spec if k == 0 else f"{spec} ({k + 1})"] = BiasByDepth(
                layers, ratio, share, targets
            ).table()
    return found


def _numbers(values: list[Any]) -> list[float]:
    return [float("nan") if v is None else float(v) for v in values]


def _first(spec: str, rows: list[Any]) -> str:
    row = rows[0]
    return f"Of the score of {spec} biases hold {_part(row['median'])} in the median over {row['n']} pictures"


def _depth(spec: str, rows: list[Any], several: bool) -> Listing:
    columns = ["mean", *_QUARTILES, *(f"bounded_{q}" for q in _QUARTILES)]
    words = [[str(row["layer"]), *(_part(row[c]) for c in columns)] for row in rows]
    values = {
        (i, j): float(row[c])
        for i, row in enumerate(rows)
        for j, c in enumerate(columns, 1)
        if row[c] is not None
    }
    headers = [
        "layer",
        "bias / score: mean",
        "lower quartile",
        "median",
        "upper quartile",
        "|bias| / all: lower quartile",
        "median",
        "upper quartile",
    ]
    lead = f"{spec}: the" if several else "The"
    return Listing(
        f"{lead} bias's share from each layer on", headers, words, range(1, 8), values, folded=False
    )
