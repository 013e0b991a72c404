"""Does the conserving split keep what it splits? Spatial + temporal less original, on three networks.

    python benchmarks/motion_conservation.py --clips 100

Clips of `relprop.datasets.motion`, every second one through a shaking camera, go through the bundled C3D and
through torchvision's R3D-18 and R(2+1)D-18 with seeded random weights, for the class that each network likes best.
A still clip (one frame, repeated) follows every tenth. Results go to a file clip by clip; a run that was stopped
goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import relprop
from benchmarks.common import build
from relprop.datasets.motion import MotionClip, MotionClips
from relprop.models.bundled_clips import load

# Of torchvision's presets for clips, in 0..1.
MEAN, STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
RANDOM = {"R3D-18": "r3d_18", "R(2+1)D-18": "r2plus1d_18"}


def networks(size: int) -> dict[str, tuple[nn.Module, relprop.DeepTaylor, Any]]:
    """Name -> network, method with the box of its pixels, and what makes a clip its input."""
    bundled = load()
    low, high = relprop.pixel_bounds(bundled.mean, (1, 1, 1), 0, 255)
    found: dict[str, tuple[nn.Module, relprop.DeepTaylor, Any]] = {
        "bundled C3D": (
            bundled.module,
            relprop.DeepTaylor(bounds=(low, high), seed="one"),
            bundled.preprocess,
        )
    }

    def normalised(frames: np.ndarray) -> Tensor:
        x = torch.from_numpy(frames.copy()).permute(3, 0, 1, 2).float() / 255
        mean, std = (torch.tensor(v).reshape(3, 1, 1, 1) for v in (MEAN, STD))
        return ((x - mean) / std)[None]

    box = relprop.DeepTaylor(bounds=relprop.pixel_bounds(MEAN, STD), seed="one")
    for name, constructor in RANDOM.items():
        found[name] = (build(constructor, (3, 16, size, size)), box, normalised)
    return found


def kept(model: nn.Module, x: Tensor, method: relprop.DeepTaylor, chunk: int) -> dict[str, Any]:
    """The totals of one clip, and the worst imbalance at any operator."""
    s = relprop.separate_motion(model, x, None, method, mode="conserving", chunk=chunk)
    films = {"original": s.original, "spatial": s.spatial, "temporal": s.temporal}
    return {
        **{name: float(film.double().sum()) for name, film in films.items()},
        "largest temporal": float(s.temporal.abs().max()),
        "least": min(float(film.min()) for film in films.values()),
        "largest error": max(ledger.max_error for ledger in s.ledgers.values()),
        "closes": all(ledger.closes for ledger in s.ledgers.values()),
    }


def line_of(model: nn.Module, method: relprop.DeepTaylor, prepare: Any, clip: MotionClip, chunk: int) -> dict:
    """One line of results: the clip and, for every tenth, one that stands still."""
    line = {
        "index": clip.index,
        "shake": clip.shake,
        "clip": kept(model, prepare(clip.frames), method, chunk),
    }
    if clip.index % 10 == 0:
        still = np.repeat(clip.frames[:1], len(clip.frames), 0)
        line["still"] = kept(model, prepare(still), method, chunk)
    return line


def report(lines: list[dict[str, Any]], console: Console) -> None:
    """Print the table."""
    table = Table(
        "network", "clips", "Σ original", "Σ temporal / Σ original: least, mean, most",
        "largest |Σ S + Σ T − Σ original| / Σ original", "largest error at an operator", "all close",
        "least value", "still clips", "largest |temporal| in them",
    )  # fmt: skip
    for name in dict.fromkeys(line["network"] for line in lines):
        own = [line for line in lines if line["network"] == name]
        clips, still = [line["clip"] for line in own], [line["still"] for line in own if "still" in line]
        share = np.array([c["temporal"] / c["original"] for c in clips])
        gap = [abs(c["spatial"] + c["temporal"] - c["original"]) / c["original"] for c in clips]
        total = np.array([c["original"] for c in clips])
        table.add_row(
            name,
            str(len(own)),
            f"{total.min():.4f} to {total.max():.4f}",
            f"{share.min():.3f}, {share.mean():.3f}, {share.max():.3f}",
            f"{max(gap):.1e}",
            f"{max(c['largest error'] for c in clips):.1e}",
            str(all(c["closes"] for c in clips)),
            f"{min(c['least'] for c in clips):.1e}",
            str(len(still)),
            f"{max((c['largest temporal'] for c in still), default=float('nan')):g}",
        )
    console.print(table)


def main() -> None:
    """Run, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--seed", type=int, default=47)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--chunk", type=int, default=8, help="frozen clips that run at once")
    parser.add_argument("--out", type=Path, default=Path("out/motion-conservation.jsonl"))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    done = {(line["network"], line["index"]) for line in lines}
    worlds = [
        MotionClips(size=args.size, n=args.clips, seed=args.seed, split="test", shake=shake)
        for shake in (False, True)
    ]
    console = Console(width=220)
    with args.out.open("a") as file:
        for name, (model, method, prepare) in networks(args.size).items():
            left = [i for i in range(args.clips) if (name, i) not in done]
            for i in track(left, name, console=Console(stderr=True)):
                line = line_of(model, method, prepare, worlds[i % 2][i], args.chunk)
                lines.append({"network": name, **line})
                file.write(json.dumps(lines[-1]) + "\n")
                file.flush()
    report([line for line in lines if line["index"] < args.clips], console)


if __name__ == "__main__":
    main()
