"""Doctor: whether relprop works on this machine: versions, extras, devices, and an explanation that adds up."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from relprop.errors import RelpropError
from relprop.reports.text import Block, Table, lines

__all__ = ["EXTRAS", "Checkup", "doctor"]

#: What each extra is for. Those of relprop's own developers are left out.
EXTRAS = {
    "torchvision": "torchvision:NAME, its models and detectors",
    "timm": "timm:NAME, its models",
    "video": "relprop video of film files",
    "benchmark": "relprop benchmark: all metrics",
    "photo": "efficientnet-lite0, a network for photographs",
    "coco": "COCO's annotations",
    "imagenet-segmentation": "the data set of that name",
    "crf": "segmentations refined by a dense CRF",
    "ray": "relprop benchmark on a cluster",
    "quantus": "metrics of Quantus",
    "app": "relprop app",
}
_MODEL, _METHOD = "scenes-vgg", "lrp-composite"


@dataclass(frozen=True)
class Checkup:
    """What the doctor found.

    Attributes:
        document: plain values, as `relprop doctor --json` prints them.
        text: the same in words.
        well: whether the self-test passed.
    """

    document: Mapping[str, Any]
    text: tuple[Block, ...]
    well: bool

    def lines(self, console: Any = None) -> list[str]:
        """The text as lines, as wide as the console at most."""
        return lines(self.text, None, console)

    def __str__(self) -> str:
        return "\n".join(self.lines())


def doctor() -> Checkup:
    """Look at versions, extras, devices and threads, and explain the demo picture.

    Nothing is downloaded, and nothing that is broken raises: it is told.
    """
    packages, extras = _packages(), _extras()
    machine, pair, test = _machine(), _pair(), _tested()
    head = {
        "relprop": _version("relprop") or "not installed",
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    document = head | {
        "packages": packages,
        "extras": extras,
        "machine": machine,
        "torch_and_torchvision": pair,
        "self_test": test,
    }
    gpus = ", ".join(machine["gpus"]) or "none that torch sees"
    text: tuple[Block, ...] = (
        f"relprop {head['relprop']}, Python {head['python']}, {head['platform']}",
        f"{machine['cores']} CPU cores, torch on {machine['threads'] or '?'} threads; GPU: {gpus}",
        pair["verdict"],
        "",
        Table(["package", "version"], [[name, found or "absent"] for name, found in packages.items()]),
        "",
        Table(
            ["extra", "what for", "state"],
            [[name, EXTRAS[name], _state(e)] for name, e in extras.items()],
        ),
        "",
        test["verdict"],
    )
    return Checkup(document, text, test["passed"])


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _requirements() -> dict[str, list[str]]:
    """Extra -> the packages that it brings; "" -> those that always come."""
    found: dict[str, list[str]] = {}
    try:
        needed = requires("relprop") or []
    except PackageNotFoundError:
        needed = []
    for requirement in needed:
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        name = re.match(r"[\w.-]+", requirement)
        if name is not None:
            found.setdefault(extra.group(1) if extra else "", []).append(name.group())
    return found


def _packages() -> dict[str, str | None]:
    return {name: _version(name) for name in [*_requirements().get("", ["torch"]), "torchvision"]}


def _extras() -> dict[str, dict[str, Any]]:
    needed = _requirements()
    return {
        extra: {
            "there": all(map(_version, needed[extra])),
            "packages": {name: _version(name) for name in needed[extra]},
            "install": f"pip install 'relprop[{extra}]'",
        }
        for extra in EXTRAS
        if extra in needed
    }


def _state(found: Mapping[str, Any]) -> str:
    if found["there"]:
        return "there: " + ", ".join(f"{name} {number}" for name, number in found["packages"].items())
    return f"absent: {found['install']}"


def _machine() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {"cores": cores, "threads": None, "gpus": []}
    found["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS")
    try:
        import torch

        found["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        elif torch.backends.mps.is_available():
            found["gpus"] = ["mps"]
    except Exception as error:  # the self-test tells the same
        found["problem"] = _said(error)
    return found


def _pair() -> dict[str, Any]:
    """Whether torch and torchvision belong together."""
    torch, torchvision = _version("torch"), _version("torchvision")
    found: dict[str, Any] = {"torch": torch, "torchvision": torchvision, "pairs": None, "compiled": None}
    if torch is None or torchvision is None:
        missing = "torch" if torch is None else "torchvision"
        return found | {"verdict": f"{missing} is not installed: pip install 'relprop[torchvision]'."}
    wanted = _partner(torch)
    found["pairs"] = wanted is None or torchvision.startswith(f"{wanted}.")
    if not found["pairs"]:
        advice = f"pip install 'torchvision=={wanted}.*'"
        return found | {
            "verdict": f"torch {torch} and torchvision {torchvision} don't belong together: {advice}."
        }
    try:
        from relprop.compat import load_torchvision, torchvision_compiled

        load_torchvision()
        found["compiled"] = torchvision_compiled()
    except Exception as error:
        return found | {"verdict": f"torch {torch} and torchvision {torchvision}: {_said(error)}"}
    own = (
        ""
        if found["compiled"]
        else "; its compiled operators don't load here, relprop's own stand in for them"
    )
    return found | {"verdict": f"torch {torch} and torchvision {torchvision} belong together{own}."}


def _partner(torch: str) -> str | None:
    """The torchvision of a torch, by their numbers: 2.6 has 0.21, and both count on; None for other majors.

    >>> _partner("2.13.0+cpu")
    '0.28'
    """
    numbers = re.match(r"2\.(\d+)", torch)
    return None if numbers is None else f"0.{int(numbers.group(1)) + 15}"


def _tested(explained: Callable[[], Any] | None = None) -> dict[str, Any]:
    """Explain the demo picture; passed where every unit of relevance is accounted for."""
    begin = time.perf_counter()
    found: dict[str, Any] = {"model": _MODEL, "method": _METHOD, "passed": False, "problem": None}
    try:
        ledger = (explained or _explained)().ledger
        found |= {"passed": ledger.closes, "max_error": ledger.max_error, "tolerance": ledger.tolerance}
        if not ledger.closes:
            found["problem"] = "the ledger does not close"
    except Exception as error:
        found["problem"] = _said(error)
    found["seconds"] = round(time.perf_counter() - begin, 2)
    what = f"{_METHOD} of the demo picture through {_MODEL}"
    if found["passed"]:
        closes = f"the ledger closes (error {found['max_error']:.1e}, allowed {found['tolerance']:.0e})"
        return found | {"verdict": f"Self-test passed in {found['seconds']:.1f} s: {what}, {closes}."}
    return found | {"verdict": f"SELF-TEST FAILED: {what}: {found['problem']}."}


def _explained() -> Any:
    from PIL import Image

    import relprop
    from relprop.datasets.demo import demo_image_path

    bundled = relprop.models.load(_MODEL)
    x = bundled.preprocess(Image.open(demo_image_path()))
    return relprop.explain(bundled.module, x, method=_METHOD)


def _said(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text if isinstance(error, RelpropError) else f"{type(error).__name__}: {text}"
