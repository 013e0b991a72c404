"""The front page's table: what the same question costs and gives with relprop and with other libraries.

    pip install zennit captum
    pip install --no-deps grad-cam torchray      # what they need besides is there, or isn't used here
    python benchmarks/beside_others.py           # about four minutes on two idle cores
    python benchmarks/beside_others.py --only sums

Each row is made here and now, by the version that its column names. A library that isn't installed leaves its
row out, and says so. Networks have torchvision's layers and random weights: times and accounts don't depend on
training. Times are medians over rounds, in input-gradients of the same network, each call timed between two.
"""

from __future__ import annotations

import argparse
import copy
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor, nn

import relprop
from benchmarks.cases import CASES, Work, gradient
from benchmarks.common import build, environment, markdown, noise
from benchmarks.ratio import STEADY, Call, costs, timing_options
from relprop.compat import load_torchvision

#: Network -> its last convolution, where Grad-CAM is read in both libraries.
NETWORKS = {"vgg16": "features.28", "resnet50": "layer4.2.conv3"}
#: Package -> the module that it installs.
MODULES = {"captum": "captum", "zennit": "zennit", "torchray": "torchray", "grad-cam": "pytorch_grad_cam"}
Row = list[str]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the rows that the command line asks for."""
    parts = {"times": _times, "sums": _sums, "points": _points}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=parts, default=list(parts), metavar="PART", help=", ".join(parts)
    )
    timing_options(parser)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    print(", ".join(f"{k} {v}" for k, v in environment(args.device).items()), file=sys.stderr, flush=True)
    load_torchvision()  # the others import torchvision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [row for part in args.only for row in parts[part](args)]
    print(markdown(["", "relprop", "the other"], rows))
    return 0


# -- times -----------------------------------------------------------------------------------------------


def _times(args: argparse.Namespace) -> Iterator[Row]:
    found: dict[str, dict[str, float]] = {}
    for name in NETWORKS:
        with ExitStack() as stack:
            frozen = build(name, (3, 64, 64))
            x = noise((1, 3, 224, 224), seed=5)
            work = Work(name, frozen, x, frozen(x).argmax(1), stack)
            calls = {key: make(work) for key, make in _calls().items() if _runs(key, name)}
            found[name] = {
                key: cost.gradients
                for key, cost in costs(gradient(work), calls, args, warm_up=STEADY)[0].items()
            }
    pairs = [
        ("LRP-ε", "ε", "captum"),
        ("LRP with ε and z⁺", "ε z⁺", "zennit"),
        ("excitation backprop", "EB", "torchray EB"),
        ("Grad-CAM", "CAM", "torchray CAM"),
        ("Grad-CAM", "CAM", "grad-cam"),
    ]
    for label, ours, theirs in pairs:
        nets = [name for name in NETWORKS if ours in found[name] and theirs in found[name]]
        if nets:
            mine, other = (", ".join(f"{found[name][key]:.2f}" for name in nets) for key in (ours, theirs))
            yield [f"Time: {label}, {', '.join(nets)}", mine, f"{_named(theirs.split()[0])}: {other}"]


def _calls() -> dict[str, Callable[[Work], Call]]:
    return {
        "ε": CASES["epsilon"].prepare,
        "captum": CASES["captum"].prepare,
        "ε z⁺": CASES["epsilon-plus"].prepare,
        "zennit": CASES["zennit-epsilon-plus"].prepare,
        "EB": _ours("excitation-backprop"),
        "torchray EB": _torchray_eb,
        "CAM": _our_cam,
        "torchray CAM": _torchray_cam,
        "grad-cam": _grad_cam,
    }


def _runs(key: str, network: str) -> bool:
    """Whether a call is ours or its library is there, and takes this network: captum's LRP takes VGG-16 alone."""
    library = key.split()[0]
    return library not in MODULES or (
        _there(library) and CASES.get(key, CASES["epsilon"]).applies(network, 1)
    )


def _ours(method: str) -> Callable[[Work], Call]:
    return lambda work: lambda: relprop.explain(work.model, work.x, work.target, method)


def _as_it_comes(work: Work) -> nn.Module:
    """The network as a user has it: its weights aren't frozen."""
    return copy.deepcopy(work.model).requires_grad_(True)


def _our_cam(work: Work) -> Call:
    model, method = _as_it_comes(work), relprop.GradCAM(at=NETWORKS[work.name])
    return lambda: relprop.explain(model, work.x, work.target, method)


def _torchray_eb(work: Work) -> Call:
    from torchray.attribution.excitation_backprop import excitation_backprop

    model = _as_it_comes(work)
    return lambda: excitation_backprop(model, work.x, int(work.target[0]), saliency_layer="")


def _torchray_cam(work: Work) -> Call:
    from torchray.attribution.grad_cam import grad_cam

    model = _as_it_comes(work)
    return lambda: grad_cam(model, work.x, int(work.target[0]), saliency_layer=NETWORKS[work.name])


