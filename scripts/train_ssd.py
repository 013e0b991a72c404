"""Train the bundled detector on rendered scenes, measure it on unseen ones, write its weights and card.

    python scripts/train_ssd.py

The trunk starts from the convolutions of the bundled classifier scenes-vgg, as SSD's does from a VGG-16 trained on
ImageNet. Scenes are rendered once to a file in the cache folder. A stopped run goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stored import provenance, rounded, save_card, save_weights, stored
from torch import Tensor, nn
from torch.nn import functional as F
from train_scenes import (
    MEAN,
    SIZE,
    STD,
    TEST_SEED,
    TRAIN_SEED,
    fit,
    fold_norms,
    rendered,
    settings,
    to_input,
    training_arguments,
    turned,
    with_norms,
)

from relprop.datasets import CLASSES, Scene
from relprop.detectors.boxes import BoxCode, iou, nms
from relprop.detectors.scene_ssd import HEADS, SceneSSD, anchors
from relprop.detectors.scoring import Found, Truth, mean_average_precision
from relprop.models import load

NAME = "scenes-ssd"
CODE = BoxCode()
MOST = 4  # objects a scene
NEGATIVES = 3  # background anchors a matched one, the hardest of all
MATCH = 0.5  # least IoU of an anchor with the object that it is to find


def objects(scene: Scene) -> NDArray[np.float32]:
    """(4, 6): x0, y0, x1, y1 of the whole silhouette, label (-1: no object), difficult (0 or 1)."""
    rows = np.full((MOST, 6), -1.0, dtype=np.float32)
    rows[: len(scene), :4] = scene.boxes
    rows[: len(scene), 4] = scene.labels
    rows[: len(scene), 5] = scene.difficult
    return rows


def turned_boxes(boxes: Tensor, turn: int) -> Tensor:
    """Boxes (..., 4) in a picture that went through `turned`."""
    for _ in range(turn % 4):
        x0, y0, x1, y1 = boxes.unbind(-1)
        boxes = torch.stack([y0, SIZE - x1, y1, SIZE - x0], -1)
    if turn >= 4:
        x0, y0, x1, y1 = boxes.unbind(-1)
        boxes = torch.stack([SIZE - x1, y0, SIZE - x0, y1], -1)
    return boxes


def match(truth: Tensor, defaults: Tensor) -> tuple[Tensor, Tensor]:
    """Give each anchor its part in one scene.

    An anchor is to find the object that it overlaps most, from an IoU of 0.5; and each object has at least
    the anchor that overlaps it most. Anchors of a difficult object take no part.

    Args:
        truth: (4, 6) rows of `objects`.
        defaults: (A, 4) anchors.

    Returns:
        Classes (A,): 1 + label, 0 for background, -1 for no part; and boxes (A, 4), of use where it is above 0.
    """
    truth = truth[truth[:, 4] >= 0]
    overlap = iou(truth[:, :4], defaults)
    best, which = overlap.max(dim=0)
    first = overlap.argmax(dim=1)
    best[first], which[first] = 1.0, torch.arange(len(truth))
    classes = torch.where(truth[which, 5] > 0, -1.0, truth[which, 4] + 1)
    return torch.where(best >= MATCH, classes, 0.0).long(), truth[which, :4]


def detection_loss(
    logits: Tensor, offsets: Tensor, classes: Tensor, boxes: Tensor, defaults: Tensor
) -> Tensor:
    """Cross-entropy of matched and of the hardest background anchors, plus smooth L1 of the matched offsets.

    Source: Liu et al., SSD, ECCV 2016, equations 1 to 3; divided by the number of matched anchors.
    """
    entropy = F.cross_entropy(logits.flatten(0, 1), classes.clamp(min=0).flatten(), reduction="none")
    entropy = entropy.view(classes.shape)
    positive, background = classes > 0, classes == 0
    hard = entropy.detach().masked_fill(~background, -1.0).flatten()
    count = max(int(positive.sum()), 1)
    negative = hard.topk(min(NEGATIVES * count, int(background.sum()))).indices
    wanted = CODE.encode(boxes, defaults.expand_as(boxes))
    place = F.smooth_l1_loss(offsets[positive], wanted[positive], reduction="sum")
    return (entropy[positive].sum() + entropy.flatten()[negative].sum() + place) / count


def build() -> SceneSSD:
    """Build the form that is trained: batch norms in the trunk, its first layers taken from scenes-vgg."""
    model = SceneSSD()
    given = load("scenes-vgg").module.get_submodule("features").state_dict()
    model.features.load_state_dict(model.features.state_dict() | given)
    model.features = with_norms(model.features)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@torch.no_grad()
def start_norms(model: SceneSSD, x: Tensor) -> None:
    """Let each batch norm start as the identity on these pictures, so the given layers go on as they were."""
    for layer in model.features:
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.copy_((x.var((0, 2, 3), unbiased=False) + layer.eps).sqrt())
            layer.bias.copy_(x.mean((0, 2, 3)))
        else:
            x = layer(x)


def released(trained: SceneSSD) -> SceneSSD:
    """Return the form that is released: the batch norms are folded into the convolutions."""
    model = SceneSSD().eval()
    fold_norms(trained.eval().features, model.features)
    rest = {k: v for k, v in trained.state_dict().items() if not k.startswith("features.")}
    model.load_state_dict(model.state_dict() | rest)
    return model


@torch.no_grad()
def predict(model: nn.Module, images: NDArray[np.uint8]) -> list[Found]:
    """Detections from a probability of 0.01, after class-wise non-maximum suppression at 0.45, at most 200."""
    model.eval()
    defaults = anchors()
    found = []
    for i in range(0, len(images), 50):
        logits, offsets = model(to_input(images[i : i + 50]))
        shares = logits.softmax(-1)[..., 1:]
        for share, box in zip(shares, CODE.decode(offsets, defaults.expand_as(offsets)), strict=True):
            anchor, label = (share > 0.01).nonzero(as_tuple=True)
            score = share[anchor, label]
            kept = score.argsort(descending=True, stable=True)[:400]
            anchor, label, score = anchor[kept], label[kept], score[kept]
            kept = nms(box[anchor], score, label, 0.45)[:200]
            found.append(
                Found(box[anchor[kept]].double().numpy(), label[kept].numpy(), score[kept].double().numpy())
            )
    return found


def measure(
    model: nn.Module, images: NDArray[np.uint8], truth: NDArray[np.float32]
) -> tuple[float, list[float]]:
    """Return mAP at IoU 0.5 and AP of each class."""
    true = [
        Truth(t[:, :4].astype(np.float64), t[:, 4].astype(np.int64), t[:, 5] > 0)
        for t in (rows[rows[:, 4] >= 0] for rows in truth)
    ]
    return mean_average_precision(predict(model, images), true, range(len(CLASSES)))


def train(args: argparse.Namespace, checkpoint: Path) -> tuple[SceneSSD, dict[str, Any]]:
    """Train the detector."""
    images, truth = rendered(args.cache, "train", TRAIN_SEED, args.scenes, args.workers, objects)
    val_images, val_truth = rendered(args.cache, "val", TRAIN_SEED, args.val_scenes, args.workers, objects)
    torch.manual_seed(args.seed)
    model, defaults = build(), anchors()
    start_norms(model, to_input(images[:64]))

    def loss(rows: NDArray[np.int64], turn: int) -> Tensor:
        true = torch.from_numpy(truth[rows])
        true[..., :4] = turned_boxes(true[..., :4], turn)
        classes, boxes = (torch.stack(part) for part in zip(*(match(t, defaults) for t in true), strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            logits, offsets = model(turned(to_input(images[rows]), turn))
        return detection_loss(logits.float(), offsets.float(), classes, boxes, defaults)

    return model, fit(args, model, checkpoint, loss, lambda: measure(model, val_images, val_truth)[0])


def made(args: argparse.Namespace, state: dict[str, Any]) -> dict[str, Any]:
    """What the card says of the training."""
    return {
        "training": {
            "command": "python scripts/train_ssd.py",
            "start": "conv1_1 to conv4_2 from the bundled classifier scenes-vgg, the rest random",
            "settings": settings(args),
            "split": "train",
            "data_seed": TRAIN_SEED,
            "loss": f"softmax cross-entropy and smooth L1, anchors matched from IoU {MATCH}, "
            f"{NEGATIVES} hardest background anchors a matched one, anchors of difficult objects left out",
            "precision": "bfloat16 autocast, float32 weights",
            "batch_norm": "folded into the convolutions afterwards",
            "threads": args.threads,
            "minutes": round(state["seconds"] / 60, 1),
            "loss_and_val_mAP_per_epoch": state["history"],
        },
        **provenance("mAP"),
    }


def write(args: argparse.Namespace, model: SceneSSD, training: dict[str, Any]) -> None:
    """Measure a rounded network on test scenes, then write weights and card."""
    images, truth = rendered(args.cache, "test", TEST_SEED, args.test_scenes, args.workers, objects)
    score, each = measure(model, images, truth)
    card = {
        "name": NAME,
        "classes": ["background", *CLASSES],
        "input_size": SIZE,
        "mean": MEAN,
        "std": STD,
        "anchors": [{"cells": s.cells, "step": s.step, "sides": s.sides} for s in HEADS],
        "box_scales": CODE.scales,
        **save_weights(args.out, NAME, model),
        "test": {
            "mAP": score,
            "AP": dict(zip(CLASSES, each, strict=True)),
            "split": "test",
            "seed": TEST_SEED,
            "scenes": args.test_scenes,
            "definition": "mean over classes of average precision at IoU 0.5, interpolated at all points (VOC "
            "2010 on); boxes of whole silhouettes; difficult objects neither hit nor miss; detections from a "
            "probability of 0.01, NMS at 0.45 within a class; float32, CPU",
        },
        **training,
    }
    save_card(args.out, NAME, card)
    print(f"{NAME}: test mAP {score:.4f} on {args.test_scenes} scenes → {args.out}")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=16_000, help="training scenes")
    parser.add_argument("--val-scenes", type=int, default=500)
    parser.add_argument("--test-scenes", type=int, default=2000)
    training_arguments(parser, epochs=6, batch=32, rate=1e-3, workers=2, cache="relprop-scenes")
    parser.set_defaults(model=NAME)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.cache.mkdir(parents=True, exist_ok=True)
    if args.stored:
        model, training = stored(args.out, NAME, SceneSSD())
    else:
        trained, state = train(args, args.cache / f"{NAME}-{args.seed}.pt")
        model, training = released(trained), made(args, state)
    write(args, rounded(model), training)


if __name__ == "__main__":
    main()
