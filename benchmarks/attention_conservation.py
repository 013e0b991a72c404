"""What becomes of the score in attention networks: relevance of the picture, biases, by operator.

    python benchmarks/attention_conservation.py
    python benchmarks/attention_conservation.py --only vit_b_16 --dtypes float64

ViT-B/16 and Swin-T of torchvision, DeiT of timm, and, from small configurations, DETR and VideoMAE of
transformers, all with random weights (`benchmarks.common.randomise`). Columns are relative to the score. The exit
code is 1 where a ledger doesn't close.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import relprop
from benchmarks.common import DTYPES, build, markdown, noise, randomise
from relprop.compat import load_torchvision
from relprop.errors import RelpropError

METHODS = {
    "CP-LRP": "lrp-epsilon",
    "default composite": "lrp-composite",
    "AttnLRP, γ = 0": "lrp-epsilon:attention=shared",
    "AttnLRP": "attnlrp",
}


class Picked(nn.Module):
    """A model of transformers that returns one of its outputs, of DETR the first query's classes."""

    def __init__(self, model: nn.Module, query: bool = False) -> None:
        super().__init__()
        self.model, self.query = model, query

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes)."""
        logits: Tensor = self.model(x).logits
        return logits[:, 0] if self.query else logits


def _torchvision(name: str) -> Callable[[], tuple[nn.Module, tuple[int, ...]]]:
    return lambda: (build(name, (3, 64, 64)), (3, 224, 224))


def _deit() -> tuple[nn.Module, tuple[int, ...]]:
    import timm

    torch.manual_seed(0)
    return timm.create_model("deit_tiny_patch16_224"), (3, 224, 224)


def _detr() -> tuple[nn.Module, tuple[int, ...]]:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    torch.manual_seed(0)
    body = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    settings = DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone_config=body, backbone=None, d_model=64,
        encoder_layers=2, decoder_layers=2, encoder_ffn_dim=128, decoder_ffn_dim=128, encoder_attention_heads=4,
        decoder_attention_heads=4, num_queries=8,
    )  # fmt: skip
    return Picked(DetrForObjectDetection(settings), query=True), (3, 128, 128)


def _videomae() -> tuple[nn.Module, tuple[int, ...]]:
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    torch.manual_seed(0)
    settings = VideoMAEConfig(
        image_size=64, num_frames=8, hidden_size=96, num_hidden_layers=4, num_attention_heads=4,
        intermediate_size=192,
    )  # fmt: skip
    return Picked(VideoMAEForVideoClassification(settings)), (8, 3, 64, 64)


MODELS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "vit_b_16": _torchvision("vit_b_16"),
    "swin_t": _torchvision("swin_t"),
    "deit_tiny": _deit,
    "detr": _detr,
    "videomae": _videomae,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table row by row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    load_torchvision()
    head = [
        "model",
        "dtype",
        "method",
        "score",
        "picture",
        "softmax",
        "other biases",
        "kept back",
        "error",
        "closes",
    ]
    rows, failed = [], 0
    for name in args.only:
        try:
            model, shape = MODELS[name]()
        except ImportError as error:
            rows.append([name, "", str(error)[:60]])
            continue
        randomise(model, shape)
        for dtype in args.dtypes:
            model = model.to(DTYPES[dtype]).eval().requires_grad_(False)
            x = noise((1, *shape), dtype=DTYPES[dtype])
            for label, method in METHODS.items():
                row = _row(model, x, method)
                failed += row[-1] == "no"
                rows.append([name, dtype, label, *row])
                print(*rows[-1], file=sys.stderr, flush=True)
    print(markdown(head, [[*row, *[""] * (len(head) - len(row))] for row in rows]))
    return int(failed > 0)


def _row(model: nn.Module, x: Tensor, method: str) -> list[str]:
    try:
        e = relprop.explain(model, x, 1, method)
    except RelpropError as error:
        return [f"refused: {error}"[:160]]
    ledger = e.ledger
    assert ledger is not None
    score = ledger.start
    biases: Counter[str] = Counter()
    for row in ledger.rows:
        biases["softmax" if row.operator == "softmax" else "other"] += row.bias
    shares = (
        float(e.relevance.double().sum()),
        biases["softmax"],
        biases["other"],
        ledger.stabiliser + ledger.lost,
    )
    return [
        f"{score:.3f}",
        *(f"{share / score:.4f}" for share in shares),
        f"{abs(score - sum(shares)) / abs(score):.0e}",
        "yes" if ledger.closes else "no",
    ]


if __name__ == "__main__":
    raise SystemExit(main())
