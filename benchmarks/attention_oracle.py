"""AttnLRP and CP-LRP beside lxt, the authors' own package: largest differences by rule and by network.

    pip install --no-deps lxt==2.1 "transformers<5"     # and what these two then miss
    python benchmarks/attention_oracle.py
    python benchmarks/attention_oracle.py --small       # without ViT-B/16

Differences are relative to the largest relevance, in float64. "As it comes" is lxt with its stabilisers, "without"
is with all of them at 0.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from tests.oracles.lxt_pairs import (
    PAIRS,
    Vit,
    by_explicit,
    efficient,
    gamma_by_zennit,
    gradient_times_input,
    vit_of_transformers,
)
from torch import Tensor, nn

import relprop
from benchmarks.common import build, environment, markdown, noise
from relprop.compat import load_torchvision

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "image_size": 16, "patch_size": 8, "num_labels": 4,
}  # fmt: skip
SEEDS = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="leave out ViT-B/16")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    load_torchvision()
    print(", ".join(f"{k} {v}" for k, v in environment("cpu").items()), flush=True)
    rows = [[name, *map(_number, _rule(name))] for name in PAIRS]
    print(markdown(["rule", "without", "as it comes", "of that, not by the stabiliser"], rows), flush=True)
    print()
    rows = [[name, *map(_number, differences())] for name, differences in _networks(args.small).items()]
    print(markdown(["network", "without", "as it comes"], rows), flush=True)
    return 0


def _number(value: float) -> str:
    return f"{value:.1e}"


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def _rule(name: str) -> tuple[float, ...]:
    """The largest differences over some draws: without stabilisers, with, and with ours fed what theirs keeps."""
    pair = PAIRS[name]
    found = []
    for seed in range(SEEDS):
        x = noise((2, 2, 3, 6), seed=seed, dtype=torch.float64)
        y = pair.operator(x)
        relevance = y * noise(y.shape, seed=seed + SEEDS, dtype=torch.float64)
        theirs, epsilon = pair.by_theirs(x, relevance, pair.stabiliser), pair.stabiliser
        ours = pair.by_ours(x, relevance)
        kept = pair.by_ours(x, relevance * pair.kept(y, epsilon))
        plain = pair.by_theirs(x, relevance, 0.0)
        found.append((_error(ours, plain), _error(ours, theirs), _error(kept, theirs)))
    return tuple(map(max, zip(*found, strict=True)))


def _networks(small: bool) -> dict[str, Callable[[], list[float]]]:
    from transformers.models.vit import modeling_vit

    vision = load_torchvision().models.vision_transformer
    found: dict[str, Callable[[], list[float]]] = {}
    for attention in ("constant", "shared"):
        found[f"small ViT of explicit functions, {attention}"] = lambda a=attention: _by_explicit(a)
        for gamma in (0.0, 0.05):
            with_gamma = ", γ by zennit" if gamma else ""
            found[f"small ViT of transformers, efficient, {attention}{with_gamma}"] = (
                lambda a=attention, g=gamma: _by_efficient(
                    modeling_vit, vit_of_transformers(**SMALL).double(), 16, a, g
                )
            )
    if not small:
        found["ViT-B/16 of torchvision, efficient, constant"] = lambda: _by_efficient(
            vision, build("vit_b_16", (3, 224, 224), dtype=torch.float64), 224, "constant", 0.0
        )
        for attention, gamma in (("constant", 0.0), ("shared", 0.0), ("shared", 0.05)):
            with_gamma = ", γ by zennit" if gamma else ""
            found[f"ViT-B/16 of transformers, efficient, {attention}{with_gamma}"] = (
                lambda a=attention, g=gamma: _by_efficient(
                    modeling_vit, vit_of_transformers().double(), 224, a, g
                )
            )
    return found


def _ours(model: nn.Module, x: Tensor, attention: Any, gamma: float = 0.0) -> Tensor:
    method = relprop.AttnLRP(gamma=gamma, gamma_conv=5 * gamma, epsilon=0, attention=attention)
    e = relprop.explain(model, x, 1, method)
    assert e.ledger is not None
    assert e.ledger.closes, str(e.ledger)
    return e.relevance


def _by_explicit(attention: Any) -> list[float]:
    model, x = Vit(), noise((2, 3, 8, 8), dtype=torch.float64)
    ours = _ours(model, x, attention)
    return [_error(ours, by_explicit(model, x, 1, attention, epsilon)) for epsilon in (0.0, None)]


def _by_efficient(module: Any, model: nn.Module, size: int, attention: Any, gamma: float) -> list[float]:
    x = noise((1, 3, size, size), dtype=torch.float64)
    ours = _ours(model, x, attention, gamma)
    found = []
    for exact in (True, False):
        with ExitStack() as stack:
            stack.enter_context(efficient(module, attention, exact=exact))
            if gamma:
                stack.enter_context(gamma_by_zennit(model, gamma, 5 * gamma, exact=exact))
            found.append(_error(ours, gradient_times_input(model, x, 1)))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
