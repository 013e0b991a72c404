"""Detectors of queries in Hugging Face's layout: DETR, Table Transformer, YOLOS, RT-DETR."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from relprop.detectors.detector import Detector
from relprop.detectors.prepare import Prepared, to_tensor
from relprop.errors import InputError
from relprop.graph import capture_lock
from relprop.precision import full_precision

__all__ = ["Processed", "Queries", "from_hugging_face", "processed"]

_FARTHEST = math.log((1 - 1e-5) / 1e-5)  # where RT-DETR's inverse of the sigmoid ends


def from_hugging_face(model: nn.Module) -> Detector | None:
    """A DETR or RT-DETR in Hugging Face's layout as a detector; None for anything else.

    It is known by its parts (`class_labels_classifier` and `bbox_predictor`; or a decoder with `class_embed` and
    `bbox_embed`), its `config`, and what it returns (`logits`, `pred_boxes`). What it finds is what the model's
    `post_process_object_detection` gives: no suppression.
    """
    config = getattr(model, "config", None)
    network: nn.Module
    if config is None or not hasattr(config, "id2label"):
        return None
    if isinstance(getattr(model, "bbox_predictor", None), nn.Module) and hasattr(
        model, "class_labels_classifier"
    ):
        network = _Predicted(model)
    elif isinstance(
        getattr(getattr(getattr(model, "model", None), "decoder", None), "bbox_embed", None), nn.ModuleList
    ):
        network = _Refined(model)
    else:
        return None
    softmax = isinstance(network, _Predicted)
    names = [str(config.id2label[k]) for k in sorted(config.id2label)]
    count = getattr(config, "num_queries", None) or config.num_detection_tokens

    def whole(x: Tensor) -> Tensor:
        return x.new_tensor([0.0, 0.0, x.shape[3], x.shape[2]]).expand(count, 4)

    return Queries(
        raw=network,
        anchors=whole,
        decode=decoded,
        default_boxes=False,
        scores="softmax" if softmax else "sigmoid",
        background=len(names) if softmax else None,
        classes=[*names, "no object"] if softmax else names,
        top_k=count,
        top_k_per="all",
        per_anchor="best" if softmax else "every",
        nms_threshold=1.0,
        most=count,
        name=type(model).__name__,
    )


def decoded(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (..., 4) of the logits of centre and size, as shares of a box that holds the picture.

    >>> decoded(torch.zeros(1, 4), torch.tensor([[0.0, 0.0, 40.0, 20.0]])).tolist()
    [[10.0, 5.0, 30.0, 15.0]]
    """
    cx, cy, w, h = offsets.sigmoid().unbind(-1)
    x0, y0, x1, y1 = anchors.unbind(-1)
    width, height = x1 - x0, y1 - y0
    corners = (
        x0 + (cx - w / 2) * width,
        y0 + (cy - h / 2) * height,
        x0 + (cx + w / 2) * width,
        y0 + (cy + h / 2) * height,
    )
    return torch.stack(corners, -1)


class _Network(nn.Module):
    """A model's own classes and boxes, the boxes before their sigmoid; the model stays as it is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.training = network.training
        self.network = network

    def said(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, Q, K), logits of boxes (N, Q, 4), and the model's boxes (N, Q, 4), cx, cy, w, h in 0-1."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, offsets, _ = self.said(x)
        return logits, offsets


class _Predicted(_Network):
    """A box is what one head makes of the query's last state: DETR, Table Transformer, YOLOS."""

    def said(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        made = self.network(pixel_values=x)
        states = made.last_hidden_state[:, -made.logits.shape[1] :]  # YOLOS has the picture's before
        return made.logits, self.get_submodule("network.bbox_predictor")(states), made.pred_boxes


class _Refined(_Network):
    r"""A box begins where the encoder proposed it, and each layer of the decoder moves it: RT-DETR.

    With the encoder's logits :math:`z_0` and a head of each layer on its states :math:`h_l`,
    :math:`z_l = \text{head}_l(h_l) + z_{l-1}` (limited to what the inverse of the model's sigmoid gives back).
    All moves count, though the model cuts off all but the last one's for its training. The encoder's part is
    cut off by the model too (`detach`): to an explanation it is a constant.

    Source: Zhao et al., DETRs Beat YOLOs on Real-time Object Detection, CVPR 2024; the refinement: Zhu et al.,
    Deformable DETR, ICLR 2021, appendix A.4.
    """

    def said(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        made = self.network(pixel_values=x)
        heads = list(self.get_submodule("network.model.decoder.bbox_embed").children())
        offsets = made.init_reference_points
        for layer, head in enumerate(heads):
            moved = head(made.intermediate_hidden_states[:, layer])
            if moved.shape != offsets.shape:
                raise _unlike(self.network)
            offsets = moved + offsets.clamp(-_FARTHEST, _FARTHEST)
        return made.logits, offsets, made.pred_boxes


def _unlike(model: nn.Module) -> InputError:
    return InputError(
        f"Expected classes and boxes as DETR or RT-DETR makes them but {type(model).__name__} makes others of its "
        "states. Wrap a module that returns (logits, what decode makes boxes of), with anchors= and decode=."
    )


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Queries(Detector):
    """A detector whose units are queries: no anchors, no suppression. A query's number stands for its anchor.

    Source: Carion et al., End-to-End Object Detection with Transformers, ECCV 2020.
    """

    @full_precision
    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the network says: logits (N, Q, K), logits of the boxes (N, Q, 4).

        Raises:
            InputError: the boxes are not those that the model itself returns; NaN.
        """
        network = self.raw
        if not isinstance(network, _Network):
            return super().outputs(x)
        with capture_lock, torch.no_grad():
            logits, offsets, boxes = network.said(x)
        # DETR's last class is "no object"; Conditional DETR has none.
        whole = self.background is None or logits.shape[2] == self.background + 1
        if not whole or not torch.allclose(offsets.sigmoid(), boxes, rtol=1e-3, atol=1e-4):
            raise _unlike(network.network)
        return self._checked((logits, offsets), len(x))


@dataclass(frozen=True, eq=False)
class Processed:
    """How a picture gets into the input, by an image processor of Hugging Face's.

    Attributes:
        processor: called with one picture; padding that it masks is cut off again.
    """

    processor: Any

    def __call__(self, image: Any) -> Prepared:
        """Prepare a picture; see `to_tensor` for what it may be."""
        picture = to_tensor(image)
        whole = (picture * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        made = self.processor(images=Image.fromarray(whole), return_tensors="pt")
        x, mask = made["pixel_values"], made.get("pixel_mask")
        if mask is not None:
            inside = mask[0].bool()
            x = x[:, :, inside.any(1)][:, :, :, inside.any(0)]
        height, width = picture.shape[-2:]
        return Prepared(x, (width / x.shape[3], height / x.shape[2]), (height, width))


def processed(processor: Any) -> dict[str, Any]:
    """Settings for `wrap`: pictures are prepared by an image processor of Hugging Face's.

    `wrap(model, **processed(processor))`

    Args:
        processor: such as `AutoImageProcessor.from_pretrained` gives; called with `images` and `return_tensors`.
    """
    normal = getattr(processor, "do_normalize", False)
    mean, std = (
        tuple(getattr(processor, name)) if normal else (default,) * 3
        for name, default in (("image_mean", 0.0), ("image_std", 1.0))
    )
    return {"prepare": Processed(processor), "mean": mean, "std": std}
