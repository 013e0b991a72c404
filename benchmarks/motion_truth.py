"""Does temporal relevance lie on what moves, and spatial relevance on what is still? On clips with known truth.

    python benchmarks/motion_truth.py --clips 300
    python benchmarks/motion_truth.py --clips 300 --camera shake

Clips of `relprop.datasets.motion` are explained through the bundled C3D by deep Taylor, for their true class, and
split in every mode; beside them stand films that know nothing of the network. Results go to a file clip by clip; a
run that was stopped goes on where it was. Printed are means over clips with 95 % intervals, the differences of the
splits to every such film over the same clips, and how far the estimated camera path is from the true one.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from safetensors.torch import load_file
from torch import Tensor, nn

import relprop
from relprop.datasets.motion import MotionClip, MotionClips
from relprop.models.bundled_clips import load
from relprop.video import C3D, CameraPath
from relprop.video.panorama import Panorama

MEAN = (90.0, 98.0, 102.0)
METHOD = relprop.DeepTaylor(
    bounds=(torch.tensor([-m for m in MEAN]), torch.tensor([255 - m for m in MEAN])), seed="one"
)
SPLITS: dict[str, dict[str, Any]] = {
    "naive": {"mode": "naive"},
    "naive, authors' script": {"mode": "naive", "slice": "first", "normalise": "maxabs"},
    "selective": {"mode": "selective"},
    "conserving, camera at rest": {"mode": "conserving", "camera": "still"},
    "conserving": {"mode": "conserving"},
}
# Films that know nothing of the network; the oracle knows from the world what moves, but not what decides.
CONTROLS = ("random", "change of pixels", "change of pixels, stabilised")
ORACLE = "evenly on what moves"
# Kind of class -> what is measured. "T" is the temporal film, "S" the spatial one; positive parts alone count in
# shares; a point is the strongest place of a frame, and counts in frames where the object can be seen. "Near":
# within a pixel, in the frame itself or the scene's same place a frame before or after.
MEASURES = {
    "motion": {
        "T on moving": ("share", "temporal", "moving"),
        "T near moving": ("share", "temporal", "near"),
        "T on decider": ("share", "temporal", "deciding"),
        "T points at decider": ("point", "temporal", "deciding"),
        "S on still": ("share", "spatial", "still"),
        "T of all": ("amount", "temporal", ""),
    },
    "appearance": {
        "T on moving": ("share", "temporal", "moving"),
        "T near moving": ("share", "temporal", "near"),
        "S on still": ("share", "spatial", "still"),
        "S on decider": ("share", "spatial", "deciding"),
        "S points at decider": ("point", "spatial", "deciding"),
        "T of all": ("amount", "temporal", ""),
    },
}
ACCOMPANIED = "motion, companion moves"  # clips in which something moves that doesn't decide
MEASURES[ACCOMPANIED] = MEASURES["motion"]


def changes(before: Tensor, x: Tensor, after: Tensor) -> Tensor:
    """How much each pixel changes to the frame before or after, whichever is more, (T, H, W)."""
    return torch.maximum((before - x).abs().sum(0), (after - x).abs().sum(0))


def beside(x: Tensor) -> tuple[Tensor, Tensor]:
    """The frames before and after, (C, T, H, W) each; at the ends the clip's own."""
    return torch.cat([x[:, :1], x[:, :-1]], 1), torch.cat([x[:, 1:], x[:, -1:]], 1)


def others(film: Tensor, x: Tensor, clip: MotionClip, path: CameraPath) -> dict[str, dict[str, Tensor]]:
    """Films that know nothing of frozen clips; those of `CONTROLS` and `ORACLE` nothing of the network either."""
    before, after = beside(x)
    change = changes(before, x, after)
    followed = Panorama(x, path).neighbours()
    part = film * change / change.max().clamp(min=1e-12)
    rng = torch.Generator().manual_seed(clip.index)
    return {
        "plain deep Taylor": {"temporal": film, "spatial": film},
        "relevance × pixel change": {"temporal": part, "spatial": film - part},
        "random": {name: torch.rand(film.shape, generator=rng) for name in ("temporal", "spatial")},
        "change of pixels": {"temporal": change},
        "change of pixels, stabilised": {"temporal": changes(followed[0], x, followed[1])},
        ORACLE: {"temporal": torch.from_numpy(np.array(clip.moving)).float()},
    }


