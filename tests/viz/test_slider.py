"""A map over its picture, as a piece of HTML: its pixels, its words, what it refuses."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from relprop.errors import InputError
from relprop.viz.colour import STEPS, colourise
from relprop.viz.embedded import embedded_map, embedded_picture, shrunk
from relprop.viz.slider import SLIDER_SCRIPT, slider_html


def opened(uri: str) -> np.ndarray:
    assert uri.startswith("data:image/webp;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def test_the_colours_are_the_librarys() -> None:
    values = noise(12, 9)
    found = opened(embedded_map(values, 2.0)).astype(int)
    # 64 steps an arm: half a step of four colours off at most.
    steps = np.stack([colourise(values + shift * 2.0 / STEPS, 2.0).astype(int) for shift in range(-2, 3)])
    assert (np.abs(steps - found).min(0) <= 2).all()
    assert (opened(embedded_map(np.zeros((3, 4)), 0.0)) == 255).all()


def test_large_maps_and_pictures_are_made_smaller() -> None:
    assert opened(embedded_map(np.ones((640, 320)), 1.0)).shape == (320, 160, 3)
    picture = np.zeros((600, 900, 3), np.uint8)
    assert opened(embedded_picture(picture)).shape == (213, 320, 3)
    tiny = shrunk(noise(64, 64) * 1e-42, 32)  # below what float32 holds
    assert np.allclose(tiny * 1e42, noise(64, 64).reshape(32, 2, 32, 2).mean((1, 3)), atol=1e-5)


def test_fragments_of_a_page_don_t_meet() -> None:
    page = "".join(slider_html(noise(8, 8), np.zeros((8, 8, 3), np.uint8), alt="a map") for _ in range(3))
    names = re.findall(r'<input id="([^"]+)"', page)
    assert len(set(names)) == 3
    assert re.findall(r'<label for="([^"]+)"', page) == names
    assert page.count("<script>") == 3
    once = slider_html(noise(8, 8), np.zeros((8, 8, 3), np.uint8), alt="a map", script=False)
    assert "<script>" not in once
    assert "data-ready" in SLIDER_SCRIPT  # a second run leaves what is ready alone


def test_without_scripts_the_map_lies_over_the_picture() -> None:
    page = slider_html(noise(8, 8), np.zeros((8, 8, 3), np.uint8), alt="a map", opacity=0.4)
    assert "opacity:0.4" in page
    assert "display:none" in page  # the bar, until the script shows it
    assert "<input" not in slider_html(noise(8, 8), alt="a map alone")


def test_words_are_escaped_and_nothing_is_fetched() -> None:
    bad = '"><script>alert(1)</script>'
    page = slider_html(
        noise(4, 4), np.zeros((4, 4, 3), np.uint8), alt=bad, picture_alt=bad, caption=bad, script=False
    )
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert re.findall(r"(?:src|href)=\"(?!data:)", page) == []


def test_refusals() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    for values in (np.zeros(4), np.zeros((0, 4)), np.full((2, 2), np.nan)):
        with pytest.raises(InputError):
            slider_html(values, alt="a map")
    with pytest.raises(InputError, match="alt to say"):
        slider_html(np.eye(4), picture, alt=" ")
    with pytest.raises(InputError, match="opacity from 0 to 1"):
        slider_html(np.eye(4), picture, alt="a map", opacity=2)
    with pytest.raises(InputError, match=r"uint8 array \(H, W, 3\)"):
        slider_html(np.eye(4), picture / 255.0, alt="a map")


def test_boxes_lie_in_the_maps_own_pixels() -> None:
    page = slider_html(noise(8, 16), np.zeros((8, 16, 3), np.uint8), alt="a map", boxes=[(2, 1, 10.5, 7)])
    assert 'viewBox="0 0 16 8"' in page
    assert page.count('<rect x="2" y="1" width="8.5" height="6"') == 2  # dark on light
    assert "<svg" not in slider_html(noise(8, 16), alt="a map")
