"""Reports: what the commands draw, write and print, from Python: figures, one document, tables."""

from relprop.reports.affine import affine
from relprop.reports.depth import affine_depth
from relprop.reports.detection import detection
from relprop.reports.pictures import picture
from relprop.reports.report import Report
from relprop.reports.text import Table
from relprop.reports.toy import affine_toy
from relprop.reports.video import clip_size, video

__all__ = [
    "Report",
    "Table",
    "affine",
    "affine_depth",
    "affine_toy",
    "clip_size",
    "detection",
    "picture",
    "video",
]
