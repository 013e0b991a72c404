"""Find the demo scene and write its PNG: three classes, no difficult object, both models right and sure.

python scripts/pick_demo_scene.py    # prints the candidates, best first; writes the best one's picture
"""

from __future__ import annotations

import argparse

import torch
from PIL import Image

from relprop.datasets import Scenes, demo_image_path
from relprop.models import load, models

SEED = 2024


def main() -> None:
    """Search test scenes by the least sure of all the models' answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--index", type=int, help="write this scene instead of the best one")
    args = parser.parse_args()
    nets = [load(name) for name in models()]
    found: list[tuple[float, int, list[str]]] = []
    for scene in Scenes(n=args.scenes, seed=SEED, split="test").with_distinct(3):
        # Overlap makes a better picture, but every object has to be seen well.
        seen = scene.masks.sum(axis=(1, 2)) / scene.silhouettes.sum(axis=(1, 2))
        if len(scene) != 3 or seen.min() < 0.8 or seen.min() == 1.0:
            continue
        there = torch.from_numpy(scene.labels_multi_hot).bool()
        sure = 1.0
        for net in nets:
            p = net.predict(net.preprocess(Image.fromarray(scene.image)))[0]
            sure = min(sure, float(torch.where(there, p, 1 - p).min()))
        found.append((sure, scene.index, scene.names))
    found.sort(reverse=True)
    for sure, index, names in found[:10]:
        print(f"index {index}: every answer right with at least {sure:.3f}: {', '.join(names)}")
    index = found[0][1] if args.index is None else args.index
    scene = Scenes(n=index + 1, seed=SEED, split="test")[index]
    Image.fromarray(scene.image).save(demo_image_path(), optimize=True)
    print(f"wrote {demo_image_path()}; set _SEED, _INDEX = {SEED}, {index} in relprop/datasets/demo.py")


if __name__ == "__main__":
    main()