def near(clip: MotionClip) -> Tensor:
    """What moves and where it was a frame ago or will be, with a pixel around it, (T, H, W) bool."""
    moving = torch.from_numpy(np.array(clip.moving)).float()[None]
    before, after = Panorama(moving, CameraPath.of(clip.path)).neighbours()
    swept = torch.maximum(moving, torch.maximum(before, after)) > 0.5
    return F.max_pool2d(swept.float(), 3, 1, 1)[0] > 0


def measured(films: Mapping[str, Tensor], clip: MotionClip, masks: Mapping[str, Tensor]) -> dict[str, float]:
    """The measures of one clip; those that can't be taken (no film, nothing positive or visible) are left out."""
    found = {}
    for name, (what, which, where) in MEASURES[clip.kind].items():
        if which not in films or (what == "amount" and "spatial" not in films):
            continue
        film = films[which]
        up = film.clamp(min=0)
        if what == "amount":
            whole = up.sum() + films["spatial"].clamp(min=0).sum()
            value = float(up.sum() / whole) if whole > 0 else None
        elif what == "share":
            value = float(up[masks[where]].sum() / up.sum()) if up.sum() > 0 else None
        else:
            seen = masks[where].flatten(1).any(1)
            hits = masks[where].flatten(1)[torch.arange(len(film)), film.flatten(1).argmax(1)]
            value = float(hits[seen].float().mean()) if seen.any() else None
        if value is not None:
            found[name] = value
    return found


def corner_error(found: CameraPath, clip: MotionClip) -> float:
    """How far a path puts a corner of the first frame from where it is, at most, in pixels."""
    height, width = clip.frames.shape[1:3]
    corners = np.array([[x, y, 1.0] for x in (0, width - 1) for y in (0, height - 1)])
    gap = (found.maps - CameraPath.of(clip.path).maps) @ corners.T
    return float(np.linalg.norm(gap, axis=1).max())


def split_of(model: nn.Module, clip: MotionClip, chunk: int, wanted: Sequence[str]) -> dict[str, Any]:
    """One line of results, "conserving" among the wanted splits."""
    frames = torch.from_numpy(np.array(clip.frames)).permute(3, 0, 1, 2).float()
    x = (frames - torch.tensor(MEAN).reshape(3, 1, 1, 1))[None]
    masks = {
        name: torch.from_numpy(np.array(getattr(clip, name))) for name in ("moving", "still", "deciding")
    }
    masks["near"] = near(clip)
    line: dict[str, Any] = {
        "index": clip.index, "kind": clip.kind, "label": clip.label, "companion": "circling" in clip.motions,
        "measures": {},
    }  # fmt: skip
    for name, settings in SPLITS.items():
        if name not in wanted:
            continue
        s = relprop.separate_motion(model, x, clip.label, METHOD, chunk=chunk, **settings)
        films = {"temporal": s.temporal[0], "spatial": s.spatial[0]}
        line["measures"][name] = measured(films, clip, masks)
        if name == "conserving":
            line["right"] = int(s.outputs.argmax(1)) == clip.label
            assert s.frozen_targets is not None
            line["frozen right"] = float((s.frozen_targets[0] == clip.label).float().mean())
            assert s.camera is not None
            path = CameraPath.of(s.camera[0])
            line["camera"] = corner_error(path, clip)
            for other, made in others(s.original[0], x[0], clip, path).items():
                line["measures"][other] = measured(made, clip, masks)
    return line


