from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from tests.refusals import assert_refused
from tests.viz.make import drawn, explanation, ledger, names, words

from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.explanation.sheet import contact_sheet, ledger_note
from relprop.viz import Panel, PanelRow, colourise, draw_panels, save_figure


def _sheet_row(seed: int) -> list[Explanation]:
    first = explanation(seed=seed)
    return [first, explanation(seed=seed + 9, input=first.input, method="gradient", outputs=first.outputs)]


def test_pixels_on_the_page_are_the_colours_of_the_numbers() -> None:
    e = explanation((1, 3, 32, 40))
    pixels = drawn(e.show(under="none", clip=None), "map-0-1")
    heat = e.heatmap()[0].double().numpy()
    factor = pixels.shape[0] // 32
    assert pixels.shape == (32 * factor, 40 * factor, 3)
    expected = colourise(heat, np.abs(heat).max()).repeat(factor, 0).repeat(factor, 1)
    np.testing.assert_array_equal(pixels, expected)


def test_panels_have_a_frame_of_one_pixel_around_them() -> None:
    ring = drawn(explanation().show(), "map-0-1", around=2).astype(int)
    for side in (ring[1, 1:-1], ring[-2, 1:-1], ring[1:-1, 1], ring[1:-1, -2]):
        assert (side == 0xB8).all()
    for side in (ring[0], ring[-1], ring[:, 0], ring[:, -1]):
        assert (side == 255).all()


def test_zero_is_exactly_white_on_the_page() -> None:
    relevance = torch.zeros(1, 3, 32, 32)
    relevance[..., :8] = 1.0
    e = explanation((1, 3, 32, 32), relevance=relevance, input=torch.full((1, 3, 32, 32), 0.3))
    for under in ("none", "outlines"):
        pixels = drawn(e.show(under=under), "map-0-1")  # type: ignore[arg-type]
        edge = pixels.shape[1] // 4
        assert (pixels[:, edge:] == 255).all()
        assert (pixels[:, :edge] != 255).any(axis=-1).all()


def test_zero_maps_are_drawn_white_and_say_so() -> None:
    e = explanation(relevance=torch.zeros(1, 3, 32, 40))
    figure = e.show(under="none")
    assert (drawn(figure, "map-0-1") == 255).all()
    assert "all zero" in words(figure)


def test_shared_scale_dims_the_weaker_map_and_symmetric_does_not() -> None:
    base = explanation(asked=[1, 2])
    relevance = torch.stack([base.relevance[0], base.relevance[0] * 0.1])
    e = explanation(asked=[1, 2], relevance=relevance)
    own, shared = e.show(under="none"), e.show(under="none", scale="shared")
    np.testing.assert_array_equal(drawn(own, "map-0-1"), drawn(own, "map-0-2"))
    assert drawn(shared, "map-0-2").mean() > drawn(shared, "map-0-1").mean() + 20
    assert "Each map on its own scale" in words(own).replace("\n", " ")
    assert "One scale for all maps" in words(shared).replace("\n", " ")


def test_fixed_scale_is_stated() -> None:
    text = words(explanation().show(scale=0.25)).replace("\n", " ")
    assert "Scale fixed at 0.25" in text
    assert "±0.25 (max" in text
    assert "+0.25" in text


def test_clip_is_stated_with_what_lies_beyond() -> None:
    relevance = torch.full((1, 1, 40, 40), 0.5)
    relevance[0, 0, 3, 3] = 8.0
    e = explanation((1, 1, 40, 40), relevance=relevance)
    text = words(e.show()).replace("\n", " ")
    assert "±0.5 (max 8)" in text
    assert "99.5th percentile" in text
    assert "the largest |relevance|" in words(e.show(clip=None)).replace("\n", " ")


def test_drawing_never_touches_the_numbers() -> None:
    e = explanation(asked=[1, 2], layers={"features.3": torch.randn(2, 1, 4, 8, 8)})
    before = [t.clone() for t in (e.relevance, e.input, e.outputs, e.targets, e.layers["features.3"])]
    for scale in ("symmetric", "shared", 0.01):
        e.show(scale=scale, clip=50.0)  # type: ignore[arg-type]
        contact_sheet([e], scale=scale)  # type: ignore[arg-type]
    after = [e.relevance, e.input, e.outputs, e.targets, e.layers["features.3"]]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_columns_are_targets_and_rows_are_samples() -> None:
    figure = explanation((2, 3, 16, 16), asked=[1, 2, 3]).show()
    expected = [f"{'picture' if c == 0 else 'map'}-{r}-{c}" for r in range(2) for c in range(4)]
    assert names(figure) == [*expected, "colour-bar"]
    boxes = {a.get_gid(): a.get_position() for a in figure.axes}
    assert boxes["map-0-1"].x1 < boxes["map-0-2"].x0
    assert boxes["map-0-1"].y0 > boxes["map-1-1"].y1
    text = words(figure)
    assert "sample 1" in text
    assert "for class 3" in text


