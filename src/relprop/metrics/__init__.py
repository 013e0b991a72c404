"""Metrics: judgements of explanations, as functions on arrays and as accumulators for a benchmark."""

from __future__ import annotations

from relprop.metrics.bias_ratio import BiasRatio, affine_parts
from relprop.metrics.data_randomisation import DataRandomisation
from relprop.metrics.energy import Energy, energy
from relprop.metrics.grid_pg import GridPG, grid_pg
from relprop.metrics.infidelity import Infidelity
from relprop.metrics.information_curves import InformationCurves
from relprop.metrics.iou import MeanIoU, iou
from relprop.metrics.ledger import LedgerClosure
from relprop.metrics.masking import MaskingFidelity, masking_fidelity
from relprop.metrics.max_sensitivity import MaxSensitivity
from relprop.metrics.metric import SUBSETS, Case, Metric, Outcome
from relprop.metrics.odi import ObjectDiscrimination, object_discrimination
from relprop.metrics.opposition import Opposition, opposition
from relprop.metrics.part_game import PartGame, held, shapley, world_map
from relprop.metrics.perturbation import Perturbation, perturbation_curves
from relprop.metrics.pointing_game import PointingGame, point, pointing_game
from relprop.metrics.randomisation import Randomisation, steps
from relprop.metrics.rank_accuracy import RankAccuracy, rank_accuracy
from relprop.metrics.registry import METRICS, load_metric, metrics
from relprop.metrics.removed_parts import RemovedParts, removed_parts
from relprop.metrics.segmentation import Segmentation, foreground, segmentation_scores
from relprop.metrics.similarity import hog_correlation, spearman, ssim

__all__ = [
    "METRICS",
    "SUBSETS",
    "BiasRatio",
    "Case",
    "DataRandomisation",
    "Energy",
    "GridPG",
    "Infidelity",
    "InformationCurves",
    "LedgerClosure",
    "MaskingFidelity",
    "MaxSensitivity",
    "MeanIoU",
    "Metric",
    "ObjectDiscrimination",
    "Opposition",
    "Outcome",
    "PartGame",
    "Perturbation",
    "PointingGame",
    "Randomisation",
    "RankAccuracy",
    "RemovedParts",
    "Segmentation",
    "affine_parts",
    "energy",
    "foreground",
    "grid_pg",
    "held",
    "hog_correlation",
    "iou",
    "load_metric",
    "masking_fidelity",
    "metrics",
    "object_discrimination",
    "opposition",
    "perturbation_curves",
    "point",
    "pointing_game",
    "rank_accuracy",
    "removed_parts",
    "segmentation_scores",
    "shapley",
    "spearman",
    "ssim",
    "steps",
    "world_map",
]
