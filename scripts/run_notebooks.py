"""Execute the guided notebooks and write them back with their outputs: small, and the same from run to run.

python scripts/run_notebooks.py                    # all of examples/notebooks
python scripts/run_notebooks.py classifier video   # these two
"""

from __future__ import annotations

import base64
import html
import io
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "notebooks"
WIDEST = 900  # pixels of a stored picture
SECONDS = 300  # a cell may take
TAG, SCRIPT = re.compile(r"<[^>]*>"), re.compile(r"<script>.*?</script>", re.DOTALL)


def executed(path: Path) -> Any:
    """The notebook with its cells executed in order, in a fresh kernel; the file is left alone.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", record_timing=False).execute()
    return notebook


def texts(notebook: Any) -> list[str]:
    """What its cells print or give, a string a cell: the words of HTML, else plain values; no pictures."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            parts = []
            for output in cell.outputs:
                data = output.get("data", {})
                drawn = any(kind.startswith("image/") for kind in data)
                parts.append(output.get("text", "") if output.output_type == "stream" else "")
                page = TAG.sub(" ", SCRIPT.sub("", data.get("text/html", "")))
                parts.append("" if drawn else html.unescape(page) or data.get("text/plain", ""))
            found.append("".join(parts))
    return found


def small(notebook: Any) -> Any:
    """Pictures as JPEG at most `WIDEST` pixels wide, and nothing that differs from run to run."""
    for n, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{n}"
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                data["image/jpeg"] = _jpeg(data.pop("image/png"))
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def _jpeg(png: str) -> str:
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.thumbnail((WIDEST, 4 * WIDEST))
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=85, optimize=True)
    return base64.b64encode(held.getvalue()).decode()


def main(names: list[str]) -> int:
    """Run those named, or all."""
    for path in [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        written = nbformat.writes(small(executed(path))) + "\n"
        half = path.with_suffix(".part")  # nothing half-written takes a notebook's place
        half.write_text(written, encoding="utf-8")
        half.replace(path)
        print(f"{path.name}: {len(written) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
