"""Install the wheel into empty environments, run each command once, and print a table of what came of it.

    python scripts/install_matrix.py dist/relprop-*.whl --torch 2.13.0 --python python3.11
    python scripts/install_matrix.py dist/relprop-*.whl --torch none --python python3.12 --python python3.13
    python scripts/install_matrix.py dist/relprop-*.whl --torch 2.13.0 --extras

Each environment is made in a temporary folder and removed after its use. `--torch none` installs everything but
torch, and runs what needs none. `--extras` adds each extra alone to one environment: what it is for is refused
before, with the line that installs it, and works afterwards.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SCENE = "import relprop.datasets.demo as d; print(d.demo_image_path())"
WITHOUT_TORCH = [
    "relprop", "relprop --version", "python -m relprop", "relprop methods", "relprop methods rsp",
    "relprop models", "relprop benchmark list", "relprop app --help",
]  # fmt: skip
COMMANDS = [
    *WITHOUT_TORCH,
    "relprop doctor",
    "relprop inspect --model scenes-vgg",
    "relprop explain {scene} --model scenes-resnet --out explained",
    "relprop detect --explain --box 0 --out detected",
    "relprop affine --out taken-apart",
    "relprop benchmark --limit 2 --method gradient --metric energy --workers 1 --out judged",
    "relprop benchmark show judged",
    "relprop report explained detected --out report.html",
    "python {root}/examples/demo.py",
]
#: Commands that need an extra: without it they name the line that installs it, with it they run.
WITH_EXTRA = {
    "video": "relprop video --separate --out moved",
    "torchvision": "relprop explain {scene} --model torchvision:resnet18 --random-weights --out through",
}
_RUN = "import sys; from relprop.cli import run; sys.exit(run({}))"
_LOAD = "from relprop.models.sources import load_model; load_model({!r}, random_weights=True)"
_NO_DATA_SET = """
import sys
from relprop.datasets.imagenet_segmentation import ImageNetSegmentation
from relprop.errors import InputError
try:
    ImageNetSegmentation(sys.executable)
except InputError as error:
    assert "MATLAB" in str(error), error
