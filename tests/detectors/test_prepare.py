"""Squashed, letterboxed and padded pictures: where the picture lies in the input, and boxes back on it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from relprop import explain_detection
from relprop.detectors import Letterbox, Prepared, Squash, wrap
from relprop.errors import InputError

WAYS: dict[str, Any] = {
    "squash": Squash((96, 96)),
    "centred": Letterbox((96, 96)),
    "corner": Letterbox((96, 128), centred=False),
    "odd": Letterbox((97, 96)),
    "not enlarged": Letterbox((300, 310), enlarge=False),
    "smooth": Letterbox((96, 96), antialias=True),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [(100, 200), (200, 100), (64, 64)])
def test_the_picture_lies_where_prepared_says(way: str, size: tuple[int, int]) -> None:
    """A white picture on a black fill: the window is white and nothing else."""
    make = WAYS[way]
    if isinstance(make, Letterbox):
        make = Letterbox(make.size, make.centred, 0.0, antialias=make.antialias, enlarge=make.enlarge)
    p = make(torch.ones(3, *size))
    x0, y0, x1, y1 = p.window
    assert (p.x[:, :, y0:y1, x0:x1] > 0.5).all()
    assert float(p.x.sum()) == pytest.approx(3 * (y1 - y0) * (x1 - x0))
    corners = torch.tensor([[float(x0), float(y0), float(x1), float(y1)]])
    assert torch.allclose(p.on_picture(corners), torch.tensor([[0.0, 0.0, size[1], size[0]]]))
    assert torch.allclose(p.in_input(p.on_picture(corners)), corners)


class Seeks(nn.Module):
    """Finds the one bright square: its box is that of the pixels over a half, wherever they lie."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mass = (x.mean(1) > 0.5).to(x)
        across, down = mass.amax(1), mass.amax(2)
        place = [
            torch.cat(
                [
                    (line * torch.arange(1.0, line.shape[1] + 1)).amax(1, keepdim=True)
                    for line in (across, down)
                ],
                1,
            ),
            torch.cat(
                [
                    (line * torch.arange(line.shape[1], 0.0, -1)).amax(1, keepdim=True)
                    for line in (across, down)
                ],
                1,
            ),
        ]
        size = x.new_tensor([x.shape[3], x.shape[2]])
        box = torch.cat([size - place[1], place[0]], 1)[:, None]
        return torch.zeros(len(x), 1, 2) + mass.amax((1, 2)).reshape(-1, 1, 1) * torch.tensor([0.0, 9.0]), box


@pytest.mark.parametrize("way", WAYS)
def test_boxes_are_the_same_on_the_picture_to_a_pixel(way: str) -> None:
    picture = torch.zeros(3, 120, 200)
    picture[:, 30:70, 40:150] = 1.0
    detector = wrap(
        Seeks().eval(),
        anchors=torch.zeros(1, 4),
        decode=lambda offsets, anchors: offsets,
        offsets=("left", "top", "right", "bottom"),
        background=0,
        prepare=WAYS[way],
    )
    (found,) = detector(picture)
    step = max(detector.prepared(picture).scale)
    # The network's answer is in whole input pixels, which are up to `step` of the picture's.
    assert float((found.box - torch.tensor([40.0, 30.0, 150.0, 70.0])).abs().max()) <= max(1.0, step)


def test_a_centred_letterbox_puts_boxes_back() -> None:
    """The case of a user's own subclass, and the same by an offset."""

    class Boxed(Prepared):
        def on_picture(self, boxes: Tensor) -> Tensor:
            return super().on_picture(boxes - boxes.new_tensor([0.0, 16.0, 0.0, 16.0]))

    class Raw(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            mean = x.mean((1, 2, 3)).reshape(-1, 1, 1)
            return torch.cat([-mean, mean], 2), torch.zeros(len(x), 1, 4) * mean

    def own(image: Tensor) -> Prepared:
        return Boxed(F.pad(image[None], (0, 0, 16, 16), value=0.45), (1.0, 1.0), (32, 64))

    def offset(image: Tensor) -> Prepared:
        return Prepared(F.pad(image[None], (0, 0, 16, 16), value=0.45), (1.0, 1.0), (32, 64), (0.0, 16.0))

    for prepare in (own, offset, Letterbox((64, 64))):
        detector = wrap(
            Raw().eval(),
            anchors=torch.tensor([[8.0, 20.0, 24.0, 44.0]]),
            decode=lambda offsets, anchors: anchors + offsets,
            background=0,
            prepare=prepare,
            score_threshold=0.3,
        )
        picture = torch.rand(3, 32, 64, generator=torch.Generator().manual_seed(0))
        d = detector(picture)[0]
        assert d.box.tolist() == [8.0, 4.0, 24.0, 28.0]
        e = explain_detection(detector, picture, d, "class", method="gradient-x-input")
        assert e.extras["picture"]["offset"] == ([0.0, 0.0] if prepare is own else [0, 16])
        assert type(detector.prepared(picture)) is (Boxed if prepare is own else Prepared)


def test_letterbox_pads_with_its_colour_and_normalises() -> None:
    p = Letterbox((64, 64), mean=(0.5, 0.4, 0.3), std=(0.5, 0.5, 0.5))(Image.new("RGB", (64, 32), "white"))
    assert torch.allclose(p.x[0, :, 0, 0], (114 / 255 - torch.tensor([0.5, 0.4, 0.3])) / 0.5)
    assert torch.allclose(p.x[0, :, 32, 32], (1 - torch.tensor([0.5, 0.4, 0.3])) / 0.5)


def test_a_size_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="a size"):
        Letterbox((0, 64))
