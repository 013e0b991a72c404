"""Piece-wise affine networks: the exact affine form of a score, whose bias it holds, and how far it reaches."""

from __future__ import annotations

from relprop.piecewise.decomposition import affine, affine_by_layer, block_outputs
from relprop.piecewise.depth import BiasByDepth, bias_ratio_by_depth
from relprop.piecewise.form import AffineForm, Deviation
from relprop.piecewise.region import Crossing, Distance, Flip, crossing, distance
from relprop.rules.owning import Owner

__all__ = [
    "AffineForm",
    "BiasByDepth",
    "Crossing",
    "Deviation",
    "Distance",
    "Flip",
    "Owner",
    "affine",
    "affine_by_layer",
    "bias_ratio_by_depth",
    "block_outputs",
    "crossing",
    "distance",
]
