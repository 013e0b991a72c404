"""DetectorMethod: a method that asks the whole detector, not one output unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from relprop.detectors.detections import Detection
from relprop.detectors.detector import Detector
from relprop.detectors.prepare import Prepared
from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.explanation.warned import warnings_about
from relprop.graph import capture_lock
from relprop.methods.facts import Facts
from relprop.methods.method import Method, Request, Result

__all__ = ["DetectionRequest", "DetectorMethod"]


@dataclass(frozen=True, eq=False)
class DetectionRequest:
    """What is to be explained of a picture's detections.

    Attributes:
        detector: what made them.
        prepared: the input they were found in.
        found: D detections.
        rows: what is asked of them, (part, class of each of the D) a row; the class is None for other parts than
            "class".
        facts: what else is known, and whom to tell of progress.
    """

    detector: Detector
    prepared: Prepared
    found: Sequence[Detection]
    rows: Sequence[tuple[str, Sequence[int | None]]]
    facts: Facts


class DetectorMethod(Method):
    """A method of detectors alone: `relprop.explain_detection` asks it. Subclasses write `maps`.

    Attributes:
        parts: what of a detection it explains; the others are refused.
    """

    needs = "detector"
    parts: ClassVar[tuple[str, ...]] = ("class",)

    def explain(self, request: Request) -> Result:
        """Refuse what is no detector.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"Expected a detection for {self.name}, which asks a whole detector, but got a plain network. Call "
            f"relprop.explain_detection(detector, picture, detection, method={self.name!r})."
        )

    def maps(self, request: DetectionRequest) -> Tensor:
        """One map a row and detection, at the input: (rows, D, h, w)."""
        raise NotImplementedError

    def explained(
        self, request: DetectionRequest, targets: Sequence[int], layers: Sequence[str]
    ) -> Explanation:
        """The explanation of rows × D targets, (rows * D, 1, C, h, w): a pixel's number is shared by its colours.

        Args:
            request: as for `maps`.
            targets: the output of the view that each stands for (`relprop.detectors.DetectionUnit`).
            layers: must be empty.

        Raises:
            InputError: layers, or a part that it doesn't explain.
        """
        if layers:
            raise InputError(
                f"Expected no layers for {self.name} but got {', '.join(map(repr, layers))}: it sees the detector "
                "from outside, and gives relevance at the input alone."
            )
        for part, _ in request.rows:
            if part not in self.parts:
                raise InputError(
                    f"Expected of={' or '.join(map(repr, self.parts))} for {self.name} but got {part!r}. Take a "
                    "method that goes by the network for it, such as crp or odam."
                )
        x = request.prepared.x
        heat = self.maps(request).flatten(0, 1)[:, None, None]
        relevance = (
            (heat / x.shape[1]).expand(-1, 1, *x.shape[1:]).to(torch.promote_types(x.dtype, torch.float32))
        )
        unit = request.detector.unit(request.prepared, request.found)
        with capture_lock, torch.no_grad():
            outputs = unit(x)
        asked = torch.tensor(list(targets), device=x.device)[:, None]
        return Explanation(
            relevance=relevance.contiguous(),
            input=x,
            outputs=outputs,
            targets=asked,
            method=self.name,
            settings=self.settings(),
            extras={"ledger_of": "nothing: the detector was asked from outside"},
            signed=self.signed,
            warnings=warnings_about(self.name, relevance, asked),
        )
