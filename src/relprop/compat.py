"""Import torchvision where its compiled operators don't fit the installed torch.

The torchvision wheel on the package index may be built against another torch build than the one
installed (CPU against CUDA). Its binary extension then fails to load, and `import torchvision` itself
raises "operator torchvision::nms does not exist", though no model needs a compiled operator.
`load_torchvision` declares the two operators that the import asks for, and nothing else; a matching pair
is left alone.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import threading
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from relprop.errors import InputError, RelpropError

__all__ = ["load_av", "load_timm", "load_torchvision", "nms"]

_keep: list[torch.library.Library] = []  # a Library un-declares its operators when it is collected
_importing = threading.RLock()


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression in plain torch: the kept indices, best score first.

    Args:
        boxes: (N,4), corners x0, y0, x1, y1.
        scores: (N,).
        iou_threshold: a box is dropped where its overlap (intersection over union) with a better kept
            box is larger than this.

    >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]])
    >>> nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5)  # the first two overlap by 90 / 110
    tensor([1, 2])
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order].float() if boxes.dtype in (torch.float16, torch.bfloat16) else boxes[order]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    kept: list[int] = []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(i)
        corner0 = torch.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        corner1 = torch.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
        overlap = (corner1 - corner0).clamp(min=0).prod(dim=1)
        alive[i + 1 :] &= ~(overlap / (area[i] + area[i + 1 :] - overlap) > iou_threshold)
    return order[torch.tensor(kept, dtype=torch.long, device=order.device)]


def load_torchvision() -> ModuleType:
    """Import torchvision, declaring its two operators first where its binary can't load.

    Raises:
        RelpropError: torchvision is not installed, or fails to import for another reason.
    """
    with _importing:
        return _torchvision()


def _torchvision() -> ModuleType:
    if "torchvision" in sys.modules:  # perhaps half: another thread is at it, and the import waits for it
        return importlib.import_module("torchvision")
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "Expected torchvision to be installed but it is not: pip install 'relprop[torchvision]'."
        )
    declared = not _binary_loads(spec) and not _declared("torchvision::nms")
    if declared:
        _declare()
    try:
        module = importlib.import_module("torchvision")
    except Exception as error:
        raise RelpropError(
            f"Expected torchvision to import but it failed with {type(error).__name__}: {error}. "
            f"Install the torchvision that pairs with torch {torch.__version__}."
        ) from error
    if declared:
        # Detection models ask this before they call nms, which exists now.
        importlib.import_module("torchvision.extension")._has_ops = lambda: True  # type: ignore[attr-defined]
    return module


def load_timm() -> ModuleType:
    """Import timm, and torchvision before it (timm imports it).

    Raises:
        RelpropError: timm is not installed, or fails to import.
    """
    if importlib.util.find_spec("timm") is None:
        raise InputError("Expected timm to be installed but it is not: pip install 'relprop[timm]'.")
    load_torchvision()
    return importlib.import_module("timm")


def load_av() -> ModuleType:
    """Import PyAV, which reads and writes films.

    Raises:
        InputError: PyAV is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise InputError("Expected PyAV to be installed but it is not: pip install 'relprop[video]'.")
    return importlib.import_module("av")


def _declared(name: str) -> bool:
    return bool(torch._C._dispatch_has_kernel(name))


def _binary_loads(spec: importlib.machinery.ModuleSpec) -> bool:
    """Whether torchvision's binary extension loads beside this torch (it stays loaded if so)."""
    if sys.platform == "win32":  # torchvision sets up its own DLL search there
        return True
    for folder in spec.submodule_search_locations or ():
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            path = Path(folder) / f"_C{suffix}"
            if path.is_file():
                try:
                    torch.ops.load_library(path)
                except OSError:
                    return False
                return True
    return False


def _declare() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CompositeExplicitAutograd")
    _keep.append(library)
