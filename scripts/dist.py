"""Build wheel and sdist twice, refuse what differs or is too large, and leave them in dist/ with their hashes.

    make dist          # or: python scripts/dist.py, with `build` installed

Times in the archives are the last commit's (SOURCE_DATE_EPOCH), so that anybody can build the same bytes again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST = 8_500_000  # bytes of a wheel; 6.2 million of them are the bundled networks' weights


def main() -> int:
    """Build, compare, look over, keep."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct")
    with tempfile.TemporaryDirectory() as made:
        first, second = (_build(Path(made) / name, epoch) for name in ("one", "two"))
        differing = [name for name in first if _hash(first[name]) != _hash(second.get(name, first[name]))]
        if differing or first.keys() != second.keys():
            print(
                f"Not reproducible: {', '.join(differing or first.keys() ^ second.keys())}", file=sys.stderr
            )
            return 1
        wheel = next(path for name, path in first.items() if name.endswith(".whl"))
        if wheel.stat().st_size > MOST:
            print(f"{wheel.name} has {wheel.stat().st_size} bytes, more than {MOST}", file=sys.stderr)
            return 1
        shutil.rmtree(ROOT / "dist", ignore_errors=True)
        (ROOT / "dist").mkdir()
        for name, path in first.items():
            print(f"{_hash(path)}  {path.stat().st_size / 1e6:5.2f} MB  dist/{name}")
            shutil.copy(path, ROOT / "dist" / name)
    print(f"built twice with SOURCE_DATE_EPOCH={epoch}: the same bytes")
    return 0


def _build(folder: Path, epoch: str) -> dict[str, Path]:
    """Wheel and sdist of what is committed, from a fresh checkout: file name -> path."""
    source, out = folder / "source", folder / "out"
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive, check=True)
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(source)],
        check=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": epoch},
        stdout=subprocess.DEVNULL,
    )
    return {path.name: path for path in sorted(out.iterdir())}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