def interval(values: NDArray[np.float64], draws: int = 2000) -> tuple[float, float]:
    """The 95 % percentile interval of the mean over clips."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (draws, len(values)))].mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def cell(values: Sequence[float], sign: str = "") -> str:
    """A mean with its interval, in percent."""
    if not values:
        return "–"
    got = 100 * np.array(values)
    low, high = interval(got)
    return f"{got.mean():{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def report(lines: list[dict[str, Any]], console: Console) -> None:
    """Print the tables."""
    right = [line for line in lines if line["right"]]
    console.print(f"{len(lines)} clips, {len(right)} classified rightly; the tables are about these.")
    errors = np.array([line["camera"] for line in lines])
    console.print(
        f"Camera path: largest error at a corner {np.median(errors):.2f} pixels in the median, {errors.max():.2f} "
        f"at most; exact in {int((errors < 1e-6).sum())} clips."
    )
    for kind, measures in MEASURES.items():
        own = [line for line in right if kind in (line["kind"], ACCOMPANIED)]
        if kind == ACCOMPANIED:
            own = [line for line in own if line["kind"] == "motion" and line["companion"]]
        if own:
            _report_kind(kind, measures, own, console)


def _report_kind(kind: str, measures: Mapping[str, Any], own: list[dict[str, Any]], console: Console) -> None:
    frozen = np.mean([line["frozen right"] for line in own])
    console.print(f"\n{kind}: {len(own)} clips; {frozen:.2f} of their frozen clips keep the class")
    values: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in own:
        for name, found in line["measures"].items():
            for measure, value in found.items():
                values[name][measure][line["index"]] = value

    def gains(name: str, base: str, measure: str) -> list[float]:
        theirs = values[base][measure]
        return [v - theirs[i] for i, v in values[name][measure].items() if i in theirs]

    table = Table("film, in %", *measures)
    for name in list(values):
        table.add_row(name, *(cell(list(values[name][measure].values())) for measure in measures))
    console.print(table)
    better = Table("difference, in points", *measures)
    for base in (*SPLITS, *CONTROLS, ORACLE):
        if base != "conserving" and base in values:
            better.add_row(
                f"conserving less {base}", *(cell(gains("conserving", base, m), "+") for m in measures)
            )
    console.print(better)
    beaten = Table("no better than (interval not above 0)", *measures)
    for name in (name for name in SPLITS if name in values):
        row = []
        for measure in measures:
            found = {base: gains(name, base, measure) for base in (*CONTROLS, ORACLE)}
            known = {base: np.array(got) for base, got in found.items() if got}
            left = [base for base, got in known.items() if not interval(got)[0] > 0]
            row.append("; ".join(left) or ("beats all" if known else "–"))
        beaten.add_row(name, *row)
    console.print(beaten)


def main() -> None:
    """Run, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--camera", default="still", help="still, shake, turn or zoom")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument(
        "--weights", type=Path, help="a C3D state dict (safetensors) in place of the bundled one"
    )
    parser.add_argument("--chunk", type=int, default=8, help="frozen clips that run at once")
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=list(SPLITS), help="which")
    parser.add_argument("--out", type=Path, help="file of results (JSON lines)")
    args = parser.parse_args()
    if args.weights is None:
        model: nn.Module = load().module
    else:
        model = C3D.from_state_dict(load_file(args.weights), size=args.size).eval()
    clips = MotionClips(size=args.size, n=args.clips, seed=args.seed, split="test", camera=args.camera)
    out = args.out or Path("out") / f"motion-truth-{args.seed}-{args.camera}.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = {line["index"] for line in lines}
    console = Console(width=240)
    with out.open("a") as file:
        for i in track(
            [i for i in range(args.clips) if i not in done], "clips", console=Console(stderr=True)
        ):
            lines.append(split_of(model, clips[i], args.chunk, [*args.splits, "conserving"]))
            file.write(json.dumps(lines[-1]) + "\n")
            file.flush()
    report([line for line in lines if line["index"] < args.clips], console)


if __name__ == "__main__":
    main()
