"""What other weights of the bundled networks change: their scores, their answers and their maps.

    git worktree add ../before COMMIT    # a state whose weights were others
    python scripts/compare_weights.py ../before/src/relprop/models/weights

Scenes and clips are drawn ones of a seed that no training and no card used. A map's change is the sum of |change|
by the sum of |map|. Prints a row for each network.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import relprop
from relprop.datasets import MotionClips, Scenes
from relprop.detectors import Detection
from relprop.detectors import load as load_detector
from relprop.detectors.boxes import iou
from relprop.methods.facts import Facts, remember
from relprop.models.bundled_clips import load as load_clips

SEED = 4242
COLUMNS = (
    "network | scores moved, mean | at most | of a picture's largest, at most | answers that changed | maps"
)


def with_weights(module: nn.Module, file: Path, facts: Facts | None = None) -> nn.Module:
    """The same network with the weights of a file, float32, of which methods know the same."""
    other = copy.deepcopy(module)
    other.load_state_dict({key: t.to(other.state_dict()[key].dtype) for key, t in load_file(file).items()})
    if facts is not None:
        remember(other, facts)
    return other


@torch.no_grad()
def scores(module: nn.Module, x: Tensor) -> Tensor:
    """First output of a network, 20 inputs at a time, a row an input."""
    parts = [module(part) for part in x.split(20)]
    return torch.cat([part[0] if isinstance(part, tuple) else part for part in parts]).flatten(1)


def moved(before: Tensor, after: Tensor) -> str:
    """How far scores are from each other."""
    gap, largest = (after - before).abs(), before.abs().amax(1, keepdim=True)
    return f"{gap.mean():.4f} | {gap.max():.3f} | {100 * (gap / largest).max():.2f} %"


def maps(pair: Sequence[nn.Module], x: Tensor, targets: Tensor) -> str:
    """How far maps of `lrp-composite` are from each other."""
    heats = [relprop.explain(module, x, targets, "lrp-composite").relevance for module in pair]
    return changed(*(heat.flatten(1) for heat in heats))


def changed(before: Tensor, after: Tensor) -> str:
    """Mean and largest change of maps, a row a map."""
    share = 100 * (after - before).abs().sum(1) / before.abs().sum(1)
    return f"{share.mean():.2f} %, at most {share.max():.2f}"


def classifier(name: str, file: Path, count: int, mapped: int) -> str:
    """A row: answers are each class's yes or no."""
    model = relprop.models.load(name)
    scenes = Scenes(size=model.input_size, n=count, seed=SEED, split="test")
    x = torch.cat([model.preprocess(Image.fromarray(scene.image)) for scene in scenes])
    pair = with_weights(model.module, file, model.facts), model.module
    before, after = (scores(module, x) for module in pair)
    other = int(((before > 0) != (after > 0)).sum())
    drawn = maps(pair, x[:mapped], before[:mapped].argmax(1))
    return f"{moved(before, after)} | {other} of {before.numel()} | {drawn}"


def clips(file: Path, count: int, mapped: int) -> str:
    """A row: answers are the clips' classes."""
    model = load_clips()
    drawn = MotionClips(n=count, seed=SEED, split="test")
    x = torch.cat([model.preprocess(clip.frames) for clip in drawn])
    pair = with_weights(model.module, file, model.facts), model.module
    before, after = (scores(module, x) for module in pair)
    other = int((before.argmax(1) != after.argmax(1)).sum())
    heats = maps(pair, x[:mapped], before[:mapped].argmax(1))
    return f"{moved(before, after)} | {other} of {count} | {heats}"


def detector(file: Path, count: int, mapped: int) -> str:
    """A row: answers are detections, the same where class and place are (an IoU of 0.9)."""
    after = load_detector()
    before = replace(after, raw=with_weights(after.raw, file))
    scenes = [scene.image for scene in Scenes(n=count, seed=SEED, split="test")]
    x = torch.cat([after.prepared(scene).x for scene in scenes])
    gaps = moved(scores(before.raw, x), scores(after.raw, x))
    lost = found = 0
    heats: list[tuple[Tensor, Tensor]] = []
    for scene in scenes:
        seen = before(scene), after(scene)
        found += len(seen[0])
        lost += sum(twin(d, seen[1]) is None for d in seen[0]) + sum(
            twin(d, seen[0]) is None for d in seen[1]
        )
        for d in seen[0]:
            same = twin(d, seen[1])
            if len(heats) < mapped and same is not None and same.anchor == d.anchor:
                heats.append(
                    tuple(  # type: ignore[arg-type]
                        relprop.explain_detection(net, scene, one, of=["class"]).relevance.flatten()
                        for net, one in ((before, d), (after, same))
                    )
                )
    drawn = changed(*(torch.stack(side) for side in zip(*heats, strict=True)))
    return f"{gaps} | {lost} of {found} | {drawn}"


def twin(wanted: Detection, among: Iterator[Detection] | Sequence[Detection]) -> Detection | None:
    """The same detection among others."""
    for other in among:
        if other.label == wanted.label and float(iou(wanted.box[None], other.box[None])) > 0.9:
            return other
    return None


def main() -> None:
    """Print a row for each network whose weights lie in the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the other weights")
    parser.add_argument("--scenes", type=int, default=400, help="scenes, or clips")
    parser.add_argument("--maps", type=int, default=40, help="of them explained")
    parser.add_argument("--only", nargs="+", help="networks")
    args = parser.parse_args()
    rows: dict[str, Callable[[Path], str]] = {
        name: lambda file, name=name: classifier(name, file, args.scenes, args.maps)  # type: ignore[misc]
        for name in relprop.models.models()
    }
    rows["scenes-ssd"] = lambda file: detector(file, args.scenes, args.maps)
    rows["motion-c3d"] = lambda file: clips(file, args.scenes, args.maps)
    print(COLUMNS)
    for name in args.only or rows:
        print(f"{name} | {rows[name](args.folder / f'{name}.safetensors')}", flush=True)


if __name__ == "__main__":
    main()
