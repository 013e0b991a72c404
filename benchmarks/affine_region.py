"""Does a small bias ratio mean that the affine form holds far? The paper's claim, tested.

    RELPROP_ASSETS=... python benchmarks/affine_region.py
    python benchmarks/affine_region.py --networks scenes-vgg scenes-resnet

The paper takes a small bias ratio b / F as a sign of a robust network whose contributions mean something. For the
top class of each picture, in float64: bias ratio and bias share at the input; the distance to the border of the
affine piece (an upper bound, `relprop.piecewise.distance`) and that along the gradient alone; and by how much the
form misses the score F at X + d, far beyond the border, for |d| of 1 % and 5 % of |X| along random directions and
along the gradient. Two checks of the distance itself: just inside the border W is the same, just outside the unit
that ends the piece has changed its slope.

Pixels are whole numbers, so patches of equal pixels are common, and under a max pool they are ties: borders that
the picture lies on, at a distance of 0. How many pictures have them is printed; the rest is about pictures whose
rounding is taken back by uniform noise of half a grey level each way.

Networks: the bundled two on scenes of seed 11, and, with `RELPROP_ASSETS`, SqueezeNet 1.1 on ImageNet pictures.
Results go to a file a network, picture by picture; a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from PIL import Image
from torch import Tensor, nn

import relprop
from benchmarks.affine_common import correlation, imagenet, interval, measured, quartiles, squeezenet
from benchmarks.common import markdown
from relprop import models
from relprop.datasets import Scenes
from relprop.models.pictures import read_picture
from relprop.piecewise import AffineForm, Flip, affine, crossing, distance

NETWORKS = ("scenes-vgg", "scenes-resnet", "squeezenet")
SIZES = (0.01, 0.05)
# Of the distance. The gap on either side is far above rounding as long as the distance itself is.
INSIDE, OUTSIDE = 0.999, 1.001
# Relative to |X|: below this a distance is the rounding of a tie.
TIE = 1e-13
CANCELLED = "sum of |W X| by |F|"


def missed(model: nn.Module, x: Tensor, form: AffineForm, directions: Tensor) -> dict[str, list[float]]:
    """By how much the form misses F at X + d, and how much F itself changes; a number a size of d.

    Args:
        directions: unit vectors (D, C, H, W); the means are over them.
    """
    target, size = int(form.targets[0]), float(x.norm())
    by_score, by_change = [], []
    for share in SIZES:
        there = x + share * size * directions
        with torch.no_grad():
            score = model(there)[:, target]
        said = torch.stack([form.predict(y[None])[0] for y in there])
        gap, change = (score - said).abs().sum(), (score - form.score[0]).abs().sum()
        by_score.append(float(gap / len(there) / form.score[0].abs()))
        by_change.append(float(gap / change))
    return {"by score": by_score, "by change": by_change}


def slope(model: nn.Module, x: Tensor, flip: Flip) -> Tensor:
    """The derivative of the flipped unit's output by its operator's input: which piece the unit is in."""
    run = relprop.trace(model, x)
    node = run.graph.find(flip.node)
    (signal,) = node.signals()
    with torch.inference_mode(False), torch.enable_grad():
        value = run.value(signal).detach().clone().requires_grad_()
        # A view that isn't a leaf: some of the operators work in place.
        output = run.evaluate(node, lambda n: value * 1 if n is signal else run.value(n))
        output = output[0] if isinstance(output, (tuple, list)) else output
        return torch.autograd.grad(output[(0, *flip.index)], value)[0]


def border(
    model: nn.Module, x: Tensor, form: AffineForm, step: float, d: Tensor, flip: Flip
) -> dict[str, Any]:
    """The two checks of a border at X + step * d."""
    inside, outside = x + INSIDE * step * d, x + OUTSIDE * step * d
    there = affine(model, inside, form.targets)
    beyond = affine(model, outside, form.targets)
    top = form.weight.abs().max()
    before = slope(model, x, flip)
    return {
        "score error": float((there.score - form.predict(inside)).abs() / form.score.abs()),
        "W inside": float((there.weight - form.weight).abs().max() / top),
        "W outside": float((beyond.weight - form.weight).abs().max() / top),
        "slope inside same": torch.equal(slope(model, inside, flip), before),
        "slope outside other": not torch.equal(slope(model, outside, flip), before),
    }


def along_gradient(model: nn.Module, x: Tensor, form: AffineForm) -> tuple[Tensor, float]:
    """The unit vectors along the gradient, both ways (2, C, H, W), and the distance to the nearer border."""
    along = form.weight / form.weight.norm()
    both = torch.cat([along, -along])
    return both, float(crossing(model, x.expand_as(both), both).step.min()) / float(x.norm())


def region(model: nn.Module, whole: Tensor, std: Sequence[float], samples: int, seed: int) -> dict[str, Any]:
    """The record of one picture (1, C, H, W) of whole grey levels, for its top class."""
    _, plain = along_gradient(model, whole, affine(model, whole))
    generator = torch.Generator().manual_seed(seed)
    levels = torch.rand(whole.shape, generator=generator).to(whole) - 0.5
    x = whole + levels / 255 / whole.new_tensor(std).reshape(3, 1, 1)
    form = affine(model, x)
    size = float(x.norm())
    both, near = along_gradient(model, x, form)
    draws = torch.randn(4, *x.shape[1:], generator=generator).to(x)
    draws = draws / draws.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    nearest = distance(model, x, form.targets, samples=samples, seed=seed)
    met, flip = float(nearest.distance), nearest.flips[0]
    found = {
        "score": float(form.score),
        "ratio": float(form.bias_ratio),
        "share": float(form.bias_share),
        "size": size,
        "distance": met / size,
        "gradient": near,
        "plain": plain,
        "flip": flip.operator if flip else None,
        "random": missed(model, x, form, draws),
        "along": missed(model, x, form, both),
        "border": None,
    }
    if flip is not None and met > TIE * size:
        found["border"] = border(model, x, form, met, nearest.direction, flip)
    return found


Source = tuple[nn.Module, Callable[[int], Tensor], Sequence[float]]


def scene_pictures(name: str) -> Source:
    """A bundled network, its test scenes, and what preprocessing divides by."""
    bundled = models.load(name)
    scenes = Scenes(size=bundled.input_size, n=200, seed=11, split="test")

    def picture(i: int) -> Tensor:
        return bundled.preprocess(Image.fromarray(scenes[i].image))

    return bundled.module.requires_grad_(False), picture, bundled.std


def real_pictures() -> Source:
    """The same of SqueezeNet."""
    assets = Path(os.environ["RELPROP_ASSETS"])
    model, prepare = squeezenet(assets)
    # Every second one: the names go by class, and neighbours are alike.
    paths = imagenet(assets, 200)[::2]
    return model, lambda i: prepare(read_picture(paths[i])), prepare.std


def columns(records: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """What is tabulated, a number a picture."""
    found = {
        "ratio b/F": [r["ratio"] for r in records],
        "size of ratio": [abs(r["ratio"]) for r in records],
        "bias share": [r["share"] for r in records],
        # How much the contributions cancel. From ratio and share, both of which it is in.
        CANCELLED: [abs(r["ratio"]) * (1 / r["share"] - 1) for r in records],
        "distance by size of X": [r["distance"] for r in records],
        "along the gradient": [r["gradient"] for r in records],
    }
    for key, name in (("random", "random"), ("along", "gradient")):
        for measure, by in (("by score", "of F"), ("by change", "of F's change")):
            for i, share in enumerate(SIZES):
                found[f"error at {share:.0%} {name}, {by}"] = [r[key][measure][i] for r in records]
    return found


def report(found: dict[str, list[dict[str, Any]]]) -> str:
    """The tables: values, rank correlations, checks."""
    all_columns = {name: columns(records) for name, records in found.items()}
    names = list(next(iter(all_columns.values())))
    values = [[name, *[quartiles(c[name]) for c in all_columns.values()]] for name in names]
    related = []
    for cause in ("bias share", "size of ratio", CANCELLED):
        for effect in names[names.index(CANCELLED) + 1 :]:
            cells = []
            for c in all_columns.values():
                rho, low, high = correlation(c[cause], c[effect])
                cells.append(f"{rho:+.2f} [{low:+.2f}, {high:+.2f}]")
            related.append([cause, effect, *cells])
    heads = [f"{name} ({len(records)})" for name, records in found.items()]
    checks = [_checked(name, records) for name, records in found.items()]
    head = ["network", "ties in whole pictures", "borders", "worst error of F inside", "worst change of W inside",
            "unit's slope kept inside", "changed outside", "W changed outside", "ended by a ReLU"]  # fmt: skip
    return "\n\n".join([
        "Median [quartiles] over pictures:",
        markdown(["", *heads], values),
        "Spearman's rank correlation, 95 % bootstrap interval over pictures:",
        markdown(["of", "with", *heads], related),
        f"Borders at {INSIDE} and {OUTSIDE} of the distance:",
        markdown(head, checks),
    ])  # fmt: skip


def _checked(name: str, records: Sequence[dict[str, Any]]) -> list[str]:
    borders = [r["border"] for r in records if r["border"]]
    ties = f"{sum(r['plain'] <= TIE for r in records)} of {len(records)}"
    if not borders:
        return [name, ties, "0", *[""] * 6]
    return [
        name,
        ties,
        str(len(borders)),
        *[f"{max(b[key] for b in borders):.1e}" for key in ("score error", "W inside")],
        *[
            f"{interval([b[key] for b in borders])[0]:.0%}"
            for key in ("slope inside same", "slope outside other")
        ],
        f"{interval([b['W outside'] > 1e-9 for b in borders])[0]:.0%}",
        f"{interval([r['flip'] == 'relu' for r in records])[0]:.0%}",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--pictures", type=int, help="at most so many a network (200 scenes, 100 pictures)")
    parser.add_argument("--samples", type=int, default=8, help="random directions of the distance")
    parser.add_argument("--seed", type=int, default=0, help="of the directions")
    parser.add_argument("--out", type=Path, default=Path("out/affine-region"), help="folder")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    found = {}
    for name in args.networks:
        model, picture, std = real_pictures() if name == "squeezenet" else scene_pictures(name)
        model.double()
        n = min(args.pictures or math.inf, 100 if name == "squeezenet" else 200)

        def measure(key: str, source: Source = (model, picture, std)) -> Any:
            model, picture, std = source
            return region(model, picture(int(key)).double(), std, args.samples, args.seed + int(key))

        settings = {"samples": args.samples, "seed": args.seed}
        keys = [str(i) for i in range(int(n))]
        found[name] = measured(args.out / f"{name}.jsonl", settings, keys, measure, name)
    print(report(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
