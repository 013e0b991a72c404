"""Does batch norm raise the bias's part of the score? By kind of bias and by depth, for networks with and without.

    RELPROP_ASSETS=... python benchmarks/affine_batch_norm.py
    python benchmarks/affine_batch_norm.py --networks scenes-vgg scenes-resnet pair

The paper sees more bias in networks with batch norm. Measured for the top class of each picture, in float64: bias
ratio b / F and bias share |b| / (|b| + sum |W X|) at the input and at block outputs, and the bias by kind, that of
convolutions and linear layers and that of batch norms.

Networks of different architectures, data and training can't tell what batch norm does. `pair` can, for one small
architecture: networks trained on the same scenes with the same seeds, which differ in batch norm alone. The
bundled scenes-vgg was trained with batch norm, which was then folded into its convolutions: folding changes whose
bias it is, never how much. The CIFAR-10 networks are shown ImageNet pictures scaled to 32 x 32, which are no CIFAR
pictures. Results go to a file a network, picture by picture; a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks import affine_pair
from benchmarks.affine_common import cifar_resnet, imagenet, interval, measured, quartiles, squeezenet
from benchmarks.common import markdown
from relprop import models
from relprop.datasets import Scenes
from relprop.models.pictures import read_picture
from relprop.piecewise import affine, bias_ratio_by_depth

NETWORKS = ("scenes-vgg", "scenes-resnet", "squeezenet", "resnet-20", "resnet-56", "pair")
NORMS = {
    "scenes-vgg": "folded", "scenes-resnet": "yes", "squeezenet": "no", "resnet-20": "yes", "resnet-56": "yes",
}  # fmt: skip
KINDS = ("bias", "batch norm")
# By default every block's output; of networks with many blocks their stages.
STAGES = {"resnet-20": ["layer1", "layer2", "layer3"], "resnet-56": ["layer1", "layer2", "layer3"]}

Picture = Callable[[int], Tensor]


def biases(model: nn.Module, x: Tensor, layers: Sequence[str] | None = None) -> dict[str, Any]:
    """The record of one picture (1, C, H, W) for its top class; amounts by kind are in units of F."""
    form = affine(model, x, owners=True)
    score = float(form.score)
    amounts: dict[str, list[float]] = defaultdict(list)
    for owner in form.owners or ():
        amounts[owner.kind].append(float(owner.amount))
    depth = bias_ratio_by_depth(model, x, layers=layers)
    return {
        "score": score,
        "residual": float(form.residual) if form.residual is not None else None,
        "kinds": {kind: sum(values) / score for kind, values in amounts.items()},
        "sizes": {kind: sum(map(abs, values)) / abs(score) for kind, values in amounts.items()},
        "ratio": dict(zip(depth.layers, depth.ratio[0].tolist(), strict=True)),
        "share": dict(zip(depth.layers, depth.share[0].tolist(), strict=True)),
    }


def source(name: str) -> tuple[nn.Module, Picture]:
    """A network and its pictures."""
    if name.startswith("scenes"):
        bundled = models.load(name)
        scenes = Scenes(size=bundled.input_size, n=200, seed=11, split="test")
        return bundled.module.requires_grad_(False), lambda i: bundled.preprocess(
            Image.fromarray(scenes[i].image)
        )
    assets = Path(os.environ["RELPROP_ASSETS"])
    paths = imagenet(assets, 200)
    if name == "squeezenet":
        model, prepare = squeezenet(assets)
        return model, lambda i: prepare(read_picture(paths[i]))
    model, prepare = cifar_resnet(assets, int(name.removeprefix("resnet-")))
    return model, lambda i: prepare(read_picture(paths[i]))


def report(found: dict[str, list[dict[str, Any]]], norms: dict[str, str]) -> str:
    """The tables: the input by kind, then every depth."""
    heads = [f"{kind}, {text}" for text in ("sum by F", "sum of sizes by F") for kind in KINDS]
    rows, depths = [], []
    for name, records in found.items():
        at = {key: [r[key]["input"] for r in records] for key in ("ratio", "share")}
        parts = [[r[key].get(kind, 0.0) for r in records] for key in ("kinds", "sizes") for kind in KINDS]
        rows.append([
            name, norms[name], str(len(records)), quartiles(at["share"]), quartiles(at["ratio"]),
            *map(quartiles, parts), f"{max(r['residual'] for r in records):.0e}",
        ])  # fmt: skip
        for layer in records[0]["ratio"]:
            cells = [quartiles([r[key][layer] for r in records]) for key in ("share", "ratio")]
            depths.append([name, layer, *cells])
    return "\n\n".join([
        "At the input, median [quartiles] over pictures:",
        markdown(["network", "batch norm", "pictures", "bias share", "b/F", *heads, "worst residual"], rows),
        "By depth:",
        markdown(["network", "at", "bias share", "b/F"], depths),
    ])  # fmt: skip


def pairs_report(found: dict[str, list[dict[str, Any]]], seeds: int) -> str:
    """With less without batch norm, over the same scenes, seed by seed."""
    rows = []
    for seed in range(seeds):
        cells = []
        for key, size in (("share", abs), ("ratio", abs)):
            with_norm, plain = (found[f"{kind}-{seed}"] for kind in ("norm", "plain"))
            gaps = [
                size(a[key]["input"]) - size(b[key]["input"]) for a, b in zip(with_norm, plain, strict=True)
            ]
            mean, low, high = interval(gaps)
            cells += [f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", quartiles(gaps, "+.3f")]
        rows.append([str(seed), *cells])
    head = ["seed", *[t for s in ("bias share", "size of b/F") for t in (f"{s}, mean", "median [quartiles]")]]
    return f"With less without batch norm, at the input, over the same scenes:\n\n{markdown(head, rows)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3, help="of the pairs")
    parser.add_argument("--epochs", type=int, default=12, help="of the pairs' training")
    parser.add_argument("--out", type=Path, default=Path("out/affine-batch-norm"), help="folder")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    keys = [str(i) for i in range(min(args.pictures, 200))]

    def run(name: str, model: nn.Module, picture: Picture, folder: Path = args.out) -> list[dict[str, Any]]:
        model.double()
        layers = STAGES.get(name)

        def measure(key: str) -> dict[str, Any]:
            return biases(model, picture(int(key)).double(), layers)

        return measured(folder / f"{name}.jsonl", {"network": name, "layers": layers}, keys, measure, name)

    single = [name for name in args.networks if name != "pair"]
    if single:
        print(report({name: run(name, *source(name)) for name in single}, NORMS))
    if "pair" in args.networks:
        found, norms, scores = {}, {}, []
        folder = args.out / f"pair-{args.epochs}"
        inputs, _ = affine_pair.rendered(folder, "test", 200, 11)
        for seed in range(args.seeds):
            for norm in (False, True):
                name = f"{'norm' if norm else 'plain'}-{seed}"
                model, score = affine_pair.trained(folder, norm, seed, args.epochs)
                scores.append([name, f"{score:.3f}"])
                found[name] = run(name, model, lambda i: inputs[i : i + 1], folder)
                norms[name] = "yes" if norm else "no"
        print(markdown(["network", "mAP on validation scenes"], scores))
        print(report(found, norms))
        print(pairs_report(found, args.seeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
