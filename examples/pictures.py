"""Pictures × methods on one page: what a network looks at, picture by picture.

python examples/pictures.py a.jpg b.jpg --model torchvision:squeezenet1_1 --weights squeezenet.safetensors \
        --labels classes.txt --out sheet.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

import relprop
from relprop.errors import RelpropError
from relprop.explanation import contact_sheet
from relprop.models.pictures import read_picture
from relprop.models.sources import load_model
from relprop.viz import save_figure

METHODS = [
    "gradient",
    "gradient-x-input",
    "smoothgrad",
    "integrated-gradients",
    "guided-backprop",
    "grad-cam",
    "lrp-epsilon",
    "lrp-composite",
    "lrp-alpha-beta",
    "deep-taylor",
    "excitation-backprop",
    "contrastive-excitation-backprop",
    "clrp",
]


def main() -> int:
    """Explain each picture's top class by each method; write one sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--model", default="scenes-resnet")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--method", action="append", help="repeat for several")
    parser.add_argument("--out", type=Path, default=Path("out/pictures.png"))
    options = parser.parse_args()
    model = load_model(options.model, weights=options.weights, labels=options.labels)
    pictures = torch.cat([model.preprocess(read_picture(path)) for path in options.pictures])
    explained = [relprop.explain(model.module, pictures, method=text) for text in options.method or METHODS]
    for e in explained:
        if e.ledger is not None:
            print(
                f"{e.method:<32} {'adds up' if e.ledger.closes else 'DOES NOT ADD UP'} ({e.ledger.max_error:.1e})"
            )
    figure = contact_sheet(
        explained,
        labels=model.classes,
        mean=model.mean,
        std=model.std,
        probability="sigmoid" if model.multi_label else "softmax",
        title=options.model,
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, options.out)
    print(options.out)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RelpropError as error:
        sys.exit(f"{error}")
