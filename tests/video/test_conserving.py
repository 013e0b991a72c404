"""The conserving split: its definition in plain loops, its identities, what it refuses."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests import nets
from tests.close import assert_close_to_rounding
from tests.video.test_camera import OFFSETS, frozen_by_hand, seen
from torch import Tensor, nn

import relprop
from relprop.errors import InputError
from relprop.rules.motion_streams import FLOOR
from relprop.video.freezing import motion_shares
from relprop.video.frozen import freeze
from relprop.video.separation import MotionSeparation

TAYLOR = relprop.DeepTaylor(bounds=(-6.0, 6.0), seed="one")
LOW, HIGH = -6.0, 6.0


class Residual(nn.Module):
    """3-D residual block with batch norm and strides in time: (N,3,6,8,8) → (N,4)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv3d(3, 4, 3, padding=1, bias=False), nn.BatchNorm3d(4)
        self.conv1, self.bn1 = nn.Conv3d(4, 4, (1, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(4)
        self.conv2, self.bn2 = nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0)), nn.BatchNorm3d(4)
        self.down = nn.Conv3d(4, 6, 3, stride=2, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        x = F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return self.head(F.relu(self.down(x)).mean((2, 3, 4)))


class Merged(nn.Module):
    """The first convolution leaves half of the slices: (N,3,4,8,8) → (N,4)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv3d(3, 4, 3, stride=2, padding=1), nn.Conv3d(4, 5, 3, padding=1)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.conv(F.relu(self.stem(x)))).mean((2, 3, 4)))


NETS = {"video": nets.video, "residual": Residual, "merged": Merged}


@cache
def net(name: str = "video") -> nn.Module:
    model = NETS[name]()
    return model if name == "video" else nets.seeded(model, 5)


def clips(n: int = 2, frames: int = 4) -> Tensor:
    return nets.pictures(n, 3, frames, 8, 8)


def split(name: str, clip: Tensor, target: Any = 1, **settings: Any) -> MotionSeparation:
    return relprop.separate_motion(net(name), clip, target, TAYLOR, "conserving", **settings)


def close(a: Tensor, b: Tensor, relative: float = 1e-12) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= relative * float(b.abs().max()))


def share_by_hand(x: Tensor, frozen: Tensor) -> Tensor:
    """(x - x frozen) / x where that is positive, one number at a time; x >= 0."""
    share = torch.zeros_like(x)
    for at in torch.cartesian_prod(*[torch.arange(n) for n in x.shape]).tolist():
        a, b = float(x[tuple(at)]), float(frozen[tuple(at)])
        share[tuple(at)] = max(a - b, 0.0) / a if a > 0 else 0.0
    return share


def two_sided(up: Tensor, down: Tensor, weight: Tensor, r: Tensor) -> Tensor:
    """R shared out in proportion to u w+ and -d w-, by autograd."""
    up, down = up.clone().requires_grad_(), down.clone().requires_grad_()
    z = F.conv3d(up, weight.clamp(min=0), padding=1) - F.conv3d(down, weight.clamp(max=0), padding=1)
    grads = torch.autograd.grad((z * (r / z.detach()).nan_to_num(0, 0, 0)).sum(), (up, down))
    return up.detach() * grads[0] + down.detach() * grads[1]


@pytest.mark.parametrize("offsets", [None, OFFSETS], ids=["camera at rest", "moving camera"])
def test_definition_on_two_layers(offsets: list[list[int]] | None) -> None:
    """conv1 → ReLU → pool → conv2 → ReLU → mean → head: the streams start at the second ReLU."""
    path = [[0, 0]] * 4 if offsets is None else offsets
    model, clip = net(), clips(1)
    conv1, conv2, head = model.conv1, model.conv2, model.head  # type: ignore[attr-defined]
    w1, w2 = conv1.weight.detach(), conv2.weight.detach()

    def forward(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a = F.relu(conv1(x))
        p = F.max_pool3d(a, (1, 2, 2))
        return a, p, F.relu(conv2(p))

    def unpooled(a: Tensor, r: Tensor) -> Tensor:
        a = a.clone().requires_grad_()
        (g,) = torch.autograd.grad((F.max_pool3d(a, (1, 2, 2)) * r).sum(), a)
        return g

    with torch.no_grad():
        a, p, b = forward(clip)
        frozen = [forward(frozen_by_hand(clip, t, path)[None]) for t in range(4)]
        p0, b0 = (torch.stack([f[i][:, :, t] for t, f in enumerate(frozen)], 2) for i in (1, 2))
    none = torch.zeros_like(p)
    means = b.mean((2, 3, 4))
    up = head.weight.detach()[1].clamp(min=0) * means
    r_b = (up / up.sum() / means).nan_to_num(0).reshape(1, -1, 1, 1, 1) * b / b[0, 0].numel()
    original = two_sided(clip - LOW, HIGH - clip, w1, unpooled(a, two_sided(p, none, w2, r_b)))
    gone_p, gone_b = share_by_hand(p, p0), share_by_hand(b, b0)

    m_a = unpooled(a, two_sided(p * gone_p.clamp(min=FLOOR), none, w2, gone_b * r_b))
    near = [clip.clone(), clip.clone()]
    for side, step in zip(near, (-1, 1), strict=True):
        for t in range(max(0, -step), min(4, 4 - step)):
            values, there = seen(clip, t + step, t, path)
            side[0, :, t] = torch.where(there, values, clip[0, :, t])
    low = torch.minimum(clip, torch.minimum(*near))
    high = torch.maximum(clip, torch.maximum(*near))
    temporal = two_sided(clip - low + FLOOR * (clip - LOW), high - clip + FLOOR * (HIGH - clip), w1, m_a)
    s_a = unpooled(a, two_sided(p * (1 - gone_p).clamp(min=FLOOR), none, w2, (1 - gone_b) * r_b))
    spatial = two_sided(clip - LOW, HIGH - clip, w1, s_a)

    s = split("video", clip, camera="auto" if offsets is None else offsets)
    assert close(s.relevance["original"], original)
    assert close(s.relevance["temporal"], temporal)
    assert close(s.relevance["spatial"], spatial)
    assert close(s.temporal.sum(), (gone_b * r_b).sum())


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_films_add_up_in_total(name: str, moving: bool) -> None:
    clip = clips(2, 6 if name == "residual" else 4)
    path = torch.tensor(OFFSETS)[: clip.shape[2]].repeat(2, 1)[: clip.shape[2]]
    s = split(name, clip, [1, 0], camera=path if moving else "auto")
    plain = relprop.explain(net(name), clip, [1, 0], TAYLOR)
    assert_close_to_rounding(s.original, plain.heatmap(), net(name))
    assert bool((s.relevance["temporal"] >= 0).all() and (s.relevance["spatial"] >= 0).all())
    for part, film in s.relevance.items():
        assert close(film.sum(2), getattr(s, part))
    totals, lost = {}, {}
    for part, ledger in s.ledgers.items():
        assert ledger.closes
        totals[part] = float(getattr(s, part).sum())
        starts = -sum(r.lost for r in ledger.rows if r.lost < 0)
        lost[part] = ledger.lost + starts
        assert ledger.start + starts == pytest.approx(totals[part] + lost[part], rel=1e-12)
    parts = ("spatial", "temporal")
    assert min(totals.values()) > 0
    # What the head loses is lost before the streams start.
    head = sum(r.lost for r in s.ledgers["original"].rows if r.operator in ("linear", "mean"))
    assert sum(totals[p] + lost[p] for p in parts) == pytest.approx(
        totals["original"] + lost["original"] - head, rel=1e-12
    )
    if name == "video":
        assert close(s.spatial.sum((2, 3, 4)) + s.temporal.sum((2, 3, 4)), s.original.sum((2, 3, 4)))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_still_clip_has_no_temporal_relevance_at_all(name: str, dtype: torch.dtype) -> None:
    frames = 6 if name == "residual" else 4
    moving = clips(2, frames)
    clip = torch.cat([moving[:1], moving[1:, :, :1].expand(1, 3, frames, 8, 8)]).to(dtype)
    model = NETS[name]() if name == "video" else nets.seeded(NETS[name](), 5)
    s = relprop.separate_motion(model.to(dtype), clip, [0, 1], TAYLOR, "conserving", chunk=3)
    assert not bool(s.temporal[:, 1].any())
    assert torch.equal(s.spatial[:, 1], s.original[:, 1])
    assert bool(s.temporal[:, 0].any())


@pytest.mark.parametrize("name", NETS)
def test_rows_targets_and_chunks_change_nothing(name: str) -> None:
    clip = clips(2, 6 if name == "residual" else 4)
    both = split(name, clip, [2, 0], chunk=3)
    for i in range(2):
        for k, target in enumerate([2, 0]):
            one = split(name, clip[i : i + 1], target, chunk=1)
            for part in ("original", "spatial", "temporal"):
                assert close(getattr(both, part)[k, i], getattr(one, part)[0]), part
            assert both.frozen_outputs is not None
            assert one.frozen_outputs is not None
            assert close(both.frozen_outputs[i], one.frozen_outputs[0])


def test_linear_in_the_seed() -> None:
    one = split("video", clips(), None)
    scored = relprop.separate_motion(
        net(), clips(), None, relprop.DeepTaylor(bounds=(LOW, HIGH)), "conserving"
    )
    scores = net()(clips()).detach().amax(1).reshape(2, 1, 1, 1)
    assert bool((scores > 0).all())
    assert close(scored.temporal, one.temporal * scores)


def test_what_changes_takes_it() -> None:
    """One corner flickers, the rest is still: little of temporal relevance reaches pixels that don't change."""
    clip = clips(1)[:, :, :1].repeat(1, 1, 4, 1, 1)
    clip[..., 2:4, 2:4] = clips(1)[..., 2:4, 2:4]
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[2:4, 2:4] = True

    def share(film: Tensor) -> float:
        up = film.clamp(min=0)
        return float(up[..., inside].sum() / up.sum())

    assert share(split("video", clip).temporal) > 0.95
    assert share(split("video", clip).spatial) < 0.3
    assert share(relprop.separate_motion(net(), clip, 1, TAYLOR).temporal) < 0.8


def test_merged_slices_take_the_mean_over_their_frames() -> None:
    model, clip = net("merged"), clips(1)
    run = relprop.trace(model, clip)
    activations = [n for n in run.graph.nodes if n.op == "relu"]
    shares, outputs = motion_shares(model, run, activations, 3, lambda frames: None)
    batch = torch.stack([freeze(clip[0], t) for t in range(4)])
    assert close(outputs, model(batch).detach())
    still = relprop.trace(model, batch)
    for node in activations:
        x, frozen = run.value(node)[0], still.value(node)
        for s in range(2):
            expected = [share_by_hand(x[:, s], frozen[t][:, s]) for t in (2 * s, 2 * s + 1)]
            assert close(shares[node][0, :, s], torch.stack(expected).mean(0))


class Branches(nn.Module):
    """Two activations side by side, joined behind them: (N,3,4,8,8) → (N,4)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = (
            nn.Conv3d(3, 4, 3, padding=1),
            nn.Conv3d(4, 3, 1),
            nn.Conv3d(4, 3, 3, padding=1),
        )
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.head(torch.cat([F.relu(self.a(x)), F.relu(self.b(x))], 1).mean((2, 3, 4)))


def test_streams_start_on_every_way() -> None:
    model = nets.seeded(Branches(), 5)
    s = relprop.separate_motion(model, clips(), 1, TAYLOR, "conserving")
    starts = [r for r in s.ledgers["temporal"].rows if r.lost < 0]
    assert len(starts) == 2
    assert all(ledger.closes for ledger in s.ledgers.values())
    assert close(s.spatial.sum((1, 2, 3)) + s.temporal.sum((1, 2, 3)), s.original.sum((1, 2, 3)))


def test_shares_of_signed_activations() -> None:
    """A silent or reversed unit is gone; a stronger one of the same sign is there."""
    model = (
        nn.Sequential(nn.Conv3d(1, 1, (3, 1, 1), padding=(1, 0, 0), bias=False), nn.Tanh()).double().eval()
    )
    model[0].weight.data = torch.tensor([0.0, 1.0, -3.0], dtype=torch.float64).reshape(1, 1, 3, 1, 1)
    clip = torch.tensor([1.0, 0.5, -1.0], dtype=torch.float64).reshape(1, 1, 3, 1, 1)
    run = relprop.trace(model, clip)
    node = run.graph.output
    (share,) = motion_shares(model, run, [node], 4, lambda frames: None)[0].values()
    # In the clip -0.5, 3.5, -1; each slice in its own frozen clip -2, -1, -1 (the last sees zeros behind).
    assert share.flatten().tolist() == pytest.approx([0.0, 1.0, 0.0])


def test_model_leaves_as_it_came() -> None:
    model = nets.seeded(Residual(), 5)
    before = {k: (v.data_ptr(), v._version, v.clone()) for k, v in model.state_dict().items()}
    relprop.separate_motion(model, clips(1, 6), 1, TAYLOR, "conserving")
    with pytest.raises(InputError):
        relprop.separate_motion(model, clips(1, 6), 1, "lrp-epsilon", "conserving")
    for k, v in model.state_dict().items():
        assert (v.data_ptr(), v._version) == before[k][:2]
        assert torch.equal(v, before[k][2])
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("method", ["lrp-composite", relprop.LRP(rule="z-plus", seed="one")], ids=str)
def test_other_methods_with_the_two_rules(method: Any) -> None:
    s = relprop.separate_motion(net(), clips(), 1, method, "conserving")
    assert s.ledgers["temporal"].closes
    assert s.ledgers["spatial"].closes
    assert bool(s.temporal.any())


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("lrp-epsilon", r"z\+ rule \(z-box at the input\) .* but LRP \(epsilon\) has Epsilon"),
        ("gradient", "Expected deep-taylor or an LRP method .* but got gradient"),
        ("rsp", "Expected deep-taylor or an LRP method .* but got rsp"),
    ],
)
def test_other_methods_are_refused(method: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        relprop.separate_motion(net(), clips(1), 1, method, "conserving")


def test_a_network_without_a_time_axis_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 4), nn.ReLU(), nn.Linear(4, 3)).double().eval()
    with pytest.raises(InputError, match="but relevance meets none"):
        relprop.separate_motion(model, clips(1), 1, TAYLOR, "conserving")