def test_large_batches_are_capped_and_say_so() -> None:
    figure = explanation((20, 1, 8, 8), asked=list(range(5))).show(most=3)
    assert sum(name.startswith("map") for name in names(figure)) == 9
    text = words(figure).replace("\n", " ")
    assert "The first 3 of 20 samples are drawn." in text
    assert "The first 3 of 5 targets are drawn." in text


def test_clips_become_strips_on_one_scale() -> None:
    relevance = torch.zeros(1, 3, 20, 12, 12)
    relevance[:, :, 0] = 1.0  # a frame that is drawn
    relevance[:, :, 1] = -3.0  # one that is not: the clip's scale counts it
    e = explanation((1, 3, 20, 12, 12), relevance=relevance)
    figure = e.show(under="none", clip=None)
    maps = [name for name in names(figure) if name.startswith("map-1-")]
    assert len(maps) == 8
    text = words(figure)
    assert "frame 0" in text
    assert "frame 19" in text
    assert "±9" in text
    assert (drawn(figure, "map-1-7") == 255).all()
    np.testing.assert_array_equal(drawn(figure, "map-1-0")[0, 0], colourise([3.0], 9.0)[0])


def test_sheet_has_pictures_by_methods() -> None:
    rows = [_sheet_row(seed) for seed in (0, 100, 200)]
    figure = contact_sheet(rows, labels=[f"kind {i}" for i in range(10)], probability="softmax", title="Why?")
    assert [n for n in names(figure) if n.startswith("map")] == [
        f"map-{r}-{c}" for r in range(3) for c in (1, 2)
    ]
    text = words(figure)
    for part in ("Why?", "input", "lrp-epsilon", "gradient", "for kind 1", "p = 0."):
        assert part in text


def test_sheet_takes_targets_clips_and_one_row() -> None:
    e = explanation((2, 3, 16, 16), asked=[4, 5])
    figure = contact_sheet([e, e], columns=["a", "b"])
    assert sum(n.startswith("map") for n in names(figure)) == 2 * 2 * 2
    clip = explanation((1, 3, 4, 12, 12))
    figure = contact_sheet([[clip, clip]])
    assert sum(n.startswith("map") for n in names(figure)) == 2 * 4


def test_probability_is_of_the_output() -> None:
    outputs = torch.tensor([[0.0, 2.0, -50.0]])
    for target, kind, expected in [
        (1, "softmax", "p = 0.88"),
        (1, "sigmoid", "p = 0.88"),
        (2, "sigmoid", "p = 1.9e-22"),
    ]:
        e = explanation(asked=target, outputs=outputs)
        assert expected in words(contact_sheet([e], probability=kind))  # type: ignore[arg-type]


def test_ledger_verdict_is_written() -> None:
    assert ledger_note(explanation()) == ""
    closes = explanation(ledger=ledger())
    assert ledger_note(closes).replace("\u00a0", " ") == "adds up: 92.0 % input, 8.0 % bias"
    assert "adds up: 92.0 % input" in words(contact_sheet([closes]))
    assert "adds up" not in words(contact_sheet([closes], notes=False))
    broken = explanation(ledger=ledger(closes=False, max_error=0.03))
    assert "does not add up: error 0.03" in words(broken.show()).replace("\n", " ")
    at_layer = explanation(relevance=torch.ones(1, 4, 8, 8), at="features.4", ledger=ledger())
    assert ledger_note(at_layer).replace("\u00a0", " ") == "adds up: 92.0 % at features.4, 8.0 % bias"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_refuses_nan_and_infinity(bad: float) -> None:
    relevance = torch.zeros(1, 3, 32, 40)
    relevance[0, 1, 2, 3] = bad
    with pytest.raises(InputError, match="finite"):
        explanation(relevance=relevance).show()


