"""MONAI's networks for volumes, and pytorchvideo's for films."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from benchmarks.architectures.case import Case, Entry, NotBuiltError, case, library

__all__ = ["entries"]

_FLAT: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3}
_UNET: dict[str, Any] = {"channels": (4, 8, 16), "strides": (2, 2)}
_TOKENS: dict[str, Any] = {"hidden_size": 32, "mlp_dim": 64, "num_heads": 2}

# name: class, keywords, side of the cube
MONAI: dict[str, tuple[str, dict[str, Any], int]] = {
    "UNet": ("UNet", _FLAT | _UNET | {"num_res_units": 1}, 16),
    "AttentionUnet": ("AttentionUnet", _FLAT | _UNET, 16),
    "BasicUNet": ("BasicUNet", _FLAT | {"features": (4, 4, 8, 8, 16, 4)}, 32),
    "BasicUNetPlusPlus": ("BasicUNetPlusPlus", _FLAT | {"features": (4, 4, 8, 8, 16, 4)}, 32),
    "DynUNet": (
        "DynUNet",
        _FLAT
        | {
            "kernel_size": [3, 3, 3],
            "strides": [1, 2, 2],
            "upsample_kernel_size": [2, 2],
            "filters": [4, 8, 16],
        },
        16,
    ),
    "SegResNet": (
        "SegResNet",
        _FLAT | {"init_filters": 8, "blocks_down": (1, 1, 1), "blocks_up": (1, 1)},
        16,
    ),
    "VNet": ("VNet", _FLAT, 32),
    "HighResNet": ("HighResNet", _FLAT, 8),
    "UNETR": (
        "UNETR",
        {"in_channels": 1, "out_channels": 3, "img_size": (32, 32, 32), "feature_size": 4} | _TOKENS,
        32,
    ),
    "SwinUNETR": (
        "SwinUNETR",
        {
            "in_channels": 1,
            "out_channels": 3,
            "feature_size": 12,
            "depths": (1, 1, 1, 1),
            "num_heads": (1, 2, 2, 2),
        },
        64,
    ),
    "ViT": (
        "ViT",
        {
            "in_channels": 1,
            "img_size": (16, 16, 16),
            "patch_size": (8, 8, 8),
            "num_layers": 2,
            "classification": True,
            "num_classes": 3,
        }
        | _TOKENS,
        16,
    ),
    "DenseNet121": ("DenseNet121", _FLAT | {"block_config": (2, 2, 2, 2)}, 32),
    "ResNet": ("resnet10", {"spatial_dims": 3, "n_input_channels": 1, "num_classes": 3}, 32),
    "SEResNet50": (
        "SEResNet50",
        {"spatial_dims": 3, "in_channels": 1, "num_classes": 3, "layers": (1, 1, 1, 1)},
        32,
    ),
    "EfficientNetBN": (
        "EfficientNetBN",
        {
            "model_name": "efficientnet-b0",
            "spatial_dims": 3,
            "in_channels": 1,
            "num_classes": 3,
            "pretrained": False,
        },
        32,
    ),
}

# name: function, keywords, size of the clip
FILMS: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "slow_r50": (
        "create_resnet",
        {"model_depth": 50, "stem_dim_out": 8, "head_pool_kernel_size": (2, 2, 2)},
        (3, 2, 64, 64),
    ),
    "c2d": (
        "create_resnet",
        {
            "model_depth": 50,
            "stem_dim_out": 8,
            "head_pool_kernel_size": (2, 2, 2),
            "stage_conv_a_kernel_size": ((1, 1, 1),) * 4,
        },
        (3, 2, 64, 64),
    ),
    "x3d": (
        "create_x3d",
        {
            "input_clip_length": 4,
            "input_crop_size": 64,
            "width_factor": 1.0,
            "depth_factor": 1.0,
            "head_activation": None,
        },
        (3, 4, 64, 64),
    ),
    "csn": ("create_csn", {"stem_dim_out": 8, "head_pool_kernel_size": (1, 2, 2)}, (3, 8, 64, 64)),
    "r2plus1d": (
        "create_r2plus1d",
        {"stem_dim_out": 8, "head_pool_kernel_size": (1, 2, 2), "head_activation": None},
        (3, 8, 64, 64),
    ),
    "mvit": (
        "create_multiscale_vision_transformers",
        {
            "spatial_size": 64,
            "temporal_size": 4,
            "depth": 3,
            "embed_dim_mul": [[1, 2.0]],
            "atten_head_mul": [[1, 2.0]],
            "pool_q_stride_size": [[1, 1, 2, 2]],
            "pool_kv_stride_adaptive": [1, 4, 4],
            "pool_kvq_kernel": [3, 3, 3],
            "patch_embed_dim": 16,
            "head_num_classes": 3,
        },
        (3, 4, 64, 64),
    ),
}


def entries(every: bool) -> Iterator[Entry]:
    """An entry a network."""
    for name, told in MONAI.items():
        yield Entry("monai", name, _volume(*told))
    for name, film in FILMS.items():
        yield Entry("pytorchvideo", name, _film(*film))


def _volume(kind: str, told: dict[str, Any], side: int) -> Callable[[], Case]:
    def build() -> Case:
        nets = library("monai.networks.nets")
        torch.manual_seed(0)
        read = _first if kind in ("ViT", "BasicUNetPlusPlus") else _whole
        return case(getattr(nets, kind)(**told), (1, side, side, side), read=read)

    return build


def _film(function: str, told: dict[str, Any], size: tuple[int, ...]) -> Callable[[], Case]:
    def build() -> Case:
        models = library("pytorchvideo.models")
        if not hasattr(models, function):  # it exports some of them
            models = library(f"pytorchvideo.models.{function.removeprefix('create_')}")
        if not hasattr(models, function):
            raise NotBuiltError(f"pytorchvideo has no {function}")
        torch.manual_seed(0)
        model: nn.Module = getattr(models, function)(**told)
        return case(model, size)

    return build


def _first(out: Any) -> Any:
    return out[0]


def _whole(out: Any) -> Any:
    return out