"""
#: Extra -> what can't be done without it.
EXTRAS = {
    "torchvision": _LOAD.format("torchvision:resnet18"),
    "timm": _LOAD.format("timm:resnet18"),
    "video": _RUN.format(["video", "--separate"]),
    "benchmark": "import numpy as np; from relprop.metrics import spearman; spearman(np.eye(16), np.eye(16))",
    "photo": _RUN.format(["inspect", "--model", "efficientnet-lite0"]),
    "coco": "from relprop.datasets.coco import _mask_functions; _mask_functions()",
    "imagenet-segmentation": _NO_DATA_SET,
    "crf": "from relprop.metrics.crf import _library; _library()",
    "ray": "from relprop.benchmark.cluster import _ray; _ray()",
    "quantus": "from relprop.quantus import load_quantus; load_quantus('max-sensitivity')",
    "app": "from relprop.app.desk import Desk; from relprop.app.server import build; build(Desk([]))",
}
ROOT = Path(__file__).resolve().parents[1]


class Watch:
    """Wall time, and CPU time of the processes waited for, which tells more on a machine that others use too."""

    def __init__(self) -> None:
        self._begin = time.perf_counter(), _cpu()

    def __str__(self) -> str:
        return f"{time.perf_counter() - self._begin[0]:.1f} s ({_cpu() - self._begin[1]:.1f} s of CPU)"


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the wheel in it."""

    folder: Path

    def run(self, command: str, seconds: float = 600) -> tuple[bool, str]:
        """Whether a command line ends with 0, and the end of what it said."""
        words = shlex.split(command)
        words[0] = str(self.folder / "bin" / words[0])
        done = subprocess.run(
            words, cwd=self.folder, capture_output=True, text=True, timeout=seconds, check=False,
            env={"PATH": f"{self.folder}/bin:/usr/bin:/bin", "HOME": str(self.folder), "NO_COLOR": "1"},
        )  # fmt: skip
        return done.returncode == 0, (done.stdout + done.stderr).strip()

    def pip(self, *words: str) -> None:
        """Run pip; what it says is shown where it fails."""
        pip = [str(self.folder / "bin" / "python"), "-m", "pip", *words]
        done = subprocess.run([*pip, "-q"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{shlex.join(pip)} failed:\n{done.stderr[-2000:]}")

    def add(self, wheel: Path, extra: str) -> None:
        """Install an extra beside the torch that is there: pip would bring another with the newest torchvision."""
        self.pip("install", f"{wheel}[{extra}]", f"torch=={self.freeze()['torch'].split('+')[0]}")

    def line(self, command: str) -> str:
        """A command with the places in it filled in."""
        scene = self.run(f'python -c "{SCENE}"')[1].splitlines()[-1] if "{scene}" in command else ""
        return command.format(scene=scene, root=ROOT)

    def freeze(self) -> dict[str, str]:
        """Package -> version."""
        told = self.run("python -m pip --disable-pip-version-check list --format json")[1].splitlines()
        return {
            p["name"]: p["version"] for p in json.loads(next(line for line in told if line.startswith("[{")))
        }

    def megabytes(self) -> int:
        """What it takes on the disk."""
        return sum(p.lstat().st_size for p in self.folder.rglob("*") if not p.is_symlink()) // 1_000_000


def environments(
    pythons: Sequence[str], torches: Sequence[str], wheel: Path
) -> Iterator[tuple[str, Environment, str]]:
    """What was asked of torch, the environment, and the time that it took to install."""
    for python in pythons:
        for torch in torches:
            with tempfile.TemporaryDirectory(prefix="matrix-") as made:
                watch = Watch()
                subprocess.run([python, "-m", "venv", made], check=True)
                env = Environment(Path(made))
                if torch == "none":
                    env.pip(
                        "install", "numpy", "matplotlib", "pillow", "safetensors", "typer", "rich", "jinja2"
                    )
                    env.pip("install", "--no-deps", str(wheel))
                else:
                    env.pip(
                        "install",
                        *(
                            f"{name}=={v}"
                            for name, v in zip(["torch", "torchvision"], torch.split("+tv"), strict=False)
                        ),
                    )
                    env.pip("install", str(wheel))
                yield torch, env, str(watch)


def smoke(env: Environment, commands: Sequence[str]) -> list[str]:
    """Run the commands; those that failed, with what they said."""
    failed = []
    for command in commands:
        line, watch = env.line(command), Watch()
        well, said = env.run(line)
        print(f"  {'ok' if well else 'FAILED'}: {watch}: {command}", flush=True)
        if not well:
            print(said[-1500:], flush=True)
            failed.append(command)
    return failed


def smoke_with_extra(env: Environment, wheel: Path) -> list[str]:
    """Run the commands that need an extra, without it and with it; those that did otherwise."""
    failed = []
    for name, command in WITH_EXTRA.items():
        well, said = env.run(env.line(command))
        if well or f"relprop[{name}]" not in said:
            print(f"  FAILED: without the extra {name!r}, {command} said:\n{said[-1500:]}", flush=True)
            failed.append(f"{command} without its extra")
        env.add(wheel, name)
        failed += smoke(env, [command])
    return failed


def extras(env: Environment, wheel: Path, names: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Each extra alone: what was said without it, whether it works with it, what it brought."""
    rows = []
    for name in names:
        code = EXTRAS[name]
        without, said = env.run(f"python -c {shlex.quote(code)}")
        told = (
            "refused by name"
            if f"relprop[{name}]" in said
            else "works"
            if without
            else said.splitlines()[-1][:80]
        )
        before = env.freeze()
        env.add(wheel, name)
        after = env.freeze()
        brought = {package: v for package, v in after.items() if before.get(package) != v}
        well, said = env.run(f"python -c {shlex.quote(code)}")
        result = "works" if well else said.splitlines()[-1][:120]
        rows.append((name, told, result, f"{len(brought.keys() - {'relprop'})} packages"))
        print("  " + " | ".join(rows[-1]), flush=True)
        new = [package for package in after if package not in before]
        if new:
            env.pip("uninstall", "-y", *new)
        changed = [
            f"{package}=={before[package]}"
            for package in brought
            if package in before and package != "relprop"
        ]
        if changed:
            env.pip("install", "--no-deps", *changed)
    return rows


def main() -> int:
    """Make the environments, run, print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--python", action="append", help="an interpreter; repeat for several")
    parser.add_argument(
        "--torch", action="append", help="a version, VERSION+tvVERSION for a torchvision beside it, or none"
    )
    parser.add_argument(
        "--extras", nargs="*", help="each extra alone (those named, or all), in place of the commands"
    )
    given = parser.parse_args()
    wheel, failures, rows = given.wheel.resolve(), 0, []
    for torch, env, took in environments(given.python or [sys.executable], given.torch or ["2.13.0"], wheel):
        known = env.freeze()
        head = f"Python {env.run('python -V')[1].split()[-1]}, torch {known.get('torch', 'none')}"
        print(f"{head}: installed in {took}, {env.megabytes()} MB", flush=True)
        if given.extras is not None:
            found = extras(env, wheel, given.extras or list(EXTRAS))
            failures += sum(result != "works" for _, _, result, _ in found)
            rows += [f"| `{name}` | {told} | {result} | {brought} |" for name, told, result, brought in found]
            continue
        commands = WITHOUT_TORCH if torch == "none" else COMMANDS
        failed = smoke(env, commands)
        if torch != "none":
            failed += smoke_with_extra(env, wheel)
        failures += len(failed)
        came = "all pass" if not failed else f"failed: {', '.join(failed)}"
        ran = len(commands) + (len(WITH_EXTRA) if torch != "none" else 0)
        rows.append(f"| {head} | {ran} | {came} | {env.megabytes() / 1000:.1f} GB | {took} |")
    print("\n".join(rows))
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
