"""The pictures of the documentation: each made by one small function, stored in docs/gallery.

    python scripts/gallery.py                       # all; about half an hour on two cores
    python scripts/gallery.py --only method-rsp     # one, or several: --only A --only B
    python scripts/gallery.py --only 'metric-*'     # all of the metrics' pages; also 'rule-*', 'detector-*'
    python scripts/gallery.py --list

Needs relprop[photo,benchmark,quantus]. Photographs are scikit-image's: `chelsea` (the cat) and `coffee`, CC0 by
their photographers; `rocket`, released into the public domain by SpaceX. Drawn scenes and clips are relprop's own:
which object is of which class is known there. The build of the documentation draws nothing; tests/test_gallery.py
holds the folder against the names here, and draws some pictures anew.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gallery_accounts
import gallery_benchmark
import gallery_charts
import gallery_extend
import gallery_flows
import gallery_guides
import gallery_heads
import gallery_judged
import gallery_methods
import gallery_network
import gallery_pages
import gallery_questions
import gallery_rules
import gallery_screens
import gallery_truth
from gallery_made import Made

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "gallery"
SOURCES = (
    gallery_methods,
    gallery_judged,
    gallery_pages,
    gallery_questions,
    gallery_flows,
    gallery_guides,
    gallery_charts,
    gallery_truth,
    gallery_network,
    gallery_accounts,
    gallery_extend,
    gallery_benchmark,
    gallery_screens,
    gallery_rules,
    gallery_heads,
)


def pictures() -> dict[str, Made]:
    """File name → what makes it."""
    return {made.file: made for source in SOURCES for made in source.pictures()}


def _chosen(found: dict[str, Made], only: list[str]) -> Iterator[Made]:
    unknown = [name for name in only if not any(fnmatchcase(Path(file).stem, name) for file in found)]
    if unknown:
        raise SystemExit(f"No such picture: {', '.join(unknown)}. --list names them.")
    for file, made in found.items():
        if not only or any(fnmatchcase(Path(file).stem, name) for name in only):
            yield made


def main() -> int:
    """Make the pictures that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="the names, and what each shows")
    options = parser.parse_args()
    found = pictures()
    if options.list:
        print(*(f"{Path(file).stem:<42}{made.what}" for file, made in found.items()), sep="\n")
        return 0
    FOLDER.mkdir(exist_ok=True)
    for made in _chosen(found, options.only):
        began = time.perf_counter()
        path = FOLDER / made.file
        path.write_bytes(made.data())
        print(
            f"{made.file}: {path.stat().st_size / 1024:.0f} KiB, {time.perf_counter() - began:.1f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
