"""A real network on real photographs by every method: one sheet, and where the relevance of each went.

python -m benchmarks.photographs --out out/photographs      # needs relprop[photo]

Four photographs of scikit-image through EfficientNet-Lite0, each asked about its top class. Prints a table in
Markdown: per method the mean over the pictures of each share of the explained output, the largest growth of
Σ|R|, the largest error of a ledger, or why the method refuses. `--free` leaves out the picture whose licence
nobody states.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import torch
from PIL import Image

import relprop
from benchmarks.common import markdown
from relprop import Explanation
from relprop.catalogue import METHODS
from relprop.datasets import demo_photo_path
from relprop.errors import RelpropError, RelpropWarning
from relprop.explanation import contact_sheet
from relprop.models.pictures import read_picture
from relprop.models.sources import load_model
from relprop.viz import save_figure

FREE = ["chelsea", "coffee", "rocket"]
SHARES = ["end", "bias", "stabiliser", "lost"]
HEADERS = ["method", "adds up", "arrived %", "bias %", "stabiliser %", "lost %", "Σ|R|/start", "seconds"]


def row(e: Explanation, pictures: int, seconds: float) -> list[str]:
    """One line of the table: means over pictures of what the ledger says of each."""
    name = f"`{e.method}`"
    if e.ledger is None:
        return [name, "no ledger", *["–"] * 5, f"{seconds:.1f}"]
    balances = [b for rows in e.ledger.balances for b in rows]
    whole = [b.start if abs(b.start) > 0.01 * b.size else b.size for b in balances]
    shares = [
        100 * sum(getattr(b, key) / w for b, w in zip(balances, whole, strict=True)) / len(balances)
        for key in SHARES
    ]
    grown = max(b.largest / b.size for b in balances)
    word = f"yes ({e.ledger.max_error:.0e})" if e.ledger.closes else f"NO ({e.ledger.max_error:.0e})"
    return [name, word, *(f"{s:.1f}" for s in shares), f"{grown:.3g}", f"{seconds / pictures:.1f}"]


def main() -> int:
    """Explain, print the table, write the sheet; 1 where a ledger stays open."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument(
        "--method", action="append", help="repeat for several; all that need no setting by default"
    )
    parser.add_argument("--free", action="store_true", help="leave the motorcycle out")
    parser.add_argument("--picture", type=Path, help="put a smaller copy here (docs/assets/photographs.jpg)")
    parser.add_argument("--out", type=Path, default=Path("out/photographs"))
    options = parser.parse_args()
    model = load_model(options.model)
    names = FREE if options.free else [*FREE, "motorcycle"]
    x = torch.cat([model.preprocess(read_picture(demo_photo_path(name))) for name in names])
    scores, classes = model.run(x).softmax(1).max(1)
    for name, score, index in zip(names, scores.tolist(), classes.tolist(), strict=True):
        print(f"{name}: {index if model.classes is None else model.classes[index]} {score:.3f}")
    rows, explained = [], []
    warnings.simplefilter("ignore", RelpropWarning)  # the table has their numbers
    for method in options.method or [n for n, kind in METHODS.items() if n != "lrp" and not kind.needs]:
        began = time.perf_counter()
        try:
            e = relprop.explain(model.module, x, method=method)
        except RelpropError as error:
            rows.append([f"`{method}`", f"refuses: {str(error)[:160]}", *[""] * 6])
            continue
        rows.append(row(e, len(names), time.perf_counter() - began))
        explained.append(e)
    print(markdown(HEADERS, rows))
    figure = contact_sheet(
        explained, labels=model.classes, mean=model.mean, std=model.std, title=options.model, notes=False
    )
    options.out.mkdir(parents=True, exist_ok=True)
    save_figure(figure, options.out / "sheet.png")
    print(options.out / "sheet.png")
    if options.picture:
        with Image.open(options.out / "sheet.png") as sheet:  # smaller, for a page
            size = (sheet.width * 5 // 8, sheet.height * 5 // 8)
            small = sheet.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        small.save(options.picture, quality=88)
    return int(any(e.ledger is not None and not e.ledger.closes for e in explained))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RelpropError as error:
        sys.exit(f"{error}")
