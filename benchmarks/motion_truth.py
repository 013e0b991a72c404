"""Does temporal relevance lie on what moves, and spatial relevance on what is still? On clips with known truth.

    python benchmarks/motion_truth.py --clips 300
    python benchmarks/motion_truth.py --clips 300 --shake

Clips of `relprop.datasets.motion` are explained through the bundled C3D by deep Taylor, for their true class, and
split in every mode. Results go to a file clip by clip; a run that was stopped goes on where it was. Printed are
means over clips with 95 % intervals, and the differences to the naive split over the same clips.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from safetensors.torch import load_file
from torch import Tensor, nn

import relprop
from relprop.datasets.motion import MotionClip, MotionClips
from relprop.models.bundled_clips import load
from relprop.video import C3D

MEAN = (90.0, 98.0, 102.0)
METHOD = relprop.DeepTaylor(
    bounds=(torch.tensor([-m for m in MEAN]), torch.tensor([255 - m for m in MEAN])), seed="one"
)
SPLITS: dict[str, dict[str, Any]] = {
    "naive": {"mode": "naive"},
    "naive, authors' script": {"mode": "naive", "slice": "first", "normalise": "maxabs"},
    "selective": {"mode": "selective"},
    "conserving": {"mode": "conserving"},
}
# Kind of class -> what is measured. "T" is the temporal film, "S" the spatial one; positive parts alone count in
# shares; a point is the strongest place of a frame, and counts in frames where the object can be seen.
MEASURES = {
    "motion": {
        "T on moving": ("share", "temporal", "moving"),
        "T on decider": ("share", "temporal", "deciding"),
        "T points at decider": ("point", "temporal", "deciding"),
        "S on still": ("share", "spatial", "still"),
        "T of all": ("amount", "temporal", ""),
    },
    "appearance": {
        "T on moving": ("share", "temporal", "moving"),
        "S on still": ("share", "spatial", "still"),
        "S on decider": ("share", "spatial", "deciding"),
        "S points at decider": ("point", "spatial", "deciding"),
        "T of all": ("amount", "temporal", ""),
    },
}


def controls(film: Tensor, x: Tensor) -> dict[str, dict[str, Tensor]]:
    """Films that know nothing of frozen clips: plain relevance, and relevance times the pixel's own change."""
    step = (x[:, 1:] - x[:, :-1]).abs().sum(0)
    change = torch.zeros_like(film)
    change[1:] = step
    change[:-1] = torch.maximum(change[:-1], step)
    part = film * change / change.max().clamp(min=1e-12)
    return {
        "plain deep Taylor": {"temporal": film, "spatial": film},
        "relevance × pixel change": {"temporal": part, "spatial": film - part},
    }


def measured(films: dict[str, Tensor], clip: MotionClip) -> dict[str, float]:
    """The measures of one clip; those that can't be taken (nothing positive, nothing visible) are left out."""
    found = {}
    for name, (what, which, where) in MEASURES[clip.kind].items():
        film = films[which]
        up = film.clamp(min=0)
        if what == "amount":
            whole = up.sum() + films["spatial"].clamp(min=0).sum()
            value = float(up.sum() / whole) if whole > 0 else None
        else:
            mask = torch.from_numpy(np.array(getattr(clip, where)))
            if what == "share":
                value = float(up[mask].sum() / up.sum()) if up.sum() > 0 else None
            else:
                seen = mask.flatten(1).any(1)
                hits = mask.flatten(1)[torch.arange(len(film)), film.flatten(1).argmax(1)]
                value = float(hits[seen].float().mean()) if seen.any() else None
        if value is not None:
            found[name] = value
    return found


def split_of(model: nn.Module, clip: MotionClip, chunk: int) -> dict[str, Any]:
    """One line of results."""
    frames = torch.from_numpy(np.array(clip.frames)).permute(3, 0, 1, 2).float()
    x = (frames - torch.tensor(MEAN).reshape(3, 1, 1, 1))[None]
    line: dict[str, Any] = {"index": clip.index, "kind": clip.kind, "label": clip.label, "measures": {}}
    for name, settings in SPLITS.items():
        s = relprop.separate_motion(model, x, clip.label, METHOD, chunk=chunk, **settings)
        films = {"temporal": s.temporal[0], "spatial": s.spatial[0]}
        line["measures"][name] = measured(films, clip)
        if name == "naive":
            line["right"] = int(s.outputs.argmax(1)) == clip.label
            assert s.frozen_targets is not None
            line["frozen right"] = float((s.frozen_targets[0] == clip.label).float().mean())
            for other, made in controls(s.original[0], x[0]).items():
                line["measures"][other] = measured(made, clip)
    return line


def interval(values: NDArray[np.float64], draws: int = 2000) -> tuple[float, float]:
    """The 95 % percentile interval of the mean over clips."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (draws, len(values)))].mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def report(lines: list[dict[str, Any]], console: Console) -> None:
    """Print the tables."""
    right = [line for line in lines if line["right"]]
    console.print(f"{len(lines)} clips, {len(right)} classified rightly; the tables are about these.")
    for kind, measures in MEASURES.items():
        own = [line for line in right if line["kind"] == kind]
        if not own:
            continue
        frozen = np.mean([line["frozen right"] for line in own])
        console.print(
            f"\n{kind} classes: {len(own)} clips; {frozen:.2f} of their frozen clips keep the class"
        )
        table = Table("split", *measures)
        better = Table("less naive", *measures)
        values: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
        for line in own:
            for name, found in line["measures"].items():
                for measure, value in found.items():
                    values[name][measure][line["index"]] = value
        for name, found in values.items():
            cells, gains = [], []
            for measure in measures:
                got = np.array(list(found[measure].values()))
                low, high = interval(got)
                cells.append(f"{got.mean():.3f} [{low:.3f}, {high:.3f}]")
                base = values["naive"][measure]
                both = np.array([v - base[i] for i, v in found[measure].items() if i in base])
                low, high = interval(both)
                gains.append(f"{both.mean():+.3f} [{low:+.3f}, {high:+.3f}]")
            table.add_row(name, *cells)
            better.add_row(name, *gains)
        console.print(table)
        console.print(better)


def main() -> None:
    """Run, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--shake", action="store_true", help="the camera shakes")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument(
        "--weights", type=Path, help="a C3D state dict (safetensors) in place of the bundled one"
    )
    parser.add_argument("--chunk", type=int, default=8, help="frozen clips that run at once")
    parser.add_argument("--out", type=Path, help="file of results (JSON lines)")
    args = parser.parse_args()
    if args.weights is None:
        model: nn.Module = load().module
    else:
        model = C3D.from_state_dict(load_file(args.weights), size=args.size).eval()
    clips = MotionClips(size=args.size, n=args.clips, seed=args.seed, split="test", shake=args.shake)
    name = f"motion-truth-{args.seed}{'-shake' if args.shake else ''}.jsonl"
    out = args.out or Path("out") / name
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = {line["index"] for line in lines}
    console = Console(width=200)
    with out.open("a") as file:
        for i in track(
            [i for i in range(args.clips) if i not in done], "clips", console=Console(stderr=True)
        ):
            lines.append(split_of(model, clips[i], args.chunk))
            file.write(json.dumps(lines[-1]) + "\n")
            file.flush()
    report([line for line in lines if line["index"] < args.clips], console)


if __name__ == "__main__":
    main()
