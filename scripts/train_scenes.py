"""Train a bundled classifier on rendered scenes, measure it on unseen ones, write its weights and card.

    python scripts/train_scenes.py --model scenes-vgg
    python scripts/train_scenes.py --model scenes-resnet
    python scripts/train_scenes.py --model scenes-vit
    python scripts/train_scenes.py --model scenes-vit --stored    # measure and write again, without training

Scenes are rendered once to a file in the cache folder. A stopped run goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from stored import provenance, rounded, save_card, save_weights, stored
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils.fusion import fuse_conv_bn_eval

import relprop
from relprop.catalogue import MODELS
from relprop.datasets import CLASSES, Scene, Scenes
from relprop.models.networks import SceneVGG
from relprop.models.scoring import mean_average_precision
from relprop.registry import slug

SIZE = 112
MEAN, STD = (0.40, 0.40, 0.38), (0.22, 0.22, 0.22)
WEIGHTS = Path(relprop.__file__).parent / "models" / "weights"
# Test scenes come from another split and another seed than training scenes.
TRAIN_SEED, TEST_SEED = 0, 2024
# What one network is trained with in the place of the usual settings.
OWN = {"scenes-vit": {"epochs": 14, "rate": 1e-3}}


def progress() -> Progress:
    """Bar with counts, time left and one line of text."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[note]}"))


Truth = Callable[[Scene], NDArray[np.float32]]


def multi_hot(scene: Scene) -> NDArray[np.float32]:
    """Which classes a scene shows, (8,) of 0 and 1."""
    return scene.labels_multi_hot


def _render_block(
    job: tuple[str, int, int, int, int, Truth],
) -> tuple[int, NDArray[np.uint8], NDArray[np.float32]]:
    split, seed, total, start, stop, truth = job
    part = list(Scenes(size=SIZE, n=total, seed=seed, split=split)[start:stop])
    return start, np.stack([s.image for s in part]), np.stack([truth(s) for s in part])


