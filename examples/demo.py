"""`make demo`: a photograph through a real network, then a drawn scene through a bundled one; a sheet for each."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from relprop.cli import run
from relprop.datasets.demo import demo_image_path, demo_photo_path, demo_scene
from relprop.errors import InputError
from relprop.models.sources import load_model


@dataclass(frozen=True)
class Part:
    """One picture, the network that looks at it, what is asked, and what to look at."""

    picture: Path
    model: str
    target: str
    methods: list[str]
    look_for: str


PHOTOGRAPH = """What to look at in {sheet}
  A photograph, and a network that has learned ImageNet's 1000 classes from photographs.
  - rsp puts red on the coffee and the cup, faint blue on all else; lrp-composite adds handle and spoon.
  - grad-cam says where in 7 x 7 steps; gradient-x-input is exact and hardly readable.
  - lrp-epsilon leaves most of the output to biases, and says so.
"""

SCENE = """What to look at in {sheet}
  One row a class that the model sees, one column a method; the picture holds {names}.
  - Does red lie on the object that the row names, and not on its neighbour? Blue is evidence against.
  - gradient-x-input and lrp-composite answer at pixels, exact but noisy the one, calmer the other.
  - grad-cam is coarse: it answers at the last feature map and knows nothing of edges.
  - excitation-backprop finds support anywhere; its contrastive form keeps what tells this class from others.
  - The table above says where the rest of each output went: to biases, to the stabiliser, or lost."""


def photograph() -> Part:
    """The real network on a real photograph.

    Raises:
        InputError: a package of relprop[photo] is missing.
    """
    load_model("efficientnet-lite0")
    methods = ["rsp", "lrp-composite", "grad-cam", "gradient-x-input", "lrp-epsilon"]
    return Part(demo_photo_path("coffee"), "efficientnet-lite0", "top", methods, PHOTOGRAPH)


def scene() -> Part:
    """The bundled network on a scene whose truth is known."""
    methods = [
        "gradient-x-input",
        "grad-cam",
        "lrp-composite",
        "excitation-backprop",
        "contrastive-excitation-backprop",
    ]
    return Part(demo_image_path(), "scenes-resnet", "predicted", methods, SCENE)


def shown(part: Part, out: Path) -> int:
    """Explain, say where the sheet lies; the exit code of `relprop explain`."""
    picture = Path(os.path.relpath(part.picture))
    command = ["explain", str(picture), "--model", part.model, "--target", part.target, "--out", str(out)]
    for method in part.methods:
        command += ["--method", method]
    print("$ relprop", " ".join(command), "\n", flush=True)
    code = run(command)
    if code:
        return code
    sheet = out / picture.stem / "sheet.png"
    print(part.look_for.format(sheet=sheet, names=", ".join(demo_scene().names)), flush=True)
    return 0


def main() -> int:
    """Show both parts, the drawn scene alone where relprop[photo] isn't there; the first exit code but 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    options = parser.parse_args()
    try:
        code = shown(photograph(), options.out)
    except InputError as error:
        print(f"The photograph is left out. {error}\n", flush=True)
        code = 0
    return code or shown(scene(), options.out)


if __name__ == "__main__":
    sys.exit(main())
