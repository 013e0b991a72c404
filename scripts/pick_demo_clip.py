"""Find the demo clip and write its GIF: a motion decides, something else moves too, and the network is sure.

python scripts/pick_demo_clip.py    # prints the candidates, best first; writes the best one's film
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from relprop.datasets import MotionClips, demo_clip_path
from relprop.models.bundled_clips import load
from relprop.models.sources import load_model
from relprop.video.clip import read_clip
from relprop.viz.film import save_gif

SEED = 2024
FPS = 8


def main() -> None:
    """Search test clips by how sure the network is of the film, as it comes back from its file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--index", type=int, help="write this clip instead of the best one")
    args = parser.parse_args()
    network, sampling = load(), load_model("motion-c3d").sampling
    assert sampling is not None
    clips = MotionClips(n=max(args.clips, (args.index or 0) + 1), seed=SEED, split="test")
    found: list[tuple[float, int, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for clip in clips:
            if clip.kind != "motion" or "circling" not in clip.motions:
                continue
            # Every object has to be seen well all the time, the still one too.
            if (clip.masks.sum((2, 3)) < 0.8 * clip.silhouettes.sum((2, 3))).any():
                continue
            film = read_clip(save_gif(clip.frames, Path(folder) / "clip.gif", FPS), sampling)
            with torch.no_grad():
                sure = float(network.module(film.x).softmax(1)[0, clip.label])
            found.append((sure, clip.index, clip.name))
    found.sort(reverse=True)
    for sure, index, name in found[:10]:
        print(f"index {index}: {name} with {sure:.4f}")
    index = found[0][1] if args.index is None else args.index
    save_gif(clips[index].frames, demo_clip_path(), FPS)
    print(
        f"wrote {demo_clip_path()}; set _CLIP_SEED, _CLIP_INDEX = {SEED}, {index} in relprop/datasets/demo.py"
    )


if __name__ == "__main__":
    main()
