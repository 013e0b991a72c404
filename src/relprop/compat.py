"""Import torchvision where its compiled operators don't fit the installed torch.

The torchvision wheel on the package index may be built against another torch build than the one
installed (CPU against CUDA). Its binary extension then fails to load, and `import torchvision` itself
raises "operator torchvision::nms does not exist", though no model needs a compiled operator.
`load_torchvision` declares the two operators that the import asks for and the one that Faster R-CNN and its
kin can't do without (torchvision's substitute in Python has to be compiled at the first call); a matching pair is
left alone.
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

__all__ = [
    "film_settings",
    "load_av",
    "load_timm",
    "load_torchvision",
    "nms",
    "roi_align",
    "torchvision_compiled",
]

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


def roi_align(
    maps: Tensor, rois: Tensor, scale: float, rows: int, columns: int, ratio: int, aligned: bool
) -> Tensor:
    """RoIAlign in plain torch: averages of feature maps over a grid of cells in each box, (K, C, rows, columns).

    Args:
        maps: (N, C, H, W).
        rois: (K, 5), a sample's number and a box in pixels of the input, corners x0, y0, x1, y1.
        scale: pixels of the maps per pixel of the input.
        rows, columns: how many cells.
        ratio: places a cell along each axis; 0 or less: one for each pixel that a cell spans.
        aligned: whether a pixel's centre, rather than its corner, has whole coordinates.

    Source: He et al., Mask R-CNN, ICCV 2017, section 3.

    >>> rising = torch.arange(5.0).expand(1, 1, 5, 5)  # the value is the column
    >>> roi_align(rising, torch.tensor([[0.0, 1, 1, 4, 4]]), 1.0, 1, 1, 2, False)
    tensor([[[[2.5000]]]])
    """
    found = [maps.new_zeros(0, maps.shape[1], rows, columns)]
    for sample, *_ in rois[:, :1].int().tolist():  # the weights of one box at a time: there may be a thousand
        x0, y0, x1, y1 = rois[len(found) - 1, 1:].to(maps) * scale - 0.5 * aligned
        top, down = _cell_weights(y0, y1, rows, maps.shape[2], ratio, aligned)
        left, across = _cell_weights(x0, x1, columns, maps.shape[3], ratio, aligned)
        part = maps[sample, :, top : top + down.shape[1], left : left + across.shape[1]]
        found.append((down @ part @ across.T)[None])
    return torch.cat(found)


def _cell_weights(
    low: Tensor, high: Tensor, cells: int, length: int, ratio: int, aligned: bool
) -> tuple[int, Tensor]:
    """The first pixel of an axis that counts, and what it and those behind count in each cell, (cells, pixels)."""
    extent = high - low if aligned else (high - low).clamp(min=1.0)
    places = ratio if ratio > 0 else max(1, int(torch.ceil(extent / cells)))
    at = low + (torch.arange(cells * places).to(low) + 0.5) * (extent / (cells * places))
    # Up to a pixel outside, the map goes on as at its edge; beyond that it is 0.
    outside, at = (at < -1) | (at > length), at.clamp(0, length - 1)
    first = int(at[0])
    pixels = torch.arange(first, min(int(at[-1]) + 2, length)).to(low)
    weights = (1 - (at[:, None] - pixels).abs()).clamp(min=0).masked_fill(outside[:, None], 0.0)
    return first, weights.unflatten(0, (cells, places)).mean(1)


def load_torchvision() -> ModuleType:
    """Import torchvision, declaring its operators first where its binary can't load.

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
        sys.modules["torchvision.ops.roi_align"]._has_ops = lambda: True  # type: ignore[attr-defined]
    return module


def torchvision_compiled() -> bool:
    """Whether torchvision's own compiled operators are there; False: those declared here stand in for them."""
    return not any(library.ns == "torchvision" for library in _keep)


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


def film_settings() -> dict[str, str]:
    """What `av.open` has to be told so that titles in other encodings don't stop a film; PyAV 19 needs nothing."""
    major = int(load_av().__version__.partition(".")[0])
    return {"metadata_errors": "replace"} if major < 19 else {}


def _declared(name: str) -> bool:
    return bool(torch._C._dispatch_has_kernel(name))


def _binary_loads(spec: importlib.machinery.ModuleSpec) -> bool:
    """Whether torchvision's binary extension loads beside this torch (it stays loaded if so)."""
    if sys.platform == "win32":  # torchvision sets up its own DLL search there
        return True
    # Named _C, in torchvision 0.29 _C_stable. One that is overlooked here declares its operators a second time
    # once torchvision loads it, which ends the process.
    endings = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    for path in [path for folder in folders for path in sorted(folder.glob("_C*"))]:
        if path.name.endswith(endings):
            try:
                torch.ops.load_library(path)
            except OSError:
                continue
            return True
    return False


def _declare() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CompositeExplicitAutograd")
    library.define(
        "roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width, "
        "int sampling_ratio, bool aligned) -> Tensor"
    )
    library.impl("roi_align", roi_align, "CompositeImplicitAutograd")
    _keep.append(library)
