"""LoadedModel: a model, and what it needs to be shown a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor, nn

from relprop.errors import InputError, RelpropError
from relprop.graph import capture_lock
from relprop.methods.bounds import pixel_bounds
from relprop.methods.facts import Facts
from relprop.own_file import blame
from relprop.watch import passing

if TYPE_CHECKING:
    from relprop.models.sampling import Sampling

__all__ = ["LoadedModel"]


@dataclass(frozen=True)
class LoadedModel:
    """A model, and what it needs to be shown a picture.

    Attributes:
        spec: the specification it was loaded from.
        module: in evaluation mode, on the asked device.
        input_size: (H, W), or (T, H, W) for a model of clips.
        mean: subtracted from pictures in 0-1, one number a channel.
        std: what is then divided by.
        classes: class names, or None where none are known.
        multi_label: whether several classes may hold at once (sigmoid instead of softmax).
        preprocess: PIL picture → (1, C, H, W), float32.
        weights: where the weights came from, in a word or two.
        sampling: how the source makes inputs of films; None for models of pictures, and where it isn't known.
        unlike: see `Facts.unlike`: of bundled models with the weights that they come with.
    """

    spec: str
    module: nn.Module
    input_size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: list[str] | None
    multi_label: bool
    preprocess: Callable[[Image.Image], Tensor]
    weights: str
    sampling: Sampling | None = None
    unlike: Callable[[Tensor], str] | None = None

    @property
    def takes_clips(self) -> bool:
        """Whether inputs are clips (N, C, T, H, W)."""
        return len(self.input_size) == 3

    @property
    def may_take_clips(self) -> bool:
        """Whether inputs are clips, or may be: of a file's model nothing is known, but that it convolves in 3D."""
        in_file = self.spec.rpartition(":")[0].endswith(".py")
        return self.takes_clips or (in_file and any(isinstance(m, nn.Conv3d) for m in self.module.modules()))

    @property
    def facts(self) -> Facts:
        """What methods may want to know: the box of its pixels, whether it is multi-label, class names.

        `load_model` has them remembered for `module`, so that `relprop.explain(loaded.module, x)` knows them.
        """
        box = pixel_bounds(self.mean, self.std) if self.sampling is None else self.sampling.bounds()
        return Facts(box=box, multi_label=self.multi_label, classes=self.classes, unlike=self.unlike)

    def to_device(self, x: Tensor) -> Tensor:
        """An input on the model's device and in its dtype."""
        with capture_lock:
            like = next(self.module.parameters(), x)
            return x.to(like.device, like.dtype)

    def run(self, x: Tensor) -> Any:
        """What the module returns for an input, without gradients.

        Raises:
            InputError: its own code raised: mostly, it doesn't take inputs of this size.
            RelpropError: its own code called `sys.exit`.
        """
        try:
            passing("running the network")
            with torch.no_grad(), blame(f"Running {self.spec}"):
                return self.module(x)
        except RelpropError as error:
            if not isinstance(error.__cause__, Exception):
                raise
            text = " ".join(str(error.__cause__).split())[:300].rstrip(".")
            raise InputError(
                f"Expected {self.spec} to take an input of shape {tuple(x.shape)} but it raised "
                f"{type(error.__cause__).__name__}: {text}. Leave --size out, or give the size that it was made "
                "for."
            ) from error.__cause__

    def example(self, batch: int = 1) -> Tensor:
        """A seeded input of the right shape, device and dtype: normal numbers, (batch, C, *input_size)."""
        seed = torch.Generator().manual_seed(0)
        return self.to_device(torch.randn(batch, len(self.mean), *self.input_size, generator=seed))
