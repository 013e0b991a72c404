"""channel_axis=: maps and pictures of inputs whose colours lie elsewhere than behind the samples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import relprop
from relprop.errors import InputError


class Bag(nn.Module):
    """Pictures (N, T, C, H, W), the mean of their scores."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        n, t = x.shape[:2]
        return self.net(x.flatten(0, 1)).reshape(n, t, -1).mean(1)


class Last(nn.Module):
    """Pictures (N, H, W, C)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.permute(0, 3, 1, 2))


def net(channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).eval()


def drawn(figure: object, gid: str) -> Tensor:
    axes = next(a for a in figure.axes if a.get_gid() == gid)  # type: ignore[attr-defined]
    return torch.as_tensor(axes.images[0].get_array())


def test_frames_in_front_of_colours(tmp_path: Path) -> None:
    x = torch.rand(1, 5, 3, 12, 12)
    e = relprop.explain(Bag(net()).eval(), x, [0, 1], "lrp-epsilon", channel_axis=2)
    assert not any("channel_axis" in note for note in e.notes)
    assert e.heatmap().shape == (2, 1, 5, 12, 12)
    torch.testing.assert_close(e.heatmap(), e.relevance.sum(3))
    assert torch.equal(e.heatmap(channel_axis=-3), e.heatmap())
    again = relprop.Explanation.load(e.save(tmp_path / "e"))
    assert again.channel_axis == 2
    assert torch.equal(again.heatmap(), e.heatmap())
    plain = relprop.explain(Bag(net()).eval(), x, [0, 1], "lrp-epsilon")
    assert torch.equal(plain.relevance, e.relevance), "an axis chooses how to draw, not what"
    assert torch.equal(plain.heatmap(channel_axis=2), e.heatmap())
    figure = plain.show(channel_axis=2, mean=[0, 0, 0], std=[1, 1, 1])
    frames = [a.get_gid() for a in figure.axes if str(a.get_gid()).startswith("picture-0-")]
    assert len(frames) == 5
    step = drawn(figure, "picture-0-3").shape[0] // 12
    shown = drawn(figure, "picture-0-3")[::step, ::step]
    assert (shown.float() - 255 * x[0, 3].movedim(0, -1)).abs().max() <= 0.5 + 1e-3
    saved = relprop.Explanation.load(plain.save(tmp_path / "other", channel_axis=2))
    assert saved.channel_axis == 2


def test_colours_last() -> None:
    e = relprop.explain(Last(net()).eval(), torch.rand(2, 12, 10, 3), 0, channel_axis=3)
    assert e.heatmap().shape == (2, 12, 10)
    assert e.show() is not None


def test_hint() -> None:
    """Where colours seem to lie elsewhere a note says so, in the picture too; it goes once the axis is named."""
    e = relprop.explain(Bag(net()).eval(), torch.rand(1, 5, 3, 12, 12), 0)
    assert any("channel_axis=2" in note for note in e.notes)
    said = " ".join(t.get_text() for t in e.show().texts).replace("\n", " ")
    assert "channel_axis=2" in said
    said = " ".join(t.get_text() for t in e.show(channel_axis=2).texts).replace("\n", " ")
    assert "channel_axis" not in said
    assert any(
        "channel_axis=3" in note
        for note in relprop.explain(Last(net()).eval(), torch.rand(1, 12, 12, 3), 0).notes
    )


def test_no_hint() -> None:
    """Colours behind the samples, and pictures of more channels, need none."""
    for channels in (3, 13):
        notes = relprop.explain(net(channels), torch.rand(1, channels, 12, 12), 0).notes
        assert not any("channel_axis" in note for note in notes)


@pytest.mark.parametrize("axis", [0, 4, -4, 1.0, True, "2"])
def test_refused(axis: object) -> None:
    with pytest.raises(InputError, match="Expected channel_axis from 1 to 3"):
        relprop.explain(net(), torch.rand(1, 3, 12, 12), 0, channel_axis=axis)


@pytest.mark.parametrize(
    ("mean", "std"),
    [(0.1, 0.1), ([0.1] * 2, [1.0] * 3), (["a"] * 3, [1.0] * 3), ([0.0] * 3, [1.0, 0.0, 1.0]),
     ([0.0] * 3, [-1.0] * 3),
     ([0.0] * 3, [float("nan")] * 3), ([0.0] * 3, None), (None, 0.1)],
)  # fmt: skip
def test_mean_and_std_refused(mean: object, std: object, tmp_path: Path) -> None:
    e = relprop.explain(net(), torch.rand(1, 3, 12, 12), 0)
    with pytest.raises(InputError, match=r"Expected (both )?(mean|std)"):
        e.show(mean=mean, std=std)
    with pytest.raises(InputError):
        e.save(tmp_path / "e", mean=mean, std=std)
    assert not list(tmp_path.iterdir())
