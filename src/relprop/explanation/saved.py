"""Saved: the parts of an explanation as a folder holds them, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import torch
from torch import Tensor

from relprop.errors import InputError
from relprop.explanation.folder import Format, below, jsonable
from relprop.files import brief
from relprop.propagate.ledger import Ledger, Row, Totals
from relprop.propagate.table import PlanRow, PlanTable

__all__ = [
    "FORMAT",
    "check_manifest",
    "ledger_document",
    "ledger_of",
    "packed",
    "plan_document",
    "plan_of",
    "target_rows",
    "top_outputs",
    "unpacked",
]

#: Version 1 held of a plan its rows without `reads`, and of a ledger its summary alone.
FORMAT = Format("relprop-explanation", "relevance.safetensors", version=2, reads=(1, 2))

Labels = Sequence[str] | Mapping[int, str]

_FACTS: dict[str, type] = {
    "method": str,
    "settings": dict,
    "at": str,
    "signed": bool,
    "outputs": str,
    "extras": dict,
}


def check_manifest(manifest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse a manifest whose facts are of other kinds, or tensors of other shapes, than were saved.

    Raises:
        InputError: with the fact.
    """
    for key, kind in _FACTS.items():
        if not isinstance(manifest.get(key), kind):
            raise InputError(
                f"Expected '{key}' of a saved explanation's manifest to be a {kind.__name__} but got "
                f"{brief(manifest.get(key))}. The manifest was changed: save the explanation anew."
            )
    for key, shape in dict(manifest.get("shapes", {})).items():
        if key not in tensors or list(tensors[key].shape) != shape:
            got = tuple(tensors[key].shape) if key in tensors else "none"
            raise InputError(
                f"Expected {key} of shape {brief(shape)}, as a saved explanation's manifest says, but got {got}. "
                "The manifest was changed: save the explanation anew."
            )


def plan_document(plan: PlanTable | None) -> dict[str, Any] | None:
    """A plan for a manifest."""
    return None if plan is None else asdict(plan)


def plan_of(document: Any) -> PlanTable | None:
    """The plan that a manifest holds; in version 1 a list of rows."""
    if document is None:
        return None
    facts = document if isinstance(document, dict) else {"rows": document}
    rows = tuple(PlanRow(**{**row, "reads": tuple(row.get("reads", ()))}) for row in facts["rows"])
    return PlanTable(**{**facts, "rows": rows})


def ledger_document(ledger: Ledger | None) -> dict[str, Any] | None:
    """A ledger for a manifest: its summary, and its books if it has any."""
    if ledger is None:
        return None
    document: dict[str, Any] = jsonable(ledger.summary())
    if ledger.rows:
        books = {name: value for name, value in asdict(ledger.totals).items() if name != "balances"}
        document |= {"tolerance": ledger.tolerance, "books": jsonable(books)}
    return document


def ledger_of(document: Any, dtype: torch.dtype) -> Ledger | None:
    """The ledger that a manifest holds, of relevance in that dtype; in version 1 the summary alone."""
    if document is None:
        return None
    summary = {k: _number(v) for k, v in document.items() if k not in ("tolerance", "books")}
    if "books" not in document:
        return Ledger.recorded(summary, 1e-13 if dtype == torch.float64 else 1e-6)
    books = document["books"]
    words = {f.name for f in fields(Row) if f.type == "str"}
    rows = tuple(Row(**{k: v if k in words else _number(v) for k, v in row.items()}) for row in books["rows"])
    totals = Totals(**{**{k: _number(v) for k, v in books.items() if k != "rows"}, "rows": rows})
    return Ledger(lambda: totals, document["tolerance"])


def _number(value: Any) -> Any:
    return value if isinstance(value, bool) else float(value)  # "nan" and "inf" are words in JSON


def packed(outputs: Any) -> tuple[dict[str, Tensor], str]:
    """What a model returned as tensors by name, and how they were packed ("none": not as tensors)."""
    if isinstance(outputs, Tensor):
        return {"outputs": outputs}, "tensor"
    if isinstance(outputs, Mapping) and all(isinstance(v, Tensor) for v in outputs.values()):
        return {f"outputs.{key}": value for key, value in outputs.items()}, "mapping"
    if isinstance(outputs, (tuple, list)) and all(isinstance(v, Tensor) for v in outputs):
        return {f"outputs.{i}": value for i, value in enumerate(outputs)}, "sequence"
    return {}, "none"


def unpacked(tensors: Mapping[str, Tensor], kind: str) -> Any:
    """What `packed` took apart."""
    if kind == "tensor":
        return tensors["outputs"]
    parts = below("outputs.", tensors)
    if ("outputs" in tensors or bool(parts) == (kind == "none")) or kind not in (
        "mapping",
        "sequence",
        "none",
    ):
        raise ValueError(f"the outputs aren't packed as {brief(kind)}")
    if kind == "mapping":
        return parts
    if kind == "sequence":
        return tuple(parts[str(i)] for i in range(len(parts)))
    return None


def target_rows(
    targets: Tensor, outputs: Any, labels: Labels | None, asked: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Index, name and output of each explained target: (N,) or (K, N), by what is asked where it is no class."""
    rows = targets.reshape(-1, targets.shape[-1])
    scores = outputs.detach() if _is_scores(outputs) else None
    found = []
    for k in range(rows.shape[0]):
        for n in range(rows.shape[1]):
            index = int(rows[k, n])
            value = None
            if scores is not None and not asked and 0 <= index < scores.shape[1]:
                value = jsonable(float(scores[n, index]))
            name = asked[k] if asked else _name(labels, index)
            found.append({"target": k, "sample": n, "index": index, "name": name, "output": value})
    return found


def top_outputs(outputs: Any, labels: Labels | None, most: int = 5) -> list[list[dict[str, Any]]] | None:
    """The largest scores of each sample; None where the outputs are no scores (N, classes)."""
    if not _is_scores(outputs):
        return None
    values, indices = outputs.detach().to("cpu").float().topk(min(most, outputs.shape[1]), dim=1)
    return [
        [
            {"index": int(i), "name": _name(labels, int(i)), "output": jsonable(float(v))}
            for v, i in zip(row_v, row_i, strict=True)
        ]
        for row_v, row_i in zip(values, indices, strict=True)
    ]


def _name(labels: Labels | None, index: int) -> str | None:
    if isinstance(labels, Mapping):
        return None if index not in labels else str(labels[index])
    return None if labels is None or not 0 <= index < len(labels) else str(labels[index])


def _is_scores(outputs: object) -> bool:
    return isinstance(outputs, Tensor) and outputs.dim() == 2 and outputs.is_floating_point()