def rendered(
    cache: Path, split: str, seed: int, n: int, workers: int, truth: Truth = multi_hot
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return (n, SIZE, SIZE, 3) pictures as a memory map and `truth` of each; render them where missing."""
    # The first picture's hash tells pictures of another version of the renderer apart.
    first = Scenes(size=SIZE, n=1, seed=seed, split=split)[0]
    version = hashlib.sha256(first.image.tobytes()).hexdigest()[:8]
    stem = cache / f"{split}-{SIZE}-{seed}-{n}-{version}"
    pictures, told = stem.with_suffix(".npy"), stem.with_suffix(f".{truth.__name__}.npy")
    if not told.exists() or not pictures.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = pictures.with_suffix(f".{os.getpid()}.partial")
        images = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(n, SIZE, SIZE, 3))
        truths = np.zeros((n, *truth(first).shape), dtype=np.float32)
        jobs = [(split, seed, n, start, min(start + 100, n), truth) for start in range(0, n, 100)]
        with progress() as bar, ProcessPoolExecutor(workers) as pool:
            task = bar.add_task(f"render {split}", total=n, note="")
            for start, block, block_truth in pool.map(_render_block, jobs):
                images[start : start + len(block)] = block
                truths[start : start + len(block)] = block_truth
                bar.advance(task, len(block))
        images.flush()
        partial.replace(pictures)
        temporary = told.with_suffix(f".{os.getpid()}.npy")
        np.save(temporary, truths)
        temporary.replace(told)
    return np.load(pictures, mmap_mode="r"), np.load(told)


def to_input(images: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 to normalised (N, 3, H, W), channels last in memory."""
    x = torch.from_numpy(np.array(images)).float().div_(255.0)
    return ((x - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)


def with_norms(features: nn.Sequential) -> nn.Sequential:
    """Put a batch norm after each convolution: conv1_1, bn1_1, relu1_1 and so on."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for label, layer in features.named_children():
        layers[label] = layer
        if isinstance(layer, nn.Conv2d):
            layers[label.replace("conv", "bn")] = nn.BatchNorm2d(layer.out_channels)
    return nn.Sequential(layers)


def fold_norms(trained: nn.Sequential, plain: nn.Sequential) -> None:
    """Fold those batch norms into the convolutions and copy the result to the form without them."""
    for label, layer in trained.named_children():
        if isinstance(layer, nn.Conv2d):
            norm = trained.get_submodule(label.replace("conv", "bn"))
            fused = fuse_conv_bn_eval(layer, cast(nn.BatchNorm2d, norm))
            plain.get_submodule(label).load_state_dict(fused.state_dict())


def build(name: str) -> nn.Module:
    """Build the form that is trained: the VGG-like network gets a batch norm after each convolution."""
    model = MODELS.find(name)(len(CLASSES))
    if isinstance(model, SceneVGG):
        model.features = with_norms(model.features)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def released(name: str, trained: nn.Module) -> nn.Module:
    """Return the form that is released: those batch norms are folded into the convolutions."""
    trained.eval()
    model = MODELS.find(name)(len(CLASSES)).eval()
    if isinstance(model, SceneVGG) and isinstance(trained, SceneVGG):
        fold_norms(trained.features, model.features)
        model.classifier.load_state_dict(trained.classifier.state_dict())
    else:
        model.load_state_dict(trained.state_dict())
    return model


@torch.no_grad()
def predict(model: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits (N, 8) in float32, evaluation mode."""
    model.eval()
    parts = [model(to_input(images[i : i + 100])) for i in range(0, len(images), 100)]
    return np.asarray(torch.cat(parts).numpy())


def train(args: argparse.Namespace, checkpoint: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Train a classifier with binary cross-entropy."""
    images, hot = rendered(args.cache, "train", TRAIN_SEED, args.scenes, args.workers)
    val_images, val_hot = rendered(args.cache, "val", TRAIN_SEED, args.val_scenes, args.workers)
    torch.manual_seed(args.seed)
    model = build(args.model)

    def loss(rows: NDArray[np.int64], turn: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(turned(to_input(images[rows]), turn))
        return binary_cross_entropy_with_logits(logits.float(), torch.from_numpy(hot[rows]))

    return model, fit(
        args, model, checkpoint, loss, lambda: mean_average_precision(predict(model, val_images), val_hot)[0]
    )


def turned(x: Tensor, turn: int) -> Tensor:
    """Turn 0 to 7: scenes have no preferred direction, so a turned or mirrored one is as good a scene."""
    x = torch.rot90(x, turn % 4, (2, 3))
    x = x.flip(3) if turn >= 4 else x
    return x.contiguous(memory_format=torch.channels_last)


def fit(
    args: argparse.Namespace,
    model: nn.Module,
    checkpoint: Path,
    loss_of: Callable[[NDArray[np.int64], int], Tensor],
    score_of: Callable[[], float],
    enough: float = 0.0,
) -> dict[str, Any]:
    """Train with AdamW, warm-up and cosine decay; one checkpoint an epoch.

    `loss_of(rows, turn)` is the loss of those training scenes, turned; `score_of()` the mAP on validation
    scenes. It ends after the epochs, or after the first one whose mean loss is below `enough`. Return the last
    checkpoint's content.
    """
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=args.rate)
    steps = args.scenes // args.batch
    state: dict[str, Any] = {"epoch": 0, "seconds": 0.0, "history": []}
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["settings"] != settings(args):
            raise SystemExit(f"{checkpoint} is of a run with other settings; move it away or repeat those.")
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        print(f"going on after epoch {state['epoch']}")
    for epoch in range(state["epoch"], args.epochs):
        if state["history"] and state["history"][-1][0] < enough:
            break
        begin = time.monotonic()
        model.train()
        # All that is random in an epoch comes from its number, so a resumed run equals an unbroken one.
        torch.manual_seed(args.seed * 10_007 + epoch + 1)
        order = torch.randperm(args.scenes).numpy()
        turns = torch.randint(0, 8, (steps,)).tolist()
        mean_loss = 0.0
        with progress() as bar:
            task = bar.add_task(f"{args.model} epoch {epoch + 1}/{args.epochs}", total=steps, note="")
            for step in range(steps):
                done = (epoch * steps + step) / (args.epochs * steps)
                rate = args.rate * min(1.0, done / 0.05) * (0.5 + 0.5 * math.cos(math.pi * done))
                for group in optimiser.param_groups:
                    group["lr"] = rate + 1e-6
                rows = np.sort(order[step * args.batch : (step + 1) * args.batch])
                loss = loss_of(rows, turns[step])
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                mean_loss += loss.item() / steps
                bar.update(task, advance=1, note=f"loss {loss.item():.4f}")
        score = score_of()
        state["seconds"] += time.monotonic() - begin
        state["epoch"] = epoch + 1
        state["history"].append([round(mean_loss, 5), round(score, 5)])
        print(
            f"epoch {epoch + 1}: loss {mean_loss:.4f}, val mAP {score:.4f}, {state['seconds']:.0f} s",
            flush=True,
        )
        state |= {
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "settings": settings(args),
        }
        temporary = checkpoint.with_suffix(".partial")
        torch.save(state, temporary)
        temporary.replace(checkpoint)
        if epoch + 1 == args.stop_after:
            raise SystemExit(0)
    return state


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What decides the weights."""
    return {name: getattr(args, name) for name in ("model", "scenes", "epochs", "batch", "rate", "seed")}


def training_arguments(
    parser: argparse.ArgumentParser, *, epochs: int, batch: int, rate: float, workers: int, cache: str
) -> None:
    """Add the options of every training script, with its defaults."""
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--stop-after", type=int, help="leave after this epoch's checkpoint; run again to go on"
    )
    parser.add_argument("--workers", type=int, default=workers, help="processes that render")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / cache)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument(
        "--stored",
        action="store_true",
        help="train nothing: round the weights that lie in --out, measure them, write them and their card again",
    )


def made(args: argparse.Namespace, state: dict[str, Any]) -> dict[str, Any]:
    """What the card says of the training."""
    return {
        "training": {
            "command": f"python scripts/train_scenes.py --model {args.model}",
            "settings": settings(args),
            "split": "train",
            "data_seed": TRAIN_SEED,
            "precision": "bfloat16 autocast, float32 weights",
            "batch_norm": "folded into the convolutions afterwards" if args.model == "scenes-vgg" else "kept",
            "threads": args.threads,
            "minutes": round(state["seconds"] / 60, 1),
            "loss_and_val_mAP_per_epoch": state["history"],
        },
        **provenance("mAP"),
    }


def write(args: argparse.Namespace, name: str, model: nn.Module, training: dict[str, Any]) -> None:
    """Measure a rounded network on test scenes, then write weights and card."""
    images, hot = rendered(args.cache, "test", TEST_SEED, args.test_scenes, args.workers)
    score, each = mean_average_precision(predict(model, images), hot)
    card = {
        "name": name,
        "classes": CLASSES,
        "multi_label": True,
        "input_size": SIZE,
        "mean": MEAN,
        "std": STD,
        **save_weights(args.out, name, model),
        "test": {
            "mAP": score,
            "AP": dict(zip(CLASSES, each, strict=True)),
            "split": "test",
            "seed": TEST_SEED,
            "scenes": args.test_scenes,
            "definition": "mean over classes of average precision, not interpolated; float32, CPU",
        },
        **training,
    }
    save_card(args.out, name, card)
    print(f"{name}: test mAP {score:.4f} on {args.test_scenes} scenes → {args.out}")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", required=True, help=f"{', '.join(MODELS)}, or file.py:Class of your own (with --out)"
    )
    parser.add_argument("--scenes", type=int, default=20_000, help="training scenes")
    parser.add_argument("--val-scenes", type=int, default=1000)
    parser.add_argument("--test-scenes", type=int, default=4000)
    training_arguments(parser, epochs=12, batch=64, rate=2e-3, workers=2, cache="relprop-scenes")
    parser.set_defaults(**OWN.get(parser.parse_known_args()[0].model, {}))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.cache.mkdir(parents=True, exist_ok=True)
    name = args.model.rpartition(":")[2]
    if args.stored:
        model, training = stored(args.out, name, MODELS.find(args.model)(len(CLASSES)))
    else:
        trained, state = train(args, args.cache / f"{slug(args.model)}-{args.seed}.pt")
        model, training = released(args.model, trained), made(args, state)
    write(args, name, rounded(model), training)


if __name__ == "__main__":
    main()
