"""Small networks with the parts and outputs of Hugging Face's DETR and RT-DETR, random weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Detr", "RtDetr", "lively_queries"]

WIDTH, QUERIES, CLASSES = 16, 6, 4


class Body(nn.Module):
    """Convolutions to a map, and its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU()
        )
        self.input_projection = nn.Conv2d(24, WIDTH, 1)
        self.encoder = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)

    def tokens(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """(N, H W, C), and (H, W)."""
        level = self.input_projection(self.backbone(x))
        tokens = level.flatten(2).transpose(1, 2)
        return self.norm(tokens + self.encoder(tokens, tokens, tokens)[0]), (level.shape[2], level.shape[3])


class Decoder(Body):
    """Queries that look at the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.query_position_embeddings = nn.Embedding(QUERIES, WIDTH)
        self.look = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.last = nn.LayerNorm(WIDTH)

    def forward(self, pixel_values: Tensor) -> Tensor:
        tokens, _ = self.tokens(pixel_values)
        queries = self.query_position_embeddings.weight.expand(len(tokens), -1, -1)
        seen: Tensor = self.last(queries + self.look(queries, tokens, tokens)[0])
        return seen


class Detr(nn.Module):
    """Softmax with "no object" last; a box is a sigmoid of one head."""

    def __init__(self, front: int = 0) -> None:
        super().__init__()
        self.config = SimpleNamespace(id2label=dict(enumerate("abcd")), num_queries=QUERIES)
        self.model, self.front = Decoder(), front
        self.class_labels_classifier = nn.Linear(WIDTH, CLASSES + 1)
        self.bbox_predictor = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 4))
        self.shift = 0.0

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        states = self.model(pixel_values)
        boxes = (self.bbox_predictor(states) + self.shift).sigmoid()
        logits = self.class_labels_classifier(states)
        return SimpleNamespace(logits=logits, pred_boxes=boxes, last_hidden_state=states)


class Refining(nn.Module):
    """Layers that read the map around each query's box, and move the box."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Linear(WIDTH, WIDTH)
        self.places = nn.ModuleList([nn.Linear(WIDTH, 2 * 3) for _ in range(2)])
        self.weights = nn.ModuleList([nn.Linear(WIDTH, 3) for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(2)])
        self.class_embed = nn.ModuleList([nn.Linear(WIDTH, CLASSES) for _ in range(2)])
        self.bbox_embed = nn.ModuleList([nn.Linear(WIDTH, 4) for _ in range(2)])

    def forward(
        self, states: Tensor, start: Tensor, tokens: Tensor, size: tuple[int, int]
    ) -> SimpleNamespace:
        level = self.value(tokens).transpose(1, 2).unflatten(2, size)
        boxes = start.sigmoid()
        hidden, refined = [], []
        for place, weight, norm, move in zip(
            self.places, self.weights, self.norms, self.bbox_embed, strict=True
        ):
            beside = place(states).unflatten(2, (3, 2)).tanh() * boxes[:, :, None, 2:] / 2
            grid = 2 * (boxes[:, :, None, :2] + beside) - 1
            read = F.grid_sample(level, grid, align_corners=False)  # (N, C, Q, 3)
            shares = weight(states).softmax(-1)[:, None]
            states = norm(states + (read * shares).sum(-1).transpose(1, 2))
            limited = boxes.clamp(min=1e-5), (1 - boxes).clamp(min=1e-5)
            refined.append((move(states) + torch.log(limited[0] / limited[1])).sigmoid())
            boxes = refined[-1].detach()
            hidden.append(states)
        logits = self.class_embed[-1](states)
        return SimpleNamespace(logits=logits, hidden=torch.stack(hidden, 1), boxes=refined[-1])


class Selecting(Body):
    """The tokens with the best scores become queries, cut off from the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.enc_score_head, self.enc_bbox_head = nn.Linear(WIDTH, CLASSES), nn.Linear(WIDTH, 4)
        self.decoder = Refining()

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        tokens, size = self.tokens(pixel_values)
        best = self.enc_score_head(tokens).amax(-1).topk(QUERIES, dim=1).indices[..., None]
        start = self.enc_bbox_head(tokens).gather(1, best.expand(-1, -1, 4)).detach()
        states = tokens.gather(1, best.expand(-1, -1, WIDTH)).detach()
        made = self.decoder(states, start, tokens, size)
        return SimpleNamespace(start=start, **vars(made))


class RtDetr(nn.Module):
    """Sigmoid of each class; a box is refined layer by layer."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(id2label=dict(enumerate("abcd")), num_queries=QUERIES)
        self.model = Selecting()

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        made = self.model(pixel_values)
        return SimpleNamespace(
            logits=made.logits,
            pred_boxes=made.boxes,
            intermediate_hidden_states=made.hidden,
            init_reference_points=made.start,
        )


def lively_queries(kind: type[Any], seed: int = 0) -> Any:
    """One of the networks, with larger weights, so that queries differ."""
    torch.manual_seed(seed)
    model = kind().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2.0)
    return model
