"""C3D: eight 3×3×3 convolutions, five max pools, three linear layers, for clips of any width and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from relprop.errors import InputError
from relprop.models.state import load_state

__all__ = ["C3D"]

# (convolutions, kernel = stride of the pool behind them, its padding); the first pool keeps the frames apart.
_STAGES: tuple[tuple[tuple[str, ...], tuple[int, int, int], tuple[int, int, int]], ...] = (
    (("conv1",), (1, 2, 2), (0, 0, 0)),
    (("conv2",), (2, 2, 2), (0, 0, 0)),
    (("conv3a", "conv3b"), (2, 2, 2), (0, 0, 0)),
    (("conv4a", "conv4b"), (2, 2, 2), (0, 0, 0)),
    (("conv5a", "conv5b"), (2, 2, 2), (0, 1, 1)),
)


class C3D(nn.Module):
    """The network of Tran et al. with the key names of its published PyTorch form, (N, 3, T, H, W) to logits.

    conv1 · pool (1, 2, 2) · conv2 · pool 2 · conv3a, b · pool 2 · conv4a, b · pool 2 · conv5a, b · pool 2 with
    padding (0, 1, 1) · fc6 · fc7 · fc8. A ReLU follows each layer but the last, dropout of 0.5 fc6 and fc7. One
    ReLU and one dropout module are called many times, as in the published form.

    Published weights expect frames in 0..255 less (90, 98, 102), at 16 × 112 × 112.

    Args:
        classes: number of outputs.
        widths: channels of the five stages.
        hidden: width of fc6 and fc7.
        frames: T, at least 16.
        size: side of the frames, or (height, width); at least 16.

    Raises:
        InputError: an argument is out of range; or, when called, a clip is not (N, 3, frames, height, width).

    Source: Tran, Bourdev, Fergus, Torresani, Paluri, "Learning Spatiotemporal Features with 3D Convolutional
    Networks", ICCV 2015, section 3.3; layout of the state dict: c3d-pytorch by D. Abati.

    >>> import torch
    >>> C3D(5, widths=(2, 2, 2, 2, 2), hidden=4, size=32)(torch.zeros(2, 3, 16, 32, 32)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        classes: int,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        hidden: int = 4096,
        frames: int = 16,
        size: int | tuple[int, int] = 112,
    ) -> None:
        """Build the layers: He's initialisation, biases 0."""
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        if len(widths) != len(_STAGES) or min(*widths, hidden, classes) < 1:
            raise InputError(
                f"Expected five widths, hidden and classes of at least 1 but got widths={tuple(widths)}, "
                f"hidden={hidden}, classes={classes}; the published ones are (64, 128, 256, 512, 512) and 4096."
            )
        if min(frames, height, width) < 16:
            raise InputError(
                f"Expected at least 16 frames of at least 16 x 16 pixels but got {frames} x {height} x {width}; "
                "the five pools leave nothing of less."
            )
        self.clip_shape = (3, frames, height, width)
        channels = 3
        sides = [frames, height, width]
        for number, ((names, window, padding), out) in enumerate(zip(_STAGES, widths, strict=True), start=1):
            for name in names:
                setattr(self, name, nn.Conv3d(channels, out, 3, padding=1))
                channels = out
            setattr(self, f"pool{number}", nn.MaxPool3d(window, stride=window, padding=padding))
            sides = [(s + 2 * p - w) // w + 1 for s, w, p in zip(sides, window, padding, strict=True)]
        self.fc6 = nn.Linear(channels * sides[0] * sides[1] * sides[2], hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, classes)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.5)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Tensor], frames: int = 16, size: int | tuple[int, int] = 112
    ) -> C3D:
        """Build the network that a published-layout state dict is of, and load it; widths come from its shapes.

        Raises:
            InputError: a key is missing, a tensor is of another shape or kind of number, or fc6 is not of clips of
                that length and size.
        """
        last = [names[-1] for names, _, _ in _STAGES]
        layers = [*(name for names, _, _ in _STAGES for name in names), "fc6", "fc7", "fc8"]
        wanted = {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
        if wanted != set(state):
            lacking, more = sorted(wanted - set(state)), sorted(set(state) - wanted)
            raise InputError(
                f"Expected the keys conv1.weight … fc8.bias of a C3D but {len(lacking)} are missing "
                f"({', '.join(lacking[:3])}) and {len(more)} unknown ({', '.join(more[:3])}); rename them, "
                "prefixes like 'module.' off."
            )
        flat = [name for name, tensor in state.items() if tensor.ndim < 1 + name.endswith("weight")]
        if flat:
            raise InputError(
                f"Expected weights of a C3D but {flat[0]} has shape {tuple(state[flat[0]].shape)}. Save the "
                "network's own state dict."
            )
        model = cls(
            classes=state["fc8.weight"].shape[0],
            widths=[state[f"{name}.weight"].shape[0] for name in last],
            hidden=state["fc6.weight"].shape[0],
            frames=frames,
            size=size,
        )
        found = state["fc6.weight"].shape[1]
        if found != model.fc6.in_features:
            raise InputError(
                f"Expected fc6 with {model.fc6.in_features} inputs for clips {model.clip_shape} but got {found}; "
                "give the frames and size that the weights were trained with."
            )
        load_state(model, dict(state), "the state dict")
        return model

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit a class."""
        if x.ndim != 5 or tuple(x.shape[1:]) != self.clip_shape:
            raise InputError(
                f"Expected clips (N, {', '.join(map(str, self.clip_shape))}) but got {tuple(x.shape)}; resize and "
                "cut them, or build C3D with their frames and size."
            )
        for number, (names, _, _) in enumerate(_STAGES, start=1):
            for name in names:
                x = self.relu(self.get_submodule(name)(x))
            x = self.get_submodule(f"pool{number}")(x)
        x = self.dropout(self.relu(self.fc6(x.flatten(1))))
        x = self.dropout(self.relu(self.fc7(x)))
        out: Tensor = self.fc8(x)
        return out
