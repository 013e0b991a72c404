"""Hiding: what a score loses when a map's strongest places are hidden, beside as many random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from relprop.checks import check_count, check_number, check_seed
from relprop.detectors.detections import Detection
from relprop.detectors.detector import EDGES, Detector
from relprop.detectors.filling import check_fill, fill_words
from relprop.detectors.moves import direction, part_title
from relprop.detectors.variants import Said, ask, inside
from relprop.errors import InputError

__all__ = ["Check", "Loss", "check_map", "check_maps", "patches", "short_number"]

_FINEST, _FEWEST, _MOST = 8.0, 4, 8  # pixels of a patch's side; patches along a square box's side
_CHANCE = 0.1  # share of random draws that may do as much before a map no longer holds up
_SHARES = {0.05: "twentieth", 0.1: "tenth", 0.2: "fifth", 0.25: "quarter", 0.5: "half"}


@dataclass(frozen=True)
class Loss:
    """What the asked value loses with one fill, in its own unit; below 0: it gains.

    Attributes:
        fill: what stands where patches are hidden.
        red: with the patches of the largest sums of the map hidden; None where nothing is positive.
        blue: with those of the smallest sums; None where nothing is negative.
        random: with as many random patches of the box, one number a draw.
    """

    fill: str
    red: float | None
    blue: float | None
    random: tuple[float, ...]


@dataclass(frozen=True)
class Check:
    """Whether a map's red and blue places do what the map says: means over the fills; each is in `losses`.

    Attributes:
        of: the part of the detection that the map is of, as in `explain_detection`.
        what: its name in sentences, such as "the logit of dog" or "the left edge".
        up: whether red stands for a larger value.
        way: for an edge, where red is to have pulled it: "left", "right", "up" or "down"; else "".
        unit: " px" for edges, else "".
        value: what was asked, before anything was hidden.
        share: of the box that was hidden.
        hidden: patches that were hidden at a time.
        patch: (height, width) of a patch in pixels of the input.
        losses: by fill.
        runs: pictures that the network saw, for all maps checked together.
    """

    of: str
    what: str
    up: bool
    way: str
    unit: str
    value: float
    share: float
    hidden: int
    patch: tuple[float, float]
    losses: tuple[Loss, ...]
    runs: int

    @property
    def red(self) -> float | None:
        """What is lost with the reddest hidden."""
        return _mean([loss.red for loss in self.losses])

    @property
    def blue(self) -> float | None:
        """What is lost with the bluest hidden: below 0 where blue does speak against."""
        return _mean([loss.blue for loss in self.losses])

    @property
    def random(self) -> tuple[float, float, float]:
        """What is lost with random patches hidden: mean, smallest and largest of the draws."""
        draws = [sum(v) / len(v) for v in zip(*(loss.random for loss in self.losses), strict=True)]
        return sum(draws) / len(draws), min(draws), max(draws)

    @property
    def as_much(self) -> tuple[int, int]:
        """How many random draws cost at least as much as the reddest, and of how many; over all fills."""
        pairs = [(v, loss.red) for loss in self.losses for v in loss.random if loss.red is not None]
        return sum(v >= red for v, red in pairs), len(pairs)

    @property
    def holds(self) -> bool:
        """Whether red is where it matters.

        Hiding it costs something with each fill, and fewer than a tenth of the random draws cost as much.
        """
        reds = [loss.red for loss in self.losses]
        worse, draws = self.as_much
        return all(red is not None and red > 0 for red in reds) and worse < _CHANCE * draws

    @property
    def against(self) -> bool | None:
        """Whether blue does speak against: hiding it raises the value with each fill. None without blue."""
        blues = [loss.blue for loss in self.losses if loss.blue is not None]
        return all(blue < 0 for blue in blues) if blues else None

    @property
    def portion(self) -> str:
        """The share of the box that was hidden, in a word: "tenth"."""
        return _SHARES.get(self.share, f"{self.share:.0%}")

    @property
    def words(self) -> str:
        """The check in sentences."""
        part = self.portion
        fills = " and by ".join(fill_words(loss.fill) for loss in self.losses)
        how = f"(Hidden by {fills}{'; means' if len(self.losses) > 1 else ''}.)"
        said = []
        if self.way:
            said.append(f"By the map, red pulled {self.what} {self.way}.")
        mean, low, high = (short_number(v) for v in self.random)
        if self.red is None:
            said.append("Nothing in the map is red.")
        else:
            worse, draws = self.as_much
            verdict = "the map holds up" if self.holds else "the map doesn't hold up"
            if not self.holds and self.red > 0:
                verdict += f" ({worse} of {draws} random draws do as much)"
            said.append(
                f"Hiding the reddest {part} {self._change(self.red)}, a random {part} of the box by {mean} "
                f"[{low}, {high}]: {verdict}."
            )
        if self.blue is not None:
            kind = "speak" if self.of == "class" else "work"
            doesnt = "doesn't clearly" if self.blue < 0 else "doesn't"  # not with each fill
            more = f"blue {'does' if self.against else doesnt} {kind} against it"
            said.append(f"Hiding the bluest {part} {self._change(self.blue)}: {more}.")
        return " ".join([*said, how])

    def _change(self, loss: float) -> str:
        if self.way:
            return f"moves it back by {short_number(loss)}{self.unit}"
        return f"{'lowers' if self.up else 'raises'} {self.what} by {short_number(loss)}"


def check_map(
    detector: Detector,
    image: Any,
    detection: Detection,
    heatmap: Tensor,
    of: str = "class",
    target: int | None = None,
    *,
    up: bool | None = None,
    share: float = 0.1,
    fills: Sequence[str] = ("inpaint", "mean"),
    draws: int = 8,
    seed: int = 0,
    batch: int = 8,
) -> Check:
    """Hide a map's reddest and bluest patches, and random ones: does the asked value lose what the map says?

    See `check_maps`, of which this is one map.

    Raises:
        InputError: as `check_maps`.
    """
    made = check_maps(
        detector, image, detection, [heatmap], [of], [target], up=[up], share=share, fills=fills, draws=draws,
        seed=seed, batch=batch,
    )  # fmt: skip
    return made[0]


def check_maps(
    detector: Detector,
    image: Any,
    detection: Detection,
    heatmaps: Sequence[Tensor],
    of: Sequence[str],
    targets: Sequence[int | None] | None = None,
    *,
    up: Sequence[bool | None] | None = None,
    share: float = 0.1,
    fills: Sequence[str] = ("inpaint", "mean"),
    draws: int = 8,
    seed: int = 0,
    batch: int = 8,
) -> list[Check]:
    """Check several maps of one detection at once: the random draws are shared.

    The picture is cut into `patches` along the detection's box. For each map as many patches as make up `share`
    of the box are hidden, those of the largest sums of the map wherever in the picture they lie, then those of
    the smallest; and, `draws` times, as many random ones inside the box. The network sees
    ``1 + len(fills) * (draws + 2 * maps)`` pictures at most.

    Args:
        detector: what made the detection.
        image: the picture it was found in, or the `Prepared` of it.
        detection: one of ``detector(image)``.
        heatmaps: (h, w) each, on the input's pixels.
        of: what each is of: "class", an offset, "objectness", or an edge ("x1", "y1", "x2", "y2").
        targets: for "class", the class that a map is of; None: the detection's own.
        up: for offsets and edges, whether red means a larger value (True) or a smaller one (False); None: the way
            that the network pushed it, as `crp` means red: the sign of slope × output (`Method.pushes`).
        share: of the box's patches that are hidden at a time.
        fills: what stands where patches are hidden, see `relprop.detectors.filling`; several, since a check with
            one fill also measures that fill.
        draws: random choices of patches.
        seed: of those.
        batch: pictures that run at once.

    Returns:
        One a map. A class is asked for its log-odds: its logit less log Σ exp of the others' where scores are a
        softmax, which only depend on logits' differences, and its logit otherwise.

    Raises:
        InputError: maps of another size or not finite, settings that can't be used, or the box has no pixel in
            the picture.

    >>> import relprop
    >>> from relprop.datasets import Scenes
    >>> from relprop.detectors import load
    >>> scene = Scenes(n=1, seed=2, split="test")[0]
    >>> detector = load()
    >>> first = detector(scene.image)[0]
    >>> e = relprop.explain_detection(detector, scene.image, first)
    >>> check = check_map(detector, scene.image, first, e.heatmap()[0])
    >>> check.what, check.hidden, check.runs  # and check.words
    ('the log-odds', 2, 21)
    """
    check_number("share", share, least=0)
    check_count("draws", draws)
    check_seed(seed)
    if share > 1:
        raise InputError(f"Expected share from 0 to 1, of the box, but got {share!r}.")
    if not fills or isinstance(fills, str):
        raise InputError(f"Expected a list of at least one fill but got {fills!r}.")
    for fill in fills:
        check_fill("fill", fill)
    prepared = detector.prepared(image)
    size = tuple(prepared.x.shape[2:])
    maps = [m.detach().to("cpu", torch.float64) for m in heatmaps]
    classes = [None] * len(maps) if targets is None else list(targets)
    ways = [None] * len(maps) if up is None else list(up)
    if not maps or not len(maps) == len(of) == len(classes) == len(ways):
        raise InputError(
            f"Expected one `of`, target and `up` for each map, and a map, but got {len(maps)} maps, {len(of)}, "
            f"{len(classes)} and {len(ways)}."
        )
    for m in maps:
        if tuple(m.shape) != size or not bool(m.isfinite().all()):
            got = f"shape {tuple(m.shape)}" if tuple(m.shape) != size else "NaN or infinity"
            raise InputError(f"Expected finite maps {size}, on the input's pixels, but got {got}.")

    label, own, patch = patches(prepared.in_input(detection.box.cpu()), prepared)
    if not len(own):
        raise InputError(
            f"Expected a box with pixels in the picture but got {[round(v, 1) for v in detection.box.tolist()]}."
        )
    count = max(1, round(share * len(own)))
    chosen: list[Tensor] = []
    for m in maps:
        red, blue = _extremes(m, label, count)
        chosen += [red, blue]
    generator = torch.Generator().manual_seed(seed)
    random = [own[torch.randperm(len(own), generator=generator)[:count]] for _ in range(draws)]
    asked = [c for c in chosen if len(c)]
    masks = torch.stack([torch.isin(label, c) for c in [*random, *asked]])

    losses: list[list[Loss]] = [[] for _ in maps]
    before: list[tuple[float, bool]] = []
    said = ask(detector, prepared, detection, masks, fills, batch)
    for f, fill in enumerate(fills):
        first = 1 + f * len(masks)
        row = first + draws
        before = []
        for k, part in enumerate(of):
            value, sign = _value(said, part, classes[k], ways[k])
            lost = (sign * (value[0] - value)).tolist()
            ends: list[float | None] = []
            for c in chosen[2 * k : 2 * k + 2]:
                ends.append(lost[row] if len(c) else None)
                row += bool(len(c))
            losses[k].append(Loss(fill, ends[0], ends[1], tuple(lost[first : first + draws])))
            before.append((float(value[0]), sign > 0))
    runs = len(fills) * len(masks) + 1
    return [
        Check(
            of=part,
            what=_what(detector, detection, part, classes[k]),
            up=before[k][1],
            way=direction(part, before[k][1]) if part in EDGES else "",
            unit=" px" if part in EDGES else "",
            value=before[k][0],
            share=share,
            hidden=count,
            patch=patch,
            losses=tuple(losses[k]),
            runs=runs,
        )
        for k, part in enumerate(of)
    ]


def patches(box: Tensor, prepared: Any) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """Cut the picture into equal patches so that whole ones fill a box.

    A patch is about 8 pixels of the input, but never more than an eighth of the box's side (of a square of its
    area) where that is larger, nor less than as many as make 4 along it: a box has 16 to 64 patches. Patches and
    no single pixels: those are scattered, which the network is rarely shown, and a fill that continues what is
    around would put them back.

    Args:
        box: (4,) in pixels of the input.
        prepared: the input.

    Returns:
        (h, w) int64, which patch a pixel belongs to, -1 for padding; the patches inside the box; and
        (height, width) of a patch in pixels.
    """
    within = inside(box[None], prepared)[0]
    x0, y0, x1, y1 = prepared.window
    # Cut at the picture's edge, so that each patch of the box is whole.
    left, top = max(float(box[0]), x0), max(float(box[1]), y0)
    right, bottom = min(float(box[2]), x1), min(float(box[3]), y1)
    height, width = prepared.x.shape[2:]
    if not bool(within.any()):
        return torch.full((height, width), -1), torch.zeros(0, dtype=torch.int64), (0.0, 0.0)
    side = ((right - left) * (bottom - top)) ** 0.5
    wanted = min(max(_FINEST, side / _MOST), side / _FEWEST)
    rows, columns = max(1, round((bottom - top) / wanted)), max(1, round((right - left) / wanted))
    tall, wide = (bottom - top) / rows, (right - left) / columns
    y, x = (torch.arange(n, dtype=torch.float64) + 0.5 for n in (height, width))
    down, across = ((y - top) / tall).floor().long(), ((x - left) / wide).floor().long()
    down, across = down - down.min(), across - across.min()
    label = down[:, None] * (int(across.max()) + 1) + across
    picture = inside(torch.tensor([[x0, y0, x1, y1]], dtype=torch.float64), prepared)[0]
    label = torch.where(picture, label, -1)
    return label, label[within].unique(), (tall, wide)


def _extremes(heat: Tensor, label: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The patches of the largest sums and of the smallest ones; none where nothing has that sign.

    At most as many blue patches as are below 0: what isn't blue isn't hidden as such.
    """
    kept = label >= 0
    names, place = label[kept].unique(return_inverse=True)
    sums = torch.zeros(len(names), dtype=heat.dtype).index_add(0, place, heat[kept])
    order = sums.argsort(descending=True, stable=True)
    red, blue = order[:count], order.flip(0)[:count]
    return names[red[sums[red] > 0]], names[blue[sums[blue] < 0]]


def _value(said: Said, part: str, target: int | None, up: bool | None) -> tuple[Tensor, float]:
    """What is asked in each variant, (M,), and 1 or -1: which way red pushes it."""
    if part in ("class", "objectness"):
        return said.of("margin" if part == "class" else part, target), 1.0
    value = said.of(part)
    larger = said.went_up(part) if up is None else up
    return value, 1.0 if larger else -1.0


def _what(detector: Detector, detection: Detection, part: str, target: int | None) -> str:
    if part in EDGES:
        return f"the {part_title(part)}"
    if part != "class":
        return part
    kind = "log-odds" if detector.scores == "softmax" else "logit"
    if target in (None, detection.label):
        return f"the {kind}"
    return f"the {kind} of {target if detector.classes is None else detector.classes[target]}"


def short_number(value: float) -> str:
    """A number with one or two digits behind the point, as sentences have it.

    >>> short_number(-0.456), short_number(12.34), short_number(0.001)
    ('−0.46', '12.3', '0')
    """
    text = f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"
    return text.replace("-", "−") if float(text) else "0"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None
