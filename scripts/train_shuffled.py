"""Train the twin of a bundled classifier: the same network on the same kind of scenes, their labels shuffled.

    python scripts/train_shuffled.py

What each scene shows is dealt out anew among the training scenes, so that the picture says nothing of its labels
and the network can only learn them by heart. It is trained until it has. A map that is the same on both networks
says nothing of what the first one learned (Adebayo et al. 2018, data randomisation test).

Scenes are rendered once to a file in the cache folder. A stopped run goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stored import provenance, rounded, save_card, save_weights, stored
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from train_scenes import (
    MEAN,
    SIZE,
    STD,
    TEST_SEED,
    TRAIN_SEED,
    build,
    fit,
    predict,
    released,
    rendered,
    settings,
    to_input,
    training_arguments,
)

from relprop.catalogue import MODELS
from relprop.datasets import CLASSES
from relprop.models.scoring import mean_average_precision

GLANCE = 200  # training scenes that are looked at after each epoch
BY_HEART = 0.0018  # mean loss of an epoch that ends the training


def shuffled(hot: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Deal the rows out anew: each scene gets what another one shows, so that classes stay as frequent."""
    return hot[np.random.default_rng(seed).permutation(len(hot))]


def fitted(model: nn.Module, images: NDArray[np.uint8], hot: NDArray[np.float32]) -> dict[str, float]:
    """How far the network knows these labels: by answer (scene and class) and by scene (all classes right)."""
    right = (predict(model, images) > 0) == (hot > 0.5)
    return {"answers right": float(right.mean()), "scenes all right": float(right.all(1).mean())}


def train(args: argparse.Namespace) -> tuple[nn.Module, dict[str, Any]]:
    """Train with binary cross-entropy on scenes as they are: turned ones couldn't be learned by heart as fast."""
    images, hot = rendered(args.cache, "train", TRAIN_SEED, args.scenes, args.workers)
    dealt = shuffled(hot, args.seed)
    torch.manual_seed(args.seed)
    model = build(args.model)

    def loss(rows: NDArray[np.int64], _: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(to_input(images[rows]))
        return binary_cross_entropy_with_logits(logits.float(), torch.from_numpy(dealt[rows]))

    checkpoint = args.cache / f"{args.model}-shuffled-{args.seed}.pt"
    glance = images[:GLANCE], dealt[:GLANCE]
    return model, fit(
        args,
        model,
        checkpoint,
        loss,
        lambda: mean_average_precision(predict(model, glance[0]), glance[1])[0],
        BY_HEART,
    )


def made(args: argparse.Namespace, state: dict[str, Any]) -> dict[str, Any]:
    """What the card says of the training."""
    return {
        "training": {
            "command": "python scripts/train_shuffled.py",
            "settings": settings(args),
            "until": f"an epoch's mean loss is below {BY_HEART}",
            "labels": "rows of the true labels, permuted by numpy's default_rng(seed)",
            "split": "train",
            "data_seed": TRAIN_SEED,
            "precision": "bfloat16 autocast, float32 weights",
            "threads": args.threads,
            "minutes": round(state["seconds"] / 60, 1),
            f"loss_and_mAP_on_{GLANCE}_training_scenes_per_epoch": state["history"],
        },
        **provenance("fit"),
    }


def write(args: argparse.Namespace, name: str, model: nn.Module, training: dict[str, Any]) -> None:
    """Measure a rounded network, then write weights and card."""
    images, hot = rendered(args.cache, "train", TRAIN_SEED, args.scenes, args.workers)
    dealt = shuffled(hot, args.seed)
    found = fitted(model, images, dealt)
    found["mAP"] = mean_average_precision(predict(model, images), dealt)[0]
    unseen, truth = rendered(args.cache, "test", TEST_SEED, args.test_scenes, args.workers)
    score, each = mean_average_precision(predict(model, unseen), truth)
    card = {
        "name": name,
        "twin_of": args.model,
        "classes": CLASSES,
        "multi_label": True,
        "input_size": SIZE,
        "mean": MEAN,
        "std": STD,
        **save_weights(args.out, name, model),
        "fit": {**found, "definition": "its own training scenes and their shuffled labels, threshold 0.5"},
        "test": {
            "mAP": score,
            "AP": dict(zip(CLASSES, each, strict=True)),
            "chance": float(truth.mean()),
            "split": "test",
            "seed": TEST_SEED,
            "scenes": args.test_scenes,
            "definition": "true labels of unseen scenes; chance: how often a class is there",
        },
        **training,
    }
    save_card(args.out, name, card)
    print(f"{name}: {found}, test mAP {score:.4f} → {args.out}")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="scenes-resnet", help="a bundled classifier")
    parser.add_argument("--scenes", type=int, default=4000, help="training scenes")
    parser.add_argument("--test-scenes", type=int, default=1000)
    training_arguments(parser, epochs=60, batch=50, rate=2e-3, workers=1, cache="relprop-scenes")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.cache.mkdir(parents=True, exist_ok=True)
    name = f"{args.model}-shuffled"
    if args.stored:
        model, training = stored(args.out, name, MODELS.find(args.model)(len(CLASSES)))
    else:
        trained, state = train(args)
        model, training = released(args.model, trained), made(args, state)
    write(args, name, rounded(model), training)


if __name__ == "__main__":
    main()
