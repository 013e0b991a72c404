"""transformers: vision models made from small configurations, as they come: relprop finds their logits itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.architectures.case import Case, Entry, NotBuiltError, case, library

__all__ = ["entries"]

_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
_TOKENS: dict[str, Any] = _SIZES | {"image_size": 32, "patch_size": 8}
_STAGES: dict[str, Any] = {"hidden_sizes": [16, 32, 32, 64], "depths": [1, 1, 1, 1]}
_SWIN: dict[str, Any] = {
    "image_size": 64,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
}
_DETR: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "num_queries": 5,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
_PYRAMID: dict[str, Any] = {
    "image_size": 64,
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [16, 16, 32, 32],
    "num_attention_heads": [1, 1, 2, 2],
}
_RESNET: dict[str, Any] = {"embedding_size": 16} | _STAGES


@dataclass(frozen=True)
class _Kind:
    """A model class, what its configuration is told, and what its input looks like.

    Attributes:
        told: keywords, or a function of the library that gives them.
        size: of one input.
        output: of `relprop.explain`, where there are no logits.
        read: the scores.
    """

    model: str
    config: str
    told: dict[str, Any] | Callable[[Any], dict[str, Any]]
    size: tuple[int, ...] = (3, 32, 32)
    output: Any = None
    read: Callable[[Any], Tensor] = field(default=lambda out: out.logits)


def _pooled(out: Any) -> Tensor:
    return out.pooler_output


def _tokens(out: Any) -> Tensor:
    return out.last_hidden_state.mean(1)


KINDS: tuple[_Kind, ...] = (
    _Kind("ViTForImageClassification", "ViTConfig", _TOKENS),
    _Kind("DeiTForImageClassification", "DeiTConfig", _TOKENS),
    _Kind("DeiTForImageClassificationWithTeacher", "DeiTConfig", _TOKENS),
    _Kind("BeitForImageClassification", "BeitConfig", _TOKENS),
    _Kind("Data2VecVisionForImageClassification", "Data2VecVisionConfig", _TOKENS),
    _Kind("ViTMSNForImageClassification", "ViTMSNConfig", _TOKENS),
    _Kind("Dinov2ForImageClassification", "Dinov2Config", _TOKENS),
    _Kind("Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig", _TOKENS),
    _Kind("IJepaForImageClassification", "IJepaConfig", _TOKENS),
    _Kind("SwinForImageClassification", "SwinConfig", _SWIN, (3, 64, 64)),
    _Kind("Swinv2ForImageClassification", "Swinv2Config", _SWIN, (3, 64, 64)),
    _Kind(
        "FocalNetForImageClassification",
        "FocalNetConfig",
        {
            "image_size": 64,
            "embed_dim": 16,
            "depths": [1, 1],
            "focal_levels": [2, 2],
            "focal_windows": [3, 3],
        },
        (3, 64, 64),
    ),
    _Kind("ConvNextForImageClassification", "ConvNextConfig", _STAGES, (3, 64, 64)),
    _Kind("ConvNextV2ForImageClassification", "ConvNextV2Config", _STAGES, (3, 64, 64)),
    _Kind("ResNetForImageClassification", "ResNetConfig", _RESNET, (3, 64, 64)),
    _Kind("RegNetForImageClassification", "RegNetConfig", _RESNET | {"groups_width": 16}, (3, 64, 64)),
    _Kind(
        "BitForImageClassification",
        "BitConfig",
        {"embedding_size": 32, "num_groups": 8} | _STAGES,
        (3, 64, 64),
    ),
    _Kind("MobileNetV1ForImageClassification", "MobileNetV1Config", {"depth_multiplier": 0.25}, (3, 64, 64)),
    _Kind("MobileNetV2ForImageClassification", "MobileNetV2Config", {"depth_multiplier": 0.35}, (3, 64, 64)),
    _Kind(
        "EfficientNetForImageClassification",
        "EfficientNetConfig",
        {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
        (3, 64, 64),
    ),
    _Kind(
        "MobileViTForImageClassification",
        "MobileViTConfig",
        {
            "hidden_sizes": [16, 24, 32],
            "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 32],
            "num_attention_heads": 2,
        },
        (3, 64, 64),
    ),
    _Kind(
        "MobileViTV2ForImageClassification",
        "MobileViTV2Config",
        {"width_multiplier": 0.25, "n_attn_blocks": [1, 1, 1]},
        (3, 64, 64),
    ),
    _Kind("PoolFormerForImageClassification", "PoolFormerConfig", _STAGES, (3, 64, 64)),
    _Kind("PvtForImageClassification", "PvtConfig", _PYRAMID, (3, 64, 64)),
    _Kind("PvtV2ForImageClassification", "PvtV2Config", _PYRAMID, (3, 64, 64)),
    _Kind(
        "CvtForImageClassification",
        "CvtConfig",
        {"embed_dim": [16, 16, 32], "num_heads": [1, 1, 2], "depth": [1, 2, 3]},
        (3, 64, 64),
    ),
    _Kind(
        "LevitForImageClassificationWithTeacher",
        "LevitConfig",
        {
            "image_size": 64,
            "hidden_sizes": [16, 32, 48],
            "num_attention_heads": [1, 2, 2],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
        (3, 64, 64),
    ),
    _Kind(
        "SwiftFormerForImageClassification",
        "SwiftFormerConfig",
        {"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [16, 16, 32, 32]},
        (3, 64, 64),
    ),
    _Kind(
        "HieraForImageClassification",
        "HieraConfig",
        {"embed_dim": 16, "image_size": [64, 64], "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8]},
        (3, 64, 64),
    ),
    _Kind(
        "SegformerForImageClassification",
        "SegformerConfig",
        {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 16, 32, 32], "num_attention_heads": [1, 1, 2, 2]},
        (3, 64, 64),
    ),
    _Kind("HGNetV2ForImageClassification", "HGNetV2Config", {}, (3, 64, 64)),
    _Kind("TextNetForImageClassification", "TextNetConfig", {}, (3, 64, 64)),
    _Kind("DINOv3ViTModel", "DINOv3ViTConfig", _TOKENS, (3, 32, 32), "pooler_output", _pooled),
    _Kind("DINOv3ConvNextModel", "DINOv3ConvNextConfig", _STAGES, (3, 64, 64), "pooler_output", _pooled),
    _Kind("CLIPVisionModel", "CLIPVisionConfig", _TOKENS, (3, 32, 32), "pooler_output", _pooled),
    _Kind("SiglipVisionModel", "SiglipVisionConfig", _TOKENS, (3, 32, 32), "pooler_output", _pooled),
    _Kind("SiglipForImageClassification", "SiglipConfig", {"vision_config": _TOKENS}),
    _Kind("BlipVisionModel", "BlipVisionConfig", _TOKENS, (3, 32, 32), "pooler_output", _pooled),
    _Kind(
        "Aimv2VisionModel",
        "Aimv2VisionConfig",
        _TOKENS,
        (3, 32, 32),
        lambda out: out.last_hidden_state.mean(1),
        _tokens,
    ),
    _Kind(
        "VJEPA2ForVideoClassification",
        "VJEPA2Config",
        _SIZES
        | {
            "crop_size": 32,
            "patch_size": 8,
            "frames_per_clip": 4,
            "pred_hidden_size": 32,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
            "num_pooler_layers": 1,
        },
        (4, 3, 32, 32),
    ),
    _Kind("VideoMAEForVideoClassification", "VideoMAEConfig", _TOKENS | {"num_frames": 4}, (4, 3, 32, 32)),
    _Kind(
        "VivitForVideoClassification",
        "VivitConfig",
        _SIZES | {"image_size": 32, "num_frames": 4, "tubelet_size": [2, 8, 8]},
        (4, 3, 32, 32),
    ),
    _Kind(
        "TimesformerForVideoClassification", "TimesformerConfig", _TOKENS | {"num_frames": 4}, (4, 3, 32, 32)
    ),
    _Kind(
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [16, 16, 32, 32],
            "num_attention_heads": [1, 1, 2, 2],
            "decoder_hidden_size": 32,
        },
        (3, 64, 64),
    ),
    _Kind(
        "UperNetForSemanticSegmentation",
        "UperNetConfig",
        lambda lib: {
            "backbone_config": lib.ConvNextConfig(
                **_STAGES, out_features=["stage1", "stage2", "stage3", "stage4"]
            ),
            "hidden_size": 32,
            "use_auxiliary_head": False,
        },
        (3, 64, 64),
    ),
    _Kind(
        "DPTForSemanticSegmentation",
        "DPTConfig",
        _TOKENS
        | {
            "num_hidden_layers": 4,
            "backbone_out_indices": [0, 1, 2, 3],
            "fusion_hidden_size": 32,
            "neck_hidden_sizes": [16, 16, 32, 32],
            "use_auxiliary_head": False,
        },
    ),
    _Kind(
        "BeitForSemanticSegmentation",
        "BeitConfig",
        _TOKENS | {"num_hidden_layers": 4, "out_indices": [1, 2, 3, 4], "use_auxiliary_head": False},
        (3, 32, 32),
    ),
    _Kind(
        "DepthAnythingForDepthEstimation",
        "DepthAnythingConfig",
        lambda lib: {
            "backbone_config": lib.Dinov2Config(**_TOKENS, out_indices=[1, 2], reshape_hidden_states=False),
            "reassemble_hidden_size": 32,
            "patch_size": 8,
            "neck_hidden_sizes": [16, 32],
            "reassemble_factors": [2, 1],
            "fusion_hidden_size": 16,
            "depth_estimation_type": "metric",
        },
        (3, 32, 32),
        "predicted_depth",
        lambda out: out.predicted_depth,
    ),
    _Kind(
        "YolosForObjectDetection",
        "YolosConfig",
        _TOKENS | {"image_size": [32, 32], "num_detection_tokens": 5},
        (3, 32, 32),
    ),
    _Kind(
        "DetrForObjectDetection",
        "DetrConfig",
        lambda lib: (
            _DETR
            | {
                "backbone_config": lib.ResNetConfig(**_RESNET, out_features=["stage4"]),
                "use_timm_backbone": False,
                "use_pretrained_backbone": False,
                "backbone": None,
            }
        ),
        (3, 64, 64),
    ),
    _Kind(
        "ConditionalDetrForObjectDetection",
        "ConditionalDetrConfig",
        lambda lib: (
            _DETR
            | {
                "backbone_config": lib.ResNetConfig(**_RESNET, out_features=["stage4"]),
                "use_timm_backbone": False,
                "use_pretrained_backbone": False,
                "backbone": None,
            }
        ),
        (3, 64, 64),
    ),
    _Kind(
        "RTDetrForObjectDetection",
        "RTDetrConfig",
        lambda lib: {
            "d_model": 32,
            "encoder_hidden_dim": 32,
            "encoder_in_channels": [32, 32, 64],
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "decoder_layers": 1,
            "num_queries": 5,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "decoder_in_channels": [32] * 3,
            "num_denoising": 0,
            "feat_strides": [8, 16, 32],
            "backbone_config": lib.RTDetrResNetConfig(
                embedding_size=16,
                hidden_sizes=[16, 32, 32, 64],
                depths=[1, 1, 1, 1],
                layer_type="basic",
                out_features=["stage2", "stage3", "stage4"],
            ),
        },
        (3, 64, 64),
    ),
)


def entries(every: bool) -> Iterator[Entry]:
    """An entry a model class."""
    for kind in KINDS:
        yield Entry("transformers", kind.model, _builder(kind))


def _builder(kind: _Kind) -> Any:
    def build() -> Case:
        transformers = library("transformers")
        for name in (kind.model, kind.config):
            if not hasattr(transformers, name):
                raise NotBuiltError(f"transformers {transformers.__version__} has no {name}")
        told = kind.told(transformers) if callable(kind.told) else kind.told
        torch.manual_seed(0)
        model: nn.Module = getattr(transformers, kind.model)(getattr(transformers, kind.config)(**told))
        return case(model, kind.size, output=kind.output, read=kind.read)

    return build
