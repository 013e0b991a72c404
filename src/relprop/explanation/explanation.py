"""The frozen result of a method: relevance, what it is about, and whether it adds up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.errors import InputError
from relprop.explanation import saved
from relprop.explanation.axes import axis_hint, checked_axis
from relprop.explanation.folder import as_saved, below, jsonable
from relprop.propagate.ledger import Ledger
from relprop.propagate.table import PlanTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from relprop.viz.picture import Under
    from relprop.viz.scale import Scale

__all__ = ["Explanation"]

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """What in the input made the network say this.

    Attributes:
        relevance: float32 or better, at ``at``: (N, C, *spatial), or (K, N, C, *spatial) where a list of K
            targets was asked. In the unit of the output that was explained.
        input: the model's input (N, C, *spatial).
        outputs: what ``model(input)`` returned; (N, classes) for classifiers.
        targets: int64, the explained output of each sample, (N,) or (K, N); -1 where it is none (`asked`).
        method: the method's name in the registry.
        settings: the method's settings, as a saved explanation holds them: tensors of up to 64 numbers and
            tuples as lists, what is no plain data as its text.
        plan: which rule crossed which operator, or None for methods without rules.
        ledger: per operator, where the relevance went, or None.
        layers: relevance at the layers that were asked for, by name.
        at: where ``relevance`` lives: ``"input"`` or a layer's name.
        extras: what else the method reports, such as the completeness gap of integrated gradients.
        signed: False where the method gives no negative values by construction.
        warnings: what speaks against the map, a sentence or two each (an open ledger, a map of zeros ...).
        notes: what a reader has to know besides, such as that a sigmoid at the end was left out.
        channel_axis: the axis of the input that holds the colours.
        asked: what each of the K targets is called where it is no class by itself ("tabby − tiger",
            "layer4[7]"); empty for classes.
        name: of the picture, where it has one (`relprop.explain_many`).
        index: of the picture among those that were explained, likewise.

    Raises:
        InputError: if the shapes or dtypes contradict each other.

    >>> e = Explanation(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), torch.tensor([[0.0, 12.0]]),
    ...                 torch.tensor([1]), "gradient")
    >>> e
    Explanation(gradient, target 1, relevance 1×3×2×2)
    >>> e.heatmap().tolist()
    [[[3.0, 3.0], [3.0, 3.0]]]
    """

    relevance: Tensor
    input: Tensor
    outputs: Any
    targets: Tensor
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    plan: PlanTable | None = None
    ledger: Ledger | None = None
    layers: dict[str, Tensor] = field(default_factory=dict)
    at: str = "input"
    extras: dict[str, Any] = field(default_factory=dict)
    signed: bool = True
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    channel_axis: int = 1
    asked: tuple[str, ...] = ()
    name: str = ""
    index: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", jsonable(self.settings))
        r, x, t = self.relevance, self.input, self.targets
        if not r.is_floating_point() or torch.finfo(r.dtype).bits < 32:
            raise InputError(f"Expected relevance in float32 or float64 but got {r.dtype}.")
        if t.dtype != torch.int64 or t.dim() not in (1, 2) or t.shape[-1] != x.shape[0]:
            raise InputError(
                f"Expected targets as int64 of shape ({x.shape[0]},) or (K, {x.shape[0]}) but got {t.dtype} of "
                f"shape {tuple(t.shape)}."
            )
        if self.asked and len(self.asked) != t.numel() // t.shape[-1]:
            raise InputError(
                f"Expected a name for each of {t.numel() // t.shape[-1]} targets but got {len(self.asked)}."
            )
        if r.dim() < t.dim() + 1 or r.shape[: t.dim()] != t.shape:
            raise InputError(
                f"Expected relevance to begin with the targets' shape {tuple(t.shape)}, then channels, but got "
                f"{tuple(r.shape)}."
            )
        if self.channel_axis != 1:
            checked_axis(self.channel_axis, x)
        if self.at == "input" and r.shape[t.dim() :] != x.shape[1:]:
            raise InputError(
                f"Expected relevance at the input to have its shape {tuple(x.shape)} (K in front for several "
                f"targets) but got {tuple(r.shape)}."
            )

    def heatmap(self, *, channel_axis: int | None = None) -> Tensor:
        """Relevance summed over channels: (N, *spatial), or (K, N, *spatial) for a list of targets.

        Args:
            channel_axis: the axis of the input that holds the colours; None: the explanation's own, most often 1.

        Relevance at a layer is resized to the input's spatial size (linear interpolation,
        ``align_corners=False``), to be looked at: its sum is no longer the layer's.

        Raises:
            InputError: if the layer has another number of spatial axes than the input, or there is no such axis.
        """
        lead = self.targets.dim()
        axis = self.channel_axis if channel_axis is None else checked_axis(channel_axis, self.input)
        size = torch.Size(n for i, n in enumerate(self.input.shape) if i not in (0, axis))
        if self.relevance.dim() - lead - 1 != len(size):
            raise InputError(
                f"Expected relevance with {len(size)} spatial axes for a heatmap but got shape "
                f"{tuple(self.relevance.shape)} at {self.at!r}. Read .relevance, or stop at a layer before "
                "the flattening."
            )
        heat = self.relevance.sum(dim=lead + axis - 1 if self.at == "input" else lead)
        if heat.shape[lead:] == size or len(size) not in _MODES:
            return heat
        flat = heat.reshape(-1, 1, *heat.shape[lead:])
        resized = F.interpolate(flat, size=tuple(size), mode=_MODES[len(size)], align_corners=False)
        return resized.reshape(*heat.shape[:lead], *size)

    @overload
    def show(
        self,
        *,
        scale: Scale = ...,
        clip: float | None = ...,
        labels: Sequence[str] | Mapping[int, str] | None = ...,
        mean: Sequence[float] | None = ...,
        std: Sequence[float] | None = ...,
        under: Under = ...,
        most: int = ...,
        title: str | None = ...,
        channel_axis: int | None = ...,
        ax: None = ...,
        cmap: str | Colormap | None = ...,
    ) -> Figure: ...

    @overload
    def show(
        self,
        *,
        scale: Scale = ...,
        clip: float | None = ...,
        labels: Sequence[str] | Mapping[int, str] | None = ...,
        mean: Sequence[float] | None = ...,
        std: Sequence[float] | None = ...,
        under: Under = ...,
        most: int = ...,
        title: str | None = ...,
        channel_axis: int | None = ...,
        ax: Axes,
        cmap: str | Colormap | None = ...,
    ) -> Axes: ...

    def show(
        self,
        *,
        scale: Scale = "symmetric",
        clip: float | None = 99.5,
        labels: Sequence[str] | Mapping[int, str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        under: Under = "outlines",
        most: int = 8,
        title: str | None = None,
        channel_axis: int | None = None,
        ax: Axes | None = None,
        cmap: str | Colormap | None = None,
    ) -> Figure | Axes:
        """Draw it: a row per sample, a column per target, clips as strips of frames. A notebook shows it at once.

        Args:
            scale: ``"symmetric"`` (each map its own), ``"shared"`` (one for all) or a number. Scales choose
                colours and leave the numbers alone.
            clip: percentile of the non-zero |relevance| that takes the strongest colour; None for the
                maximum. The default keeps a few extreme pixels from leaving the rest nearly white.
            labels: class names by index.
            mean, std: what preprocessing subtracted and divided by, to show the input in its own colours.
            under: trace of the picture below the map: ``"outlines"``, ``"grey"``, ``"none"``.
            most: samples and targets drawn at most; the picture says when there are more.
            title: line on top; by default the method and the ledger's verdict.
            channel_axis: as for :meth:`heatmap`.
            ax: matplotlib axes of your own, for one map of a picture. When they are shown is up to you.
            cmap: other colours: a matplotlib colormap or its name, over the whole scale. Then no trace of the
                picture is drawn below the map, as white no longer means none.

        Returns:
            A matplotlib figure outside pyplot, so nothing stays open; `ax` where it was given.

        Raises:
            InputError: on NaN or infinite relevance, inputs that are neither pictures nor clips, too few
                labels, an unknown scale or colormap; `ax` of several maps or of a clip.
        """
        from relprop.explanation.inline import on_axes
        from relprop.viz.inline_figure import shown

        drawn = self.on_axis(channel_axis)
        words: dict[str, Any] = {"labels": labels, "scale": scale, "clip": clip, "mean": mean, "std": std}
        words |= {"under": under, "title": title}
        if ax is not None:
            return on_axes(drawn, ax, cmap=cmap, **words)
        return shown(drawn._figure(cmap=cmap, most=most, **words))

    def _figure(
        self, *, cmap: str | Colormap | None = None, under: Under = "outlines", **words: Any
    ) -> Figure:
        """What `show` shows."""
        from relprop.explanation.inline import axes_figure
        from relprop.explanation.sheet import explanation_figure

        if cmap is not None:
            return axes_figure(self, cmap, **words)
        return explanation_figure(self, under=under, **words)

    def save(
        self,
        path: str | Path,
        *,
        scale: Scale = "symmetric",
        clip: float | None = 99.5,
        labels: Sequence[str] | Mapping[int, str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        under: Under = "outlines",
        most: int = 8,
        overwrite: bool = False,
        channel_axis: int | None = None,
        picture: bool = True,
    ) -> Path:
        """Write a folder with the picture, the numbers and what they are: all of it, or nothing.

        ``explanation.png`` is :meth:`show`'s figure, ``relevance.safetensors`` holds relevance, heatmap,
        input, targets, outputs and layers, ``manifest.json`` versions, method, settings, targets, plan,
        ledger, drawing scale and each file's SHA-256. Without a map
        over a picture or clip (signals, relevance at a flat layer) there is no picture.

        Args:
            path: the folder; parents are made.
            overwrite: replace an explanation saved there before. Folders that hold anything else are
                refused.
            scale, clip, labels, mean, std, under, most: for the picture, as for :meth:`show`.
            channel_axis: as for :meth:`heatmap`.
            picture: False leaves ``explanation.png`` out, which takes longer than all the rest.

        Returns:
            The folder.

        Raises:
            InputError: if the folder exists (without ``overwrite``) or holds other files, or as :meth:`show`.
        """
        if channel_axis is not None:
            drawn = {"scale": scale, "clip": clip, "mean": mean, "std": std, "under": under, "most": most}
            return self.on_axis(channel_axis).save(
                path,
                labels=labels,
                overwrite=overwrite,
                picture=picture,
                **drawn,  # type: ignore[arg-type]
            )
        drawing: dict[str, Any] = {
            "scale": scale,
            "clip": clip,
            "mean": mean,
            "std": std,
            "under": under,
            "most": most,
        }
        drawable = picture and self._drawable
        tensors, packing = saved.packed(self.outputs)
        tensors |= {"relevance": self.relevance, "input": self.input, "targets": self.targets}
        if self.relevance.dim() - self.targets.dim() + 1 == self.input.dim():
            tensors["heatmap"] = self.heatmap()
        tensors |= {f"layers.{name}": value for name, value in self.layers.items()}
        tensors |= {
            f"extras.{name}": value for name, value in self.extras.items() if isinstance(value, Tensor)
        }
        facts = self._facts(labels, packing) | {
            "picture": jsonable(drawing) | {"limits": self._limits(drawing)} if drawable else None,
        }

        def drawn_picture() -> bytes:
            from relprop.viz.file import png_bytes

            return png_bytes(self._figure(labels=labels, **drawing))

        pictures = {"explanation.png": drawn_picture} if drawable else {}
        return saved.FORMAT.write(path, tensors, facts, pictures, overwrite=overwrite)

    def _facts(self, labels: Sequence[str] | Mapping[int, str] | None, packing: str) -> dict[str, Any]:
        """What it is, as plain values; tensors are left out."""
        return {
            "method": self.method,
            "settings": self.settings,
            "at": self.at,
            "signed": self.signed,
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "channel_axis": self.channel_axis,
            "shapes": {"input": list(self.input.shape), "relevance": list(self.relevance.shape)},
            "dtype": str(self.relevance.dtype).removeprefix("torch."),
            "asked": list(self.asked),
            "name": self.name,
            "index": self.index,
            "targets": saved.target_rows(self.targets, self.outputs, labels, self.asked),
            "top_outputs": saved.top_outputs(self.outputs, labels),
            "outputs": packing,
            "extras": jsonable({k: v for k, v in self.extras.items() if not isinstance(v, Tensor)}),
            "plan": saved.plan_document(self.plan),
            "ledger": saved.ledger_document(self.ledger),
        }

    def to_dict(
        self,
        *,
        relevance: bool = False,
        labels: Sequence[str] | Mapping[int, str] | None = None,
    ) -> dict[str, Any]:
        """What it is as plain values that JSON can hold: what `save` writes into ``manifest.json``.

        Method, settings, targets with their scores, warnings, notes, shapes, plan, and the ledger, whose totals
        ("start", "input", "bias", "stabiliser", "lost") are in units of the output. NaN and infinities are texts.

        Args:
            relevance: add the numbers themselves, "relevance" as nested lists of its shape. They are long: a
                picture of 224 × 224 has 150,528.
            labels: class names by index.

        >>> e = Explanation(torch.ones(1, 1, 1, 2), torch.zeros(1, 1, 1, 2), torch.tensor([[0.0, 12.0]]),
        ...                 torch.tensor([1]), "gradient")
        >>> found = e.to_dict(relevance=True, labels=["cat", "dog"])
        >>> found["targets"][0]["name"], found["targets"][0]["output"], found["relevance"]
        ('dog', 12.0, [[[[1.0, 1.0]]]])
        """
        found = self._facts(labels, saved.packed(self.outputs)[1])
        return found | ({"relevance": jsonable(self.relevance.detach().tolist())} if relevance else {})

    def to_json(
        self,
        *,
        relevance: bool = False,
        labels: Sequence[str] | Mapping[int, str] | None = None,
        indent: int | None = None,
    ) -> str:
        """`to_dict` as JSON.

        Args:
            relevance, labels: as for :meth:`to_dict`.
            indent: spaces a level, None for one line.
        """
        found = self.to_dict(relevance=relevance, labels=labels)
        return json.dumps(found, indent=indent, ensure_ascii=False, allow_nan=False)

    def to_pil(
        self,
        *,
        sample: int = 0,
        target: int = 0,
        frame: int | None = None,
        scale: Scale = "symmetric",
        clip: float | None = 99.5,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        under: Under = "outlines",
        cmap: str | Colormap | None = None,
    ) -> Image:
        """One map over its picture's outlines as a PIL picture (RGB), a pixel for a pixel of the input.

        Args:
            sample: which of the N.
            target: which of the K targets.
            frame: which frame, of clips; the scale is the whole clip's.
            scale, clip, mean, std, under: as for :meth:`show`.
            cmap: as for :meth:`show`.

        Raises:
            InputError: no such sample, target or frame, or as :meth:`show`.

        >>> x = torch.ones(1, 3, 2, 4)
        >>> e = Explanation(x, x, torch.zeros(1, 5), torch.tensor([1]), "gradient")
        >>> e.to_pil().size  # width, height
        (4, 2)
        """
        from relprop.explanation.inline import pil_picture

        return pil_picture(
            self, sample=sample, target=target, frame=frame, scale=scale, clip=clip,
            mean=mean, std=std, under=under, cmap=cmap,
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> Explanation:
        """Read a saved explanation back: all that was saved, to the bit.

        Folders of older versions hold a ledger's summary alone: it then has no rows, and the verdict is the one
        that was saved.

        Raises:
            InputError: if the folder is no saved explanation, or a file is missing or was changed.
        """
        manifest, tensors = saved.FORMAT.read(path)
        with as_saved(path):
            saved.check_manifest(manifest, tensors)
            return cls(
                relevance=tensors["relevance"],
                input=tensors["input"],
                outputs=saved.unpacked(tensors, manifest["outputs"]),
                targets=tensors["targets"],
                method=manifest["method"],
                settings=manifest["settings"],
                plan=saved.plan_of(manifest["plan"]),
                ledger=saved.ledger_of(manifest["ledger"], tensors["relevance"].dtype),
                layers=below("layers.", tensors),
                at=manifest["at"],
                extras=manifest["extras"] | below("extras.", tensors),
                signed=manifest["signed"],
                warnings=tuple(manifest.get("warnings", ())),
                notes=tuple(manifest.get("notes", ())),
                channel_axis=manifest.get("channel_axis", 1),
                asked=tuple(manifest.get("asked", ())),
                name=manifest.get("name", ""),
                index=manifest.get("index"),
            )

    def on_axis(self, channel_axis: int | None) -> Explanation:
        """The same explanation with its colours along another axis of the input; None: itself.

        Raises:
            InputError: the input has no such axis.
        """
        if channel_axis is None or channel_axis == self.channel_axis:
            return self
        axis = checked_axis(channel_axis, self.input)
        notes = tuple(note for note in self.notes if note != axis_hint(self.input, self.channel_axis))
        return replace(self, channel_axis=axis, notes=notes)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.relevance.shape))
        where = "" if self.at == "input" else f" at {self.at}"
        asked = _listed(self.asked) if self.asked else _targets(self.targets)
        parts = [*([self.name] if self.name else []), self.method, asked, f"relevance {shape}{where}"]
        if self.ledger is not None:
            verdict = "closes" if self.ledger.closes else "DOES NOT CLOSE"
            parts.append(f"ledger {verdict} (max error {self.ledger.max_error:.1e})")
        parts += [f"WARNING: {warning}" for warning in self.warnings]
        return f"Explanation({', '.join(parts)})"

    def _repr_png_(self) -> bytes | None:
        """The picture for notebooks; None (text only) where there is no map to draw."""
        from relprop.viz.file import png_bytes

        return png_bytes(self._figure()) if self._drawable else None

    def _repr_html_(self) -> str | None:
        """Maps over their pictures with sliders, for notebooks; None where there is no map of a picture."""
        from relprop.explanation.inline import explanation_html

        return explanation_html(self) if self._drawable and self.input.dim() == 4 else None

    @property
    def _drawable(self) -> bool:
        spatial = self.input.dim() - 2
        return spatial in (2, 3) and self.relevance.dim() - self.targets.dim() - 1 == spatial

    def _limits(self, drawing: dict[str, Any]) -> list[dict[str, Any]]:
        """The colour scale of each drawn map, as in the picture."""
        from relprop.viz.scale import limits

        heat = self.heatmap().detach().to("cpu").double()
        maps = heat.reshape(-1, self.input.shape[0], *heat.shape[self.targets.dim() :]).numpy()
        most = drawing["most"]
        where = [(k, n) for n in range(min(maps.shape[1], most)) for k in range(min(maps.shape[0], most))]
        found = limits([maps[k, n] for k, n in where], drawing["scale"], drawing["clip"])
        return [
            {"target": k, "sample": n, "limit": limit.value, "max": limit.peak}
            for (k, n), limit in zip(where, found, strict=True)
        ]


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
    return f"targets {listed}" if len(names) > 1 else f"target {listed}"


def _targets(targets: Tensor) -> str:
    if targets.numel() == 1:
        return f"target {int(targets)}"
    if targets.dim() == 2 and bool((targets == targets[:, :1]).all()):
        names = targets[:, 0].tolist()  # the same list for each sample
    else:
        names = targets.flatten().tolist()
    return _listed([str(name) for name in names])
