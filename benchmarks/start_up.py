"""What a command costs before it computes: CPU seconds of fresh processes, least of several.

    python benchmarks/start_up.py                 # listings, help, completion, refusals, the first explanation
    git worktree add ../before COMMIT          # any earlier one
    python benchmarks/start_up.py ../before       # the same in turns with another checkout

CPU seconds are user + system time of the process, one thread. The first explanation is z+ on ResNet-50 with
random weights at 224², in a process that has imported torch and torchvision and has run the model once;
importing relprop counts.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import markdown

HERE = Path(__file__).resolve().parents[1]
COMMAND = "from relprop.cli import main; main()"
WORDS = (
    "--version", "--help", "explain --help", "benchmark --help", "methods", "methods lrp-composite",
    "methods --json", "models", "benchmark list", "nonsense", "explain", "explain nowhere.png -m scenes-vgg",
    "explain there.png -m scenes-vgg -x lrp-epsilo", "explain there.png -m scenes-vgg -x rsp:mod=1",
    "explain there.png -m scenes-vg", "inspect -m scenes-vgg -x nope", "detect -x nope", "video nowhere.avi",
    "affine nowhere.png", "benchmark nowhere", "methods nope",
)  # fmt: skip
COMPLETED = ("relprop exp", "relprop explain -x lrp", "relprop video -m mot")
YARDSTICKS = {"python": "pass", "import torch": "import torch", "import relprop": "import relprop"}
FIRST = """
import time, warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
from relprop.compat import load_torchvision
torch.manual_seed(0)
model = load_torchvision().models.resnet50(weights=None).eval()
x = torch.randn(1, 3, 224, 224)
with torch.no_grad():
    model(x)
begin = time.process_time()
import relprop
relprop.explain(model, x, 1, "lrp:rule=z-plus").ledger.closes
print(time.process_time() - begin)
"""


def cpu(
    checkout: Path, code: str, words: list[str], here: Path, extra: dict[str, str] | None = None
) -> float:
    """CPU seconds of a process; of code that prints a number, that number."""
    kept = {
        "PYTHONPYCACHEPREFIX": str(here / "compiled"),
        "PYTHONDONTWRITEBYTECODE": "",
    }  # as an installed package
    environment = {
        **os.environ,
        **kept,
        "PYTHONPATH": str(checkout / "src"),
        "OMP_NUM_THREADS": "1",
        **(extra or {}),
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=here, env=environment
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 2):
        raise SystemExit(f"{' '.join(words) or code} failed: {done.stderr}")
    if code == FIRST:
        return float(done.stdout)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", nargs="?", type=Path, help="root of another checkout, to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-first", action="store_true", help="leave out the first explanation")
    args = parser.parse_args()
    sides = [HERE] if args.other is None else [args.other.resolve(), HERE]
    if not all((side / "src" / "relprop").is_dir() for side in sides):
        parser.error("Expected the root of another checkout, a folder with src/relprop.")
    asked: list[tuple[str, str, list[str], dict[str, str]]] = [
        (name, code, [], {}) for name, code in YARDSTICKS.items()
    ]
    asked += [(f"relprop {words}".strip(), COMMAND, words.split(), {}) for words in WORDS]
    for words in COMPLETED:
        typed = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        asked.append((f"{words}⇥", COMMAND, [], {"_RELPROP_COMPLETE": "complete_bash", **typed}))
    if not args.no_first:
        asked.append(("first explanation, ResNet-50, above torch and model", FIRST, [], {}))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "there.png").touch()
        for name, code, words, extra in asked:
            for side in sides:  # once untimed: Python compiles what it imports
                cpu(side, code, words, Path(folder), extra)
            found = [
                [cpu(side, code, words, Path(folder), extra) for side in sides] for _ in range(args.rounds)
            ]
            rows.append([name, *(f"{min(times):.2f}" for times in zip(*found, strict=True))])
    print(markdown(["process", *(["there"] if len(sides) > 1 else []), "here"], rows))


if __name__ == "__main__":
    main()
