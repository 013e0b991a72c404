"""Exactness of the affine form: every torchvision CNN that is piece-wise affine, at its block outputs.

    python benchmarks/affine_exact.py                          # all of them, float32 and float64
    python benchmarks/affine_exact.py --only 'resnet*' --most 4

Random weights, biases and batch norm statistics, one input of noise, the top class. For the input and for
each block output (`relprop.piecewise.block_outputs`; `--most` of them, evenly spread) W and the bias's owners
are computed, and the score is put together again from them. Columns, largest over the places:

- error: |sum(W * X) + sum of owners - F| / (sum |W * X| + sum |owners|), rounding relative to the terms;
- of F: the same difference relative to |F|;
- owners: |sum of owners - b| / sum |owners|, with b = F - sum(W * X).

Networks with other operators (SiLU, GELU, gates, attention) are listed as refused, with the reason. The exit
code is 1 if a float64 error is above 1e-10.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import relprop
from benchmarks.architectures.of_torchvision import SIZES
from benchmarks.common import DTYPES, HUGE, build, constructors, environment, markdown, noise
from relprop.errors import CaptureError, UnsupportedOperatorError
from relprop.graph import capture
from relprop.piecewise import block_outputs

LIMIT = 1e-10


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; 1 if a form isn't exact."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help="constructors")
    parser.add_argument("--most", type=int, default=0, help="block outputs at most; 0 for all")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    print(", ".join(f"{k} {v}" for k, v in environment("cpu").items()), flush=True)
    names = [n for n in constructors() if n not in HUGE and any(fnmatchcase(n, p) for p in args.only)]
    rows, refused, worst = [], [], 0.0
    for name in names:
        begin = time.perf_counter()
        try:
            found = {d: _measured(name, dtype, args.most) for d, dtype in DTYPES.items()}
        except (UnsupportedOperatorError, CaptureError) as error:
            reason = str(error).partition(" but ")[2].partition(". ")[0] or str(error).partition(". ")[0]
            refused.append([name, reason])
            print(f"{name}: {reason}", file=sys.stderr, flush=True)
            continue
        places, wide = found["float64"]
        worst = max(worst, *wide)
        numbers = [f"{v:.0e}" for d in DTYPES for v in found[d][1]]
        rows.append([name, str(places), *numbers, f"{time.perf_counter() - begin:.0f}"])
        print(" ".join(rows[-1]), file=sys.stderr, flush=True)
        gc.collect()
    columns = [f"{what}, {d}" for d in DTYPES for what in ("error", "of F", "owners")]
    print("\n" + markdown(["network", "places", *columns, "seconds"], rows))
    print("\n" + markdown(["refused", "why"], refused))
    print(f"\nlargest in float64: {worst:.1e}, allowed {LIMIT:.0e}")
    return int(worst > LIMIT)


def _measured(name: str, dtype: torch.dtype, most: int) -> tuple[int, tuple[float, float, float]]:
    size = next((s for pattern, s in SIZES if fnmatchcase(name, pattern)), (3, 64, 64))
    model = build(name, size, dtype=dtype)
    x = noise((1, *size), seed=9, dtype=dtype)
    # Refused networks are so at the input already: nothing else is run.
    found = [_errors(model, x, None)]
    layers = block_outputs(capture(model, x))
    if most and len(layers) > most:
        layers = [layers[i * len(layers) // most] for i in range(most)]
    found += [_errors(model, x, layer) for layer in layers]
    error, of_score, owners = (max(column) for column in zip(*found, strict=True))
    return len(found), (error, of_score, owners)


def _errors(model: nn.Module, x: Tensor, layer: str | None) -> tuple[float, float, float]:
    form = relprop.affine(model, x, at=layer, owners=True)
    assert form.owners is not None
    amounts = torch.stack([torch.zeros_like(form.bias), *[o.amount for o in form.owners]])
    total, size = amounts.sum(0), amounts.abs().sum(0)
    residual = form.residual
    assert residual is not None
    off = (total - form.bias).abs()
    share = float(off / size) if float(size) else 0.0
    return float(residual), float(off / form.score.abs()), share


if __name__ == "__main__":
    sys.exit(main())
