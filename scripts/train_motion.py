"""Train the bundled C3D on drawn clips, measure it on unseen ones, write its weights and card.

    python scripts/train_motion.py

Clips are rendered once to a file in the cache folder. A stopped run goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from stored import provenance, rounded, save_card, save_weights, stored
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.fusion import fuse_conv_bn_eval
from train_scenes import progress, training_arguments

from relprop.datasets._choreography import cast as cast_of
from relprop.datasets._drawn import SPLITS
from relprop.datasets.motion import CLASSES, MOTION_CLASSES, MotionClips
from relprop.video import C3D

NAME = "motion-c3d"
SIZE, FRAMES = 48, 16
WIDTHS, HIDDEN, DROPOUT = (8, 16, 32, 48, 64), 96, 0.1
MEAN = (90.0, 98.0, 102.0)  # as C3D's, for frames in 0..255
SCALE = 64.0  # divisor while training; the released conv1 holds it
# Test clips come from another split and another seed than training clips.
TRAIN_SEED, TEST_SEED = 0, 2024
CHUNK = 50

Clips = NDArray[np.uint8]
Labels = NDArray[np.int64]


def _render_block(job: tuple[str, int, int, int, int, int]) -> tuple[int, Clips, Labels]:
    split, seed, total, start, stop, every = job
    views = [
        MotionClips(size=SIZE, frames=FRAMES, n=total, seed=seed, split=split, shake=shake)
        for shake in (False, True)
    ]
    part = [views[every > 0 and i % max(every, 1) == 0][i] for i in range(start, stop)]
    return start, np.stack([clip.frames for clip in part]), np.array([clip.label for clip in part])


def rendered(cache: Path, split: str, seed: int, n: int, every: int, workers: int) -> tuple[Clips, Labels]:
    """Return (n, T, SIZE, SIZE, 3) clips as a memory map and (n,) labels; render them where missing.

    `every` is 0 for a camera that never shakes, k for one that shakes in every k-th clip.
    """
    # The first clip's hash tells clips of another version of the renderer apart.
    first = _render_block((split, seed, n, 0, 1, every))[1]
    stem = f"motion-{split}-{seed}-{n}-{every}-{hashlib.sha256(first.tobytes()).hexdigest()[:8]}"
    clips, labels = cache / f"{stem}.npy", cache / f"{stem}.labels.npy"
    if not labels.exists():
        partial = clips.with_suffix(f".{os.getpid()}.partial")
        films = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(n, *first.shape[1:]))
        told = np.zeros(n, dtype=np.int64)
        jobs = [(split, seed, n, start, min(start + 50, n), every) for start in range(0, n, 50)]
        with progress() as bar, ProcessPoolExecutor(workers) as pool:
            task = bar.add_task(f"render {split}", total=n, note="")
            for start, block, block_labels in pool.map(_render_block, jobs):
                films[start : start + len(block)] = block
                told[start : start + len(block)] = block_labels
                bar.advance(task, len(block))
        films.flush()
        partial.replace(clips)
        temporary = labels.with_suffix(f".{os.getpid()}.npy")
        np.save(temporary, told)
        temporary.replace(labels)
    return np.load(clips, mmap_mode="r"), np.load(labels)


def to_input(clips: Clips) -> Tensor:
    """(N, T, H, W, 3) uint8 to (N, 3, T, H, W) in 0..255 less the mean, channels last in memory."""
    return (torch.from_numpy(np.array(clips)).float() - torch.tensor(MEAN)).permute(0, 4, 1, 2, 3)


def places(split: str, seed: int, n: int) -> Labels:
    """Where the object that decides is, on the grid of conv4b: (n, T / 4, 6, 6), 1 + label there and 0 elsewhere.

    A cell is the object's if the cell's middle lies within its radius of where it is on average in four frames.
    """
    found = np.zeros((n, FRAMES // 4, SIZE // 8, SIZE // 8), dtype=np.int64)
    middles = (np.arange(SIZE // 8) + 0.5) / (SIZE // 8)
    for index, grid in enumerate(found):
        label, actors = cast_of(seed, SPLITS[split], index)
        pose = next(actor for actor in actors if actor.decides).pose(FRAMES)
        x, y, _, radius = (np.broadcast_to(part, FRAMES).reshape(-1, 4).mean(axis=1) for part in pose)
        gap = np.hypot(middles - x[:, None, None], middles[:, None] - y[:, None, None])
        grid[gap < np.maximum(radius, 0.1)[:, None, None]] = 1 + label
    return found


class Guided(nn.Module):
    """C3D with a head on conv4b that tells in each cell what decides there, if anything.

    After 5000 clips the network is right in 0.45 of the validation clips with this head, and in 0.17, which is
    chance, from the labels of whole clips alone. The head is not released.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = build()
        self.head = nn.Conv3d(WIDTHS[3], 1 + len(CLASSES), 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the clip, (N, 7), and of the cells, (N, 8, T / 4, 6, 6)."""
        seen: list[Tensor] = []
        handle = self.net.conv4b.register_forward_hook(lambda module, inputs, output: seen.append(output))
        try:
            logits = self.net(x)
        finally:
            handle.remove()
        return logits, self.head(seen[0].relu())


def blank() -> C3D:
    """The network as it is released, without its weights."""
    return C3D(len(CLASSES), WIDTHS, HIDDEN, FRAMES, SIZE).eval()


def build() -> C3D:
    """Build the form that is trained: a batch norm behind each convolution."""
    model = blank()
    for name, layer in list(model.named_children()):
        if isinstance(layer, nn.Conv3d):
            setattr(model, name, nn.Sequential(layer, nn.BatchNorm3d(layer.out_channels)))
    model.dropout.p = DROPOUT
    nn.init.normal_(model.fc8.weight, std=0.01)
    return model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def released(trained: C3D) -> C3D:
    """Return the form that is released: batch norms and the divisor are folded into the convolutions."""
    trained.eval()
    model = blank()
    state = {k: v for k, v in trained.state_dict().items() if k.startswith("fc")}
    for name, layer in trained.named_children():
        if isinstance(layer, nn.Sequential):
            fused = fuse_conv_bn_eval(cast(nn.Conv3d, layer[0]), cast(nn.BatchNorm3d, layer[1]))
            state |= {f"{name}.{key}": value for key, value in fused.state_dict().items()}
    # Zero padding is 0 on either scale, so this is exact up to rounding.
    state["conv1.weight"] = state["conv1.weight"] / SCALE
    model.load_state_dict(state)
    return model


@torch.no_grad()
def predict(model: nn.Module, clips: Clips, scale: float = 1.0) -> Tensor:
    """Logits (N, classes) in float32, evaluation mode."""
    model.eval()
    parts = [model(to_input(clips[i : i + CHUNK]) / scale) for i in range(0, len(clips), CHUNK)]
    return torch.cat(parts)


def augmented(x: Tensor, grid: Tensor, turn: int) -> tuple[Tensor, Tensor]:
    """Mirror clips left to right, upside down or in time, and swap colours: no class changes by these.

    A quarter turn would swap up-down and left-right, and is left out.
    """
    axes = [axis for bit, axis in enumerate((4, 3, 2)) if turn >> bit & 1]
    x, grid = x.flip(axes), grid.flip([axis - 1 for axis in axes])
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    return x[:, list(orders[turn // 8 % 6])].contiguous(memory_format=torch.channels_last_3d), grid


def train(args: argparse.Namespace, checkpoint: Path) -> tuple[C3D, dict[str, Any]]:
    """Train with AdamW, a warm-up of 100 steps and a linear decay over two epochs; a checkpoint an epoch."""
    clips, labels = rendered(args.cache, "train", TRAIN_SEED, args.clips, args.shaken, args.workers)
    val_clips, val_labels = rendered(args.cache, "val", TRAIN_SEED, args.val_clips, 0, args.workers)
    grids = places("train", TRAIN_SEED, args.clips)
    # Most cells are nobody's.
    rarity = torch.tensor([0.2] + [1.0] * len(CLASSES))
    torch.manual_seed(args.seed)
    model = Guided()
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=args.rate)
    steps = args.clips // args.batch
    state: dict[str, Any] = {"epoch": 0, "seconds": 0.0, "history": []}
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["settings"] != settings(args):
            raise SystemExit(f"{checkpoint} is of a run with other settings; move it away or repeat those.")
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        print(f"going on after epoch {state['epoch']}")
    for epoch in range(state["epoch"], args.epochs):
        begin = time.process_time()
        model.train()
        # All that is random in an epoch comes from its number, so a resumed run equals an unbroken one.
        torch.manual_seed(args.seed * 10_007 + epoch + 1)
        order = torch.randperm(args.clips).numpy()
        turns = torch.randint(0, 48, (steps,)).tolist()
        mean_loss = mean_aside = 0.0
        with progress() as bar:
            task = bar.add_task(f"{NAME} epoch {epoch + 1}/{args.epochs}", total=steps, note="")
            for step in range(steps):
                done = epoch * steps + step
                ramp = min(1.0, (done + 1) / 100, (args.epochs * steps - done) / (2 * steps))
                for group in optimiser.param_groups:
                    group["lr"] = args.rate * ramp
                rows = np.sort(order[step * args.batch : (step + 1) * args.batch])
                x, grid = augmented(to_input(clips[rows]) / SCALE, torch.from_numpy(grids[rows]), turns[step])
                # Not in bfloat16: on CPU its weight gradient of conv5a (2 x 3 x 3 voxels) came out infinite.
                logits, cells = model(x)
                loss = cross_entropy(logits, torch.from_numpy(labels[rows]))
                aside = cross_entropy(cells, grid, rarity)
                optimiser.zero_grad()
                (loss + aside).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                mean_loss += loss.item() / steps
                mean_aside += aside.item() / steps
                bar.update(task, advance=1, note=f"loss {loss.item():.4f}")
        score = accuracy(predict(model.net, val_clips, SCALE), val_labels)
        state["seconds"] += time.process_time() - begin
        state["epoch"] = epoch + 1
        state["history"].append([round(mean_loss, 5), round(mean_aside, 5), round(score, 5)])
        print(
            f"epoch {epoch + 1}: losses {mean_loss:.4f} and {mean_aside:.4f}, val accuracy {score:.4f}, "
            f"{state['seconds']:.0f} CPU s",
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
    return model.net, state


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What decides the weights."""
    names = ("clips", "shaken", "epochs", "batch", "rate", "seed")
    return {name: getattr(args, name) for name in names} | {
        "widths": list(WIDTHS), "hidden": HIDDEN, "dropout": DROPOUT,
    }  # fmt: skip


def accuracy(logits: Tensor, labels: Labels) -> float:
    """Share of clips whose greatest logit is the label's."""
    return float((logits.argmax(1).numpy() == labels).mean())


def measured(model: nn.Module, clips: Clips, labels: Labels) -> dict[str, Any]:
    """Accuracy over all, of each class, and the confusion counts (rows: truth)."""
    logits = predict(model, clips)
    confusion = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    np.add.at(confusion, (labels, logits.argmax(1).numpy()), 1)
    each = confusion.diagonal() / confusion.sum(axis=1)
    return {
        "accuracy": accuracy(logits, labels),
        "per_class": dict(zip(CLASSES, each.tolist(), strict=True)),
        "confusion": confusion.tolist(),
        "clips": len(labels),
    }


def measured_frozen(model: nn.Module, clips: Clips, labels: Labels) -> dict[str, Any]:
    """Accuracy on clips that repeat one frame, each frame of each clip in turn."""
    motions = len(MOTION_CLASSES)
    logits = torch.stack(
        [predict(model, np.repeat(clip[:, None], FRAMES, axis=1)) for clip in clips]
    )  # (N, T, classes)
    truth = np.repeat(labels[:, None], FRAMES, axis=1)
    moves = truth < motions
    right = logits.argmax(2).numpy() == truth
    among = logits[..., :motions].argmax(2).numpy()
    each = [float((among[truth == label] == label).mean()) for label in range(motions)]
    said = np.bincount(among[moves], minlength=motions) / moves.sum()
    return {
        "motion_classes": float(right[moves].mean()),
        "motion_classes_among_themselves": float(np.mean(each)),
        "per_class_among_themselves": dict(zip(MOTION_CLASSES, each, strict=True)),
        "said_among_themselves": dict(zip(MOTION_CLASSES, said.tolist(), strict=True)),
        "chance_among_themselves": 1 / motions,
        "appearance_classes": float(right[~moves].mean()),
        "clips": len(labels),
        "definition": "each frame of each clip repeated; 'among themselves': greatest of the motion logits alone, "
        "mean over the classes; 'said': how often each is that greatest",
    }


def made(args: argparse.Namespace, state: dict[str, Any]) -> dict[str, Any]:
    """What the card says of the training."""
    return {
        "training": {
            "command": "python scripts/train_motion.py",
            "settings": settings(args),
            "split": "train",
            "data_seed": TRAIN_SEED,
            "camera": f"shakes in every {args.shaken}th clip" if args.shaken else "never shakes",
            "augmentation": "a batch at a time: mirrored in x, y and time, colours swapped",
            "loss": "cross-entropy of the clip, plus that of a head on conv4b (not released) that tells in each "
            "cell which class the object that decides has, if it is there; cells of nobody count 0.2",
            "precision": "float32",
            "batch_norm": "folded into the convolutions afterwards",
            "threads": args.threads,
            "cpu_minutes": round(state["seconds"] / 60, 1),
            "losses_and_val_accuracy_per_epoch": state["history"],
        },
        **provenance("accuracy"),
    }


def write(args: argparse.Namespace, model: C3D, training: dict[str, Any]) -> None:
    """Measure a rounded network on test clips, then write weights and card."""
    clips, labels = rendered(args.cache, "test", TEST_SEED, args.test_clips, 0, args.workers)
    shaken, shaken_labels = rendered(args.cache, "test", TEST_SEED, args.test_clips, 1, args.workers)
    test = measured(model, clips, labels)
    card = {
        "name": NAME,
        "classes": CLASSES,
        "input": "RGB frames in 0..255 less mean, (N, 3, frames, input_size, input_size)",
        "input_size": SIZE,
        "frames": FRAMES,
        "mean": MEAN,
        "widths": WIDTHS,
        "hidden": HIDDEN,
        **save_weights(args.out, NAME, model),
        "test": {"split": "test", "seed": TEST_SEED, **test},
        "shake": {"split": "test", "seed": TEST_SEED, **measured(model, shaken, shaken_labels)},
        "frozen": measured_frozen(model, clips[: args.frozen_clips], labels[: args.frozen_clips]),
        **training,
    }
    save_card(args.out, NAME, card)
    print(f"{NAME}: test accuracy {test['accuracy']:.4f} on {args.test_clips} clips → {args.out}")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=5000, help="training clips")
    parser.add_argument(
        "--shaken", type=int, default=4, help="the camera shakes in every k-th clip; 0: never"
    )
    parser.add_argument("--val-clips", type=int, default=300)
    parser.add_argument("--test-clips", type=int, default=2000)
    parser.add_argument("--frozen-clips", type=int, default=300)
    training_arguments(parser, epochs=12, batch=16, rate=2e-3, workers=1, cache="relprop-motion")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.cache.mkdir(parents=True, exist_ok=True)
    if args.stored:
        model, training = stored(args.out, NAME, blank())
    else:
        trained, state = train(args, args.cache / f"{NAME}-{args.seed}.pt")
        model, training = released(trained), made(args, state)
    write(args, rounded(model), training)


if __name__ == "__main__":
    main()
