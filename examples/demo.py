"""`make demo`: the picture that comes with relprop, one bundled model, several methods, one contact sheet."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from relprop.cli import run
from relprop.datasets.demo import demo_image_path, demo_scene

MODEL = "scenes-resnet"
METHODS = [
    "gradient-x-input",
    "grad-cam",
    "lrp-composite",
    "excitation-backprop",
    "contrastive-excitation-backprop",
]

LOOK_FOR = """What to look at in {sheet}
  One row a class that the model sees, one column a method; the picture holds {names}.
  - Does red lie on the object that the row names, and not on its neighbour? Blue is evidence against.
  - gradient-x-input and lrp-composite answer at pixels, exact but noisy the one, calmer the other.
  - grad-cam is coarse: it answers at the last feature map and knows nothing of edges.
  - excitation-backprop finds support anywhere; its contrastive form keeps what tells this class from others.
  - The table above says where the rest of each output went: to biases, to the stabiliser, or lost."""


def main() -> int:
    """Explain, say where the sheet lies; the exit code of `relprop explain`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--picture", type=Path, help="copy the sheet here too (docs/assets/demo.png)")
    options = parser.parse_args()
    picture = Path(os.path.relpath(demo_image_path()))
    command = ["explain", str(picture), "--model", MODEL, "--target", "predicted", "--out", str(options.out)]
    for method in METHODS:
        command += ["--method", method]
    print("$ relprop", " ".join(command), "\n")
    code = run(command)
    if code:
        return code
    sheet = options.out / picture.stem / "sheet.png"
    print(LOOK_FOR.format(sheet=sheet, names=", ".join(demo_scene().names)))
    if options.picture:
        shutil.copyfile(sheet, options.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
