"""Grad-CAM, and how its feature map is found."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests import nets
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.compat import load_torchvision
from relprop.errors import InputError, UnknownNameError
from relprop.graph.place import label
from relprop.methods.feature_map import last_feature_map


def found(model: nn.Module, x: Tensor) -> str:
    run = relprop.trace(model, x)
    return label(run.graph, last_feature_map(run))


@pytest.mark.parametrize(
    ("name", "size", "place"),
    [
        ("alexnet", 64, "features.11"),
        ("vgg11", 32, "features.19"),
        ("resnet18", 64, "layer4"),
        ("squeezenet1_1", 64, "classifier.2"),
        ("mobilenet_v2", 64, "features"),
        ("shufflenet_v2_x0_5", 64, "conv5"),
        ("convnext_tiny", 64, "features"),
    ],
)
def test_last_feature_map_of_known_networks(name: str, size: int, place: str) -> None:
    model = getattr(load_torchvision().models, name)(weights=None).eval()
    assert found(model, torch.zeros(1, 3, size, size)) == place


def test_last_feature_map_of_functional_heads() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = F.dropout(F.max_pool2d(F.relu(self.conv(x)), 2), training=self.training)
            return self.head(x.permute(0, 2, 3, 1).mean((1, 2)))

    assert found(Head().eval(), torch.zeros(1, 3, 8, 8)) == "relu"


def test_channels_last_maps_are_read_as_such() -> None:
    """Swin's: normed with channels last, then averaged over the two axes in front."""

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.LayerNorm(4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))

    model, x = Last().double().eval(), torch.randn(2, 3, 8, 9, dtype=torch.float64)
    a = model.norm(model.conv(x).permute(0, 2, 3, 1)).detach().requires_grad_()
    (g,) = torch.autograd.grad(model.head(a.mean((1, 2)))[:, 1].sum(), a)
    theirs = (g.mean((1, 2), keepdim=True) * a.detach()).sum(-1).clamp(min=0)
    e = relprop.explain(model, x, 1, "grad-cam")
    assert e.at == "norm"
    assert_close_to_rounding(e.relevance[:, 0], theirs, model)
    with pytest.raises(InputError, match="channels last"):
        relprop.explain(model, x, 1, "rsp")


class Cut(nn.Module):
    """Its head sees a part of its last map."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(x)[:, :, 1:5, 2:].mean((2, 3)))
        return out


class Thinned(Cut):
    """Its last map is every other position of a larger one, which lies over the whole picture."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(x)[:, :, ::2, ::2].mean((2, 3)))
        return out


def test_a_part_of_a_map_does_not_lie_over_the_picture() -> None:
    assert found(Cut().eval(), torch.ones(1, 3, 6, 6)) == "features"
    run = relprop.trace(Thinned().eval(), torch.ones(1, 3, 6, 6))
    assert run.stored(last_feature_map(run)).shape == (1, 4, 3, 3)


def test_no_feature_map() -> None:
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    with pytest.raises(InputError, match="feature map"):
        relprop.explain(mlp, torch.zeros(1, 3, 4, 4), 0, "grad-cam")


@pytest.mark.parametrize("method", ["grad-cam", "rsp"])
def test_tokens_of_no_picture_are_no_map(method: str) -> None:
    """A transformer over the rows of a picture: 8 tokens, and no map of 8 positions that they came from."""

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.TransformerEncoderLayer(24, 2, 8, batch_first=True), nn.Linear(24, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(x.permute(0, 2, 1, 3).flatten(2)).mean(1))

    with pytest.raises(InputError, match="feature map with spatial axes"):
        relprop.explain(Rows().eval(), torch.zeros(1, 3, 8, 8), 0, method)


def test_two_feature_maps_are_named() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cat([self.a(x).mean((2, 3)), self.b(x).amax((2, 3))], 1))

    model, x = Two().eval(), torch.randn(1, 3, 8, 8)
    with pytest.raises(InputError, match="2: 'a', 'b'"):
        relprop.explain(model, x, 0, "grad-cam")
    assert relprop.explain(model, x, 0, relprop.GradCAM(at="b")).at == "b"


@pytest.mark.parametrize("at", ["0", "1", "2", "3", "4", "5"])
def test_any_place_also_before_a_relu(at: str) -> None:
    model, x = nets.vgg(), nets.pictures()
    cut = int(at) + 1
    a = model[:cut](x).detach().requires_grad_()
    (g,) = torch.autograd.grad(model[cut:](a)[:, 1].sum(), a)
    theirs = (g.mean((2, 3), keepdim=True) * a.detach()).sum(1, keepdim=True).clamp(min=0)
    e = relprop.explain(model, x, 1, relprop.GradCAM(at=at))
    assert e.at == at
    assert torch.allclose(e.relevance, theirs, rtol=1e-12, atol=1e-15)
    assert e.heatmap().shape == (3, 16, 16)


def test_three_dimensions() -> None:
    model, x = nets.video(), nets.pictures(2, 3, 4, 8, 8)
    e = relprop.explain(model, x, [0, 3], "grad-cam")
    assert e.relevance.shape == (2, 2, 1, 4, 4, 4)
    assert e.heatmap().shape == (2, 2, 4, 8, 8)
    # Behind global average pooling the weights are the head's own, divided by the positions.
    a = F.relu(model.conv2(F.max_pool3d(F.relu(model.conv1(x)), (1, 2, 2)))).detach()
    w = model.head.weight.detach() / 64
    assert torch.allclose(e.relevance[1, :, 0], torch.einsum("c,ncthw->nthw", w[3], a).clamp(min=0))


def test_places_without_space_are_refused() -> None:
    model, x = nets.vgg(), nets.pictures()
    with pytest.raises(InputError, match=r"feature map .*'relu_2'"):
        relprop.explain(model, x, 1, relprop.GradCAM(at="8"))
    with pytest.raises(InputError, match="feature map"):
        relprop.explain(model, x, 1, "grad-cam", layers=["8"])
    with pytest.raises(UnknownNameError, match="Did you mean"):
        relprop.explain(model, x, 1, relprop.GradCAM(at="relu_7"))
