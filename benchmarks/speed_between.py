"""Is this checkout slower than another? Both explain in turn, each in a process of its own.

git worktree add ../before COMMIT    # any earlier one, with the same public names
python benchmarks/speed_between.py ../before --models resnet50 --methods lrp-composite rap
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import markdown

METHODS = "gradient lrp-epsilon lrp-alpha-beta lrp-composite deep-taylor excitation-backprop rap".split()


class Side:
    """A process that explains with one checkout, one request at a time."""

    def __init__(self, checkout: Path) -> None:
        paths = os.pathsep.join([str(checkout.resolve() / "src"), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )

    def seconds(self, model: str, method: str) -> float:
        """CPU time of one explanation with its ledger worked out."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([model, method]), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(
                f"One of the two checkouts failed at {method} on {model}; its error stands above."
            )
        return float(line)


def serve() -> None:
    """Answer requests from standard input with seconds."""
    import torch

    import relprop
    from relprop.compat import load_torchvision

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    models = {}
    for line in sys.stdin:
        name, method = json.loads(line)
        if name not in models:
            torch.manual_seed(0)
            models[name] = load_torchvision().models.get_model(name, weights=None).eval()
        x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        begin = time.process_time()
        e = relprop.explain(models[name], x, 1, method)
        if e.ledger is not None:
            assert e.ledger.closes
        print(time.process_time() - begin, flush=True)


def main() -> None:
    """Print a table of ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", nargs="?", type=Path, help="root of the other checkout")
    parser.add_argument("--models", nargs="+", default=["vgg16", "resnet50"])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve()
        return
    if args.checkout is None or not (args.checkout / "src" / "relprop").is_dir():
        parser.error("Expected the root of another checkout, a folder with src/relprop.")
    sides = (Side(args.checkout), Side(Path(__file__).parents[1]))
    rows = []
    for model in args.models:
        for method in args.methods:
            for side in sides:  # the first call captures
                side.seconds(model, method)
            found = []
            for i in range(args.rounds):
                pair = [side.seconds(model, method) for side in (sides if i % 2 else sides[::-1])]
                found.append(pair if i % 2 else pair[::-1])
            ratio = median(here / there for there, here in found)
            rows.append([model, method, f"{median(t for t, _ in found):.3f}", f"{ratio:.3f}"])
    print(markdown(["model", "method", "seconds there", "here / there"], rows))


if __name__ == "__main__":
    main()
