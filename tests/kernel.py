"""Cells of a notebook, run by a real kernel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

SOURCE = Path(__file__).resolve().parents[1] / "src"


def run_cells(*sources: str) -> list[list[Any]]:
    """What the cells of a fresh notebook put out, a list a cell; an error in one is raised."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")]))
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells]


def kinds(outputs: list[Any]) -> list[tuple[str, ...]]:
    """Of each output its kind: "stdout" or "stderr", else the names of the forms that it has."""
    return [(o.name,) if o.output_type == "stream" else tuple(sorted(o.data)) for o in outputs]