def _grad_cam(work: Work) -> Call:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = _as_it_comes(work)
    cam = GradCAM(model=model, target_layers=[model.get_submodule(NETWORKS[work.name])])
    asked = [ClassifierOutputTarget(int(work.target[0]))]
    return lambda: cam(input_tensor=work.x, targets=asked)


# -- sums ------------------------------------------------------------------------------------------------


class Added(nn.Module):
    """Three blocks whose additions are written as `+`, without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(3))
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(3))
        self.head = nn.Linear(75, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of 4 classes for x (N, 3, 5, 5)."""
        for conv, relu in zip(self.convs, self.relus, strict=True):
            x = relu(conv(x)) + x
        return self.head(x.flatten(1))


def _sums(args: argparse.Namespace) -> Iterator[Row]:
    torch.manual_seed(0)
    net = load_torchvision().models.resnet18(weights=None).double().eval()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    target = int(net(x).argmax())
    score = float(net(x).detach()[0, target])
    found = relprop.explain(net, x, target, "lrp-epsilon")
    assert found.ledger is not None
    book = found.ledger
    ours = f"{float(found.relevance.sum()):.3g} input + {book.bias:.2g} biases + {book.stabiliser:.2g} stabiliser"
    for name, summed in {"captum": _captum_sum, "zennit": _zennit_sum}.items():
        if _there(name):
            said = f"{_named(name)}: sums to {summed(net, x, target):.1g}"
            yield [f"LRP-ε through a ResNet-18 as it comes, score {score:.3g}", ours, said]
    if _there("zennit"):
        yield _added()


def _captum_sum(net: nn.Module, x: Tensor, target: int) -> float:
    from captum.attr import LRP

    return float(LRP(copy.deepcopy(net)).attribute(x.clone().requires_grad_(), target).sum())


def _zennit_sum(net: nn.Module, x: Tensor, target: int, rule: str = "Epsilon") -> float:
    """The sum by zennit's rule on its layers, as a user would without its canonizers."""
    from zennit import rules
    from zennit.attribution import Gradient
    from zennit.composites import LayerMapComposite
    from zennit.types import Activation, Linear

    layers = LayerMapComposite([(Linear, getattr(rules, rule)()), (Activation, rules.Pass())])
    with Gradient(model=copy.deepcopy(net), composite=layers) as attributor:
        output = net(x).detach()
        seed = torch.zeros_like(output)
        seed[0, target] = output[0, target]
        return float(attributor(x.clone(), seed)[1].sum())


def _added() -> Row:
    torch.manual_seed(0)
    net, x = Added().double().eval(), torch.rand(1, 3, 5, 5, dtype=torch.float64)
    target = int(net(x).argmax())
    found = relprop.explain(net, x, target, relprop.LRP(rule="z-plus"))
    assert found.ledger is not None
    score = float(net(x).detach()[0, target])
    ours = float(found.relevance.sum())
    theirs = _zennit_sum(net, x, target, "ZPlus")
    return [
        f"z⁺ through three additions written as `+`, score {score:.3g}",
        f"sums to {ours:.3g}, {found.ledger.lost:.2g} lost",
        f"{_named('zennit')}: sums to {theirs:.3g}",
    ]


# -- points ----------------------------------------------------------------------------------------------


def _points(args: argparse.Namespace, cases: int = 2000) -> Iterator[Row]:
    """The Pointing Game's verdict on the same points and regions."""
    if not _there("torchray"):
        return
    from torchray.benchmark.pointing_game import PointingGame

    game, chance, same, hits = PointingGame(1, tolerance=15), np.random.default_rng(0), 0, 0
    for _ in range(cases):
        height, width = chance.integers(40, 200, 2)
        region = np.zeros((height, width), dtype=bool)
        top, left = chance.integers(0, height - 8), chance.integers(0, width - 8)
        region[top : top + chance.integers(4, 60), left : left + chance.integers(4, 60)] = True
        y, x = int(chance.integers(height)), int(chance.integers(width))
        heat = np.zeros((height, width))
        heat[y, x] = 1.0
        ours = bool(relprop.metrics.pointing_game(heat, region))
        same += ours == (game.evaluate(torch.from_numpy(region), (x, y)) == 1)
        hits += ours
    yield [
        f"Pointing Game, {cases} points, {hits} hits",
        f"{same} of {cases} verdicts the same",
        _named("torchray"),
    ]


def _there(library: str) -> bool:
    """Whether a library is installed; says so where it isn't."""
    found = find_spec(MODULES[library]) is not None
    if not found:
        print(f"{library}: not installed", file=sys.stderr)
    return found


def _named(library: str) -> str:
    known = {"torchray": "TorchRay", "grad-cam": "pytorch-grad-cam"}
    return f"{known.get(library, library)} {version(library)}"


if __name__ == "__main__":
    sys.exit(main())
