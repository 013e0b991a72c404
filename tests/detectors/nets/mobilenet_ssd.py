"""A real SSD: MobileNetV1 (width 0.75) on COCO, TensorFlow's object detection sample, as a plain module."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from relprop.detectors import BoxCode, Detector, Squash

SIDE = 300
CLASSES = 91
STRIDED = (2, 4, 6, 12)  # the depthwise blocks that halve the map
BLOCKS = (48, 96, 96, 192, 192, 384, 384, 384, 384, 384, 384, 768, 768)  # channels behind each
EXTRAS = {2: (192, 384), 3: (96, 192), 4: (96, 192), 5: (48, 96)}  # 1x1, then 3x3 with stride 2
SOURCES = {11: 3, 13: 6}  # boxes a cell on the backbone's blocks; 6 on each extra one


class Same(nn.Conv2d):
    """TensorFlow's SAME padding: what is odd goes right and below."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for n in (x.shape[3], x.shape[2]):
            missing = max((-(-n // self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0] - n, 0)
            pads += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(x, pads) if any(pads) else x)


class MobileNetSSD(nn.Module):
    """(N, 3, 300, 300) → logits (N, 1917, 91), offsets (N, 1917, 4): cy, cx, h, w."""

    def __init__(self) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {"Conv2d_0": Same(3, 24, 3, 2)}
        channels, sources = 24, []
        for k, width in enumerate(BLOCKS, 1):
            layers[f"Conv2d_{k}_depthwise"] = Same(channels, channels, 3, 1 + (k in STRIDED), groups=channels)
            layers[f"Conv2d_{k}_pointwise"] = Same(channels, width, 1)
            channels = width
            if k in SOURCES:
                sources.append((width, SOURCES[k]))
        self.backbone = nn.ModuleDict(layers)
        extra: dict[str, nn.Module] = {}
        for k, (narrow, wide) in EXTRAS.items():
            extra[f"1_Conv2d_{k}_1x1_{narrow}"] = Same(channels, narrow, 1)
            extra[f"2_Conv2d_{k}_3x3_s2_{wide}"] = Same(narrow, wide, 3, 2)
            channels = wide
            sources.append((wide, 6))
        self.extra = nn.ModuleDict(extra)
        for h, (width, boxes) in enumerate(sources):
            head = {
                "BoxEncodingPredictor": Same(width, boxes * 4, 1),
                "ClassPredictor": Same(width, boxes * CLASSES, 1),
            }
            self.add_module(f"head{h}", nn.ModuleDict(head))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sources = []
        for name, layer in self.backbone.items():
            x = F.relu6(layer(x))
            if name in [f"Conv2d_{k}_pointwise" for k in SOURCES]:
                sources.append(x)
        for name, layer in self.extra.items():
            x = F.relu6(layer(x))
            if name.startswith("2"):
                sources.append(x)
        columns: dict[str, list[Tensor]] = {"ClassPredictor": [], "BoxEncodingPredictor": []}
        for h, source in enumerate(sources):
            for part, found in columns.items():
                made = self.get_submodule(f"head{h}.{part}")(source).permute(0, 2, 3, 1)
                found.append(made.reshape(len(x), -1, CLASSES if part == "ClassPredictor" else 4))
        return torch.cat(columns["ClassPredictor"], 1), torch.cat(columns["BoxEncodingPredictor"], 1)


def mobilenet_ssd(assets: Path) -> Detector:
    """With its real weights. Thresholds are the sample's; its score threshold is 0.3 here."""
    folder = assets / "weights" / "ssd_mobilenet_v1_coco"
    state = load_file(folder / "ssd_mobilenet_v1_075_coco.fp32.safetensors")
    cy, cx, h, w = (state.pop("anchors") * SIDE).unbind(1)
    net = MobileNetSSD().eval()
    net.load_state_dict(state)
    half = (128 / 255,) * 3
    return Detector(
        raw=net,
        anchors=torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 1),
        decode=BoxCode(order=("cy", "cx", "h", "w")).decode,
        offsets=("cy", "cx", "h", "w"),
        scores="sigmoid",
        background=0,
        classes=(folder / "coco91_labels.txt").read_text().split("\n")[:CLASSES],
        prepare=Squash((SIDE, SIDE), half, half),
        mean=half,
        std=half,
        score_threshold=0.3,
        nms_threshold=0.6,
        top_k=SIDE * SIDE,
        most=100,
        name="SSD MobileNetV1",
    )