def test_refuses_rows_that_do_not_belong_together() -> None:
    a, b = explanation(seed=0), explanation(seed=1)
    assert_refused(
        InputError,
        (lambda: contact_sheet([[a, b]]), "one input"),
        (lambda: contact_sheet([[a, explanation(seed=0, asked=2)]]), "same targets"),
        (lambda: contact_sheet([[a], [a, a]]), r"\[1, 2\]"),
    )
    for nothing in ([], [[]]):
        with pytest.raises(InputError, match="at least one explanation"):
            contact_sheet(nothing)
    with pytest.raises(InputError, match="Expected 1 column titles"):
        contact_sheet([a], columns=["x", "y"])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"scale": "max"}, "Expected scale"),
        ({"clip": 0}, "Expected clip"),
        ({"under": "photo"}, "Expected under"),
        ({"labels": ["only one"]}, "Expected labels to name class 1 but got 1 names"),
        ({"labels": "zebra"}, "got the string 'zebra'"),
        ({"mean": (0.5,) * 3}, "both mean and std"),
        ({"most": 0}, "most to be at least 1"),
    ],
)
def test_refuses_bad_arguments(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        explanation().show(**arguments)  # type: ignore[arg-type]


def test_refuses_empty_and_endless_pages() -> None:
    assert_refused(
        InputError,
        (lambda: draw_panels([PanelRow([None])]), "at least one panel"),
        (lambda: draw_panels([PanelRow([Panel()])]), "heatmap, a picture"),
        (lambda: draw_panels([PanelRow([Panel(np.ones((2, 2)))])] * 400), "million pixels"),
    )


def test_large_maps_are_drawn_smaller_and_say_so() -> None:
    figure = explanation((1, 1, 300, 900)).show()
    assert max(drawn(figure, "map-0-1").shape) <= 450
    assert "mean over blocks" in words(figure).replace("\n", " ")


def test_any_name_can_be_drawn() -> None:
    labels = {1: "a $broken^ math\n漢字 \\frac{1} _x_" * 9}
    assert "for a $broken^" in words(explanation().show(labels=labels))


def test_nothing_leaks_into_pyplot_or_out_of_the_users_settings() -> None:
    before = plt.get_fignums()
    with plt.rc_context(
        {"savefig.bbox": "tight", "font.size": 40, "axes.facecolor": "red", "image.origin": "lower"}
    ):
        wild = explanation().show()
        pixels = drawn(wild, "map-0-1")
    np.testing.assert_array_equal(pixels, drawn(explanation().show(), "map-0-1"))
    assert plt.get_fignums() == before


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_figures_are_saved_whole(tmp_path: Path, kind: str) -> None:
    figure = explanation().show()
    path = save_figure(figure, tmp_path / "deep" / f"sheet.{kind}")
    assert path.read_bytes()[:4] in (b"\x89PNG", b"%PDF", b"<?xm")
    assert list(path.parent.iterdir()) == [path]
    if kind == "png":
        with Image.open(path) as picture:
            assert picture.size == (round(figure.bbox.width), round(figure.bbox.height))


def test_unknown_file_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.png, \.pdf or \.svg"):
        save_figure(explanation().show(), tmp_path / "sheet.bmp")
    assert list(tmp_path.iterdir()) == []


def test_no_words_overlap_or_leave_the_page() -> None:
    labels = [f"a class with quite a long name, number {i}" for i in range(10)]
    rows = [_sheet_row(seed) for seed in (0, 1)]
    clips = explanation((2, 3, 9, 12, 12), asked=[1, 2], ledger=ledger())
    for figure in (
        contact_sheet(rows, labels=labels, title="A title that is long enough to need a second line " * 3),
        explanation((2, 3, 16, 16), asked=[1, 2, 3], ledger=ledger()).show(labels=labels),
        explanation((1, 3, 16, 16), ledger=ledger()).show(labels=labels),
        clips.show(labels=labels),
    ):
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        boxes = [t.get_window_extent(renderer) for t in figure.texts]
        panels = [a.get_window_extent() for a in figure.axes]
        for i, box in enumerate(boxes):
            assert box.x0 >= 0
            assert box.y0 >= 0
            assert box.x1 <= figure.bbox.width + 0.5
            assert box.y1 <= figure.bbox.height
            for other in [*boxes[:i], *panels]:
                across = min(box.x1, other.x1) - max(box.x0, other.x0)
                along = min(box.y1, other.y1) - max(box.y0, other.y0)
                # Descenders of one line may touch the box of the next.
                assert across <= 1 or along <= 5, (figure.texts[i].get_text(), other)
