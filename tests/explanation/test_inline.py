"""Explanations in notebooks: HTML with sliders, plain values, PIL pictures, axes and colours of the user's own."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.viz import colourise


def picture(k: int = 1, n: int = 1, channels: int = 3, **more: Any) -> Explanation:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(n, channels, 30, 40, generator=generator)
    relevance = torch.randn(k, n, channels, 30, 40, generator=generator)
    targets = torch.arange(k)[:, None].expand(k, n).contiguous()
    if k == 1:
        relevance, targets = relevance[0], targets[0]
    return Explanation(relevance, x, torch.arange(4.0).expand(n, 4), targets, "gradient", **more)


def clip(channels: int = 3) -> Explanation:
    x = torch.rand(1, channels, 5, 26, 28, generator=torch.Generator().manual_seed(1))
    return Explanation(x - 0.5, x, torch.zeros(1, 4), torch.tensor([2]), "gradient")


def test_plain_values_are_what_is_saved(tmp_path: Any) -> None:
    e = picture(k=2, n=2, extras={"gap": float("nan"), "kept": torch.ones(2)}, notes=("a note",))
    manifest = json.loads(
        (e.save(tmp_path / "e", picture=False, labels=["a", "b"]) / "manifest.json").read_text()
    )
    found = e.to_dict(labels=["a", "b"])
    assert found.items() <= manifest.items()
    assert found["notes"] == ["a note"]
    assert [t["name"] for t in found["targets"]] == ["a", "a", "b", "b"]
    assert json.loads(e.to_json(labels=["a", "b"])) == found  # NaN is a text: JSON has none
    assert "relevance" not in found
    assert "\n" in e.to_json(indent=2)
    numbers = json.loads(e.to_json(relevance=True))["relevance"]
    assert torch.equal(torch.tensor(numbers), e.relevance)


def test_a_pixel_for_a_pixel() -> None:
    e = picture(k=2, n=2)
    bare = e.to_pil(sample=1, target=1, under="none", scale=2.0)
    assert (bare.size, bare.mode) == ((40, 30), "RGB")
    assert np.array_equal(np.asarray(bare), colourise(e.heatmap()[1, 1].numpy(), 2.0))
    traced = np.asarray(e.to_pil(sample=1, target=1, scale=2.0))
    assert (traced < np.asarray(bare)).any()
    other = np.asarray(e.to_pil(cmap="viridis", scale=1e9))  # all in the middle of the scale
    middle = np.rint(255 * np.array(colormaps["viridis"](0.5)[:3]))
    assert np.abs(other - middle).max() <= 2


def test_a_frame_has_the_scale_of_its_clip() -> None:
    e = clip()
    whole = e.heatmap()[0].abs()
    limit = float(np.percentile(whole[whole > 0], 99.5))
    found = np.asarray(e.to_pil(frame=3, under="none"))
    assert np.abs(found.astype(int) - colourise(e.heatmap()[0, 3].numpy(), limit)).max() <= 3
    for wrong, text in (({}, "which frame"), ({"frame": 5}, "0 to 4"), ({"frame": True}, "0 to 4")):
        with pytest.raises(InputError, match=text):
            e.to_pil(**wrong)


def test_axes_of_ones_own() -> None:
    figure = Figure()
    ax, other = figure.subplots(1, 2)
    e = picture()
    assert e.show(ax=ax) is ax
    (drawn,) = ax.images
    assert np.array_equal(drawn.get_array(), np.asarray(e.to_pil()))
    assert ax.get_title() == "gradient: class 0"
    assert len(other.images) == 0
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "relevance"
    assert bar.get_ylim()[0] == pytest.approx(-bar.get_ylim()[1])  # zero in the middle
    e.show(ax=other, cmap="seismic", title="mine")
    assert np.array_equal(other.images[0].get_array(), np.asarray(e.to_pil(cmap="seismic")))
    assert other.get_title() == "mine"


def test_other_colours_for_a_page() -> None:
    figure = picture(k=2, n=3).show(cmap=colormaps["PuOr"], labels=["cat", "dog"], most=2)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles.count("cat") == titles.count("dog") == 2
    assert (
        sum(len(ax.images) for ax in figure.axes if not ax.get_ylabel()) == 2 * 3
    )  # the input and two maps a row
    assert "gradient" in figure.get_suptitle()


def test_unsigned_maps_start_at_zero() -> None:
    e = picture(signed=False)
    e = Explanation(e.relevance.abs(), e.input, e.outputs, e.targets, "grad-cam", signed=False)
    figure = Figure()
    e.show(ax=figure.subplots())
    assert figure.axes[-1].get_ylim()[0] == 0


class TestHtml:
    def test_a_slider_a_map(self) -> None:
        e = picture(k=2, n=2, warnings=("look <here>",), notes=("a note",))
        page = e._repr_html_()
        assert page is not None
        assert page.count('type="range"') == 4
        assert len(set(re.findall(r'<input id="([^"]+)"', page))) == 4
        assert "⚠ look &lt;here&gt;" in page
        assert "a note" in page
        assert "for class 1 · output\u00a01" in page
        assert "http" not in page.replace("http-equiv", "")
        alts = re.findall(r'alt="([^"]+)"', page)
        assert len(alts) == 8
        assert all(alts)

    def test_words_say_where_it_is_strongest(self) -> None:
        relevance = torch.zeros(1, 1, 30, 40)
        relevance[0, 0, 7, 9] = -2.0
        e = Explanation(relevance, torch.rand(1, 1, 30, 40), torch.zeros(1, 2), torch.tensor([1]), "gradient")
        assert "the strongest value speaks against it, at x 9, y 7 of 40 × 30" in str(e._repr_html_())
        empty = Explanation(relevance * 0, e.input, e.outputs, e.targets, "gradient")
        assert "zero everywhere" in str(empty._repr_html_())

    def test_no_more_than_is_sane(self) -> None:
        e = picture(k=4, n=4)
        page = e._repr_html_()
        assert page is not None
        assert page.count('type="range"') == 8
        assert "The first 8 of 16 maps are drawn." in page
        large = Explanation(
            torch.randn(1, 3, 600, 900), torch.rand(1, 3, 600, 900), torch.zeros(1, 2), torch.tensor([0]), "g"
        )
        assert len(str(large._repr_html_())) < 300_000

    def test_nothing_where_there_is_no_map_of_a_picture(self) -> None:
        flat = Explanation(
            torch.ones(1, 3), torch.ones(1, 3), torch.zeros(1, 2), torch.tensor([0]), "gradient"
        )
        assert flat._repr_html_() is None
        assert clip()._repr_html_() is None
        assert clip()._repr_png_() is not None


@pytest.mark.parametrize(("channels", "word"), [(1, "slice"), (3, "frame")])
def test_volumes_have_slices(channels: int, word: str) -> None:
    texts = [text.get_text() for ax in clip(channels).show().axes for text in ax.texts]
    texts += [text.get_text() for text in clip(channels).show().texts]
    assert any(f"{word} 4" in text for text in texts), texts


def test_refusals() -> None:
    e, ax = picture(k=2), Figure().subplots()
    with pytest.raises(InputError, match="one map for ax= but there are 2"):
        e.show(ax=ax)
    with pytest.raises(InputError, match="ax to be matplotlib axes but got str"):
        picture().show(ax="left")  # type: ignore[arg-type]
    for wrong in ("no such", 5):
        with pytest.raises(InputError, match="cmap to be a matplotlib colormap"):
            e.show(cmap=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="clips as strips"):
        clip().show(cmap="seismic")
    with pytest.raises(InputError, match=r"mean and std|std"):
        e.show(mean=0.1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one a channel"):
        e.to_pil(mean=0.1, std=0.2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="target to be an index from 0 to 1"):
        e.to_pil(target=2)
    with pytest.raises(InputError, match="no frame= for pictures"):
        e.to_pil(frame=0)
    assert math.isfinite(float(e.relevance.sum()))


def test_nothing_is_changed() -> None:
    e = picture()
    before: list[Tensor] = [t.clone() for t in (e.relevance, e.input, e.targets)]
    e.to_pil(), e.to_dict(relevance=True), e._repr_html_(), e.show(cmap="seismic")
    assert all(torch.equal(a, b) for a, b in zip(before, (e.relevance, e.input, e.targets), strict=True))
