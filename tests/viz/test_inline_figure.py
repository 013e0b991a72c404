"""A notebook shows figures by themselves, each once: tried in a real kernel."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.kernel import kinds, run_cells

from relprop.viz.inline_figure import InlineFigure, shown

pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # of the kernel's client; the kernel has warnings of its own

MADE = """
import torch, relprop
x = torch.rand(1, 3, 30, 40)
e = relprop.Explanation(x - 0.5, x, torch.zeros(1, 4), torch.tensor([2]), "gradient")
"""
CELLS = {
    "last line": "e.show()",
    "in the middle": "e.show()\nNone",
    "semicolon": "e.show();",
    "kept": "kept = e.show()",
    "kept earlier": "kept",
    "kept and last": "kept = e.show()\nkept",
    "changed": "kept = e.show()\nkept.suptitle('mine')\nkept",
    "other colours": "e.show(cmap='viridis')",
    "a loop": "for _ in range(2):\n    e.show()",
    "saved": "import tempfile\n_ = e.save(tempfile.mkdtemp() + '/e')",
    "not shown": "kept = e._repr_png_()",
    "itself": "e",
    "separation": "f = x.sum(1)[None]\n"
    "from relprop.video.separation import MotionSeparation\n"
    "MotionSeparation(f, f, f, {}, e.outputs, None, e.targets, 'lrp-0', 'naive').show()",
    "magic": "%matplotlib inline\ne.show()",
    "axes": "import matplotlib.pyplot as plt\n_, ax = plt.subplots()\ne.show(ax=ax)",
}
PICTURE = ("image/png", "text/plain")


@pytest.fixture(scope="module")
def outputs() -> dict[str, list[Any]]:
    return dict(zip(CELLS, run_cells(MADE, *CELLS.values())[1:], strict=True))


@pytest.mark.parametrize(
    "cell",
    [
        "last line",
        "in the middle",
        "semicolon",
        "kept",
        "kept earlier",
        "kept and last",
        "other colours",
        "separation",
        "magic",
    ],
)
def test_a_figure_is_shown_once(outputs: dict[str, list[Any]], cell: str) -> None:
    assert kinds(outputs[cell]) == [PICTURE]


def test_one_picture_for_each_show(outputs: dict[str, list[Any]]) -> None:
    assert kinds(outputs["a loop"]) == [PICTURE, PICTURE]
    assert kinds(outputs["changed"]) == [PICTURE, PICTURE]  # what was changed since is shown again
    first, second = (o.data["image/png"] for o in outputs["changed"])
    assert first != second


def test_nobody_asked_to_see_it(outputs: dict[str, list[Any]]) -> None:
    assert outputs["saved"] == outputs["not shown"] == []


def test_an_explanation_is_one_output_in_several_forms(outputs: dict[str, list[Any]]) -> None:
    assert kinds(outputs["itself"]) == [("image/png", "text/html", "text/plain")]


def test_axes_of_pyplot_are_shown_by_pyplot_alone(outputs: dict[str, list[Any]]) -> None:
    assert kinds(outputs["axes"]) == [("text/plain",), PICTURE]


def test_the_picture_is_the_figure(outputs: dict[str, list[Any]]) -> None:
    (output,) = outputs["last line"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))))
    assert pixels.ndim == 3
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100  # a map, not an empty page


def test_elsewhere_a_figure_stays_a_figure() -> None:
    figure = InlineFigure(figsize=(1, 1))
    assert shown(figure) is figure
    assert figure._repr_png_()[:4] == b"\x89PNG"
