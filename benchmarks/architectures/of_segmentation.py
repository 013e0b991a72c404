"""segmentation-models-pytorch: every decoder on a small encoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.architectures.case import Case, Entry, case, library

__all__ = ["entries"]

_SLIM = {"decoder_channels": (64, 64, 32, 32, 16)}
DECODERS: dict[str, dict[str, Any]] = {
    "Unet": _SLIM,
    "Unet with scse attention": _SLIM | {"decoder_attention_type": "scse"},
    "Unet on mit_b0": _SLIM | {"encoder_name": "mit_b0"},
    "Unet on tu-convnext_atto": {
        "encoder_name": "tu-convnext_atto",
        "encoder_depth": 4,
        "decoder_channels": (32, 16, 16, 8),
    },
    "UnetPlusPlus": _SLIM,
    "MAnet": _SLIM,
    "Linknet": {},
    "FPN": {},
    "PSPNet": {},
    "PAN": {},
    "DeepLabV3": {},
    "DeepLabV3Plus": {},
    "UPerNet": {},
    "Segformer": {},
    "DPT": {"encoder_name": "tu-vit_tiny_patch16_224", "dynamic_img_size": True},
}


def entries(every: bool) -> Iterator[Entry]:
    """An entry a decoder."""
    for name, told in DECODERS.items():
        yield Entry("segmentation-models-pytorch", name, _builder(name, told))


def _builder(name: str, told: dict[str, Any]) -> Any:
    def build() -> Case:
        smp = library("segmentation_models_pytorch")
        torch.manual_seed(0)
        kind = getattr(smp, name.split()[0])
        side = 128 if name == "PAN" else 64  # its pyramid pools 32 to 1 as small as 4
        usual = {"encoder_name": "resnet18", "encoder_weights": None, "classes": 3}
        return case(kind(**usual | told), (3, side, side))

    return build
