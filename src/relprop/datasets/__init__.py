"""Data with truth to judge explanations by; `scenes` is drawn on the fly and needs no files."""

from __future__ import annotations

from relprop.datasets.coco import COCO
from relprop.datasets.data_set import DataSet
from relprop.datasets.demo import demo_clip, demo_clip_path, demo_image_path, demo_photo_path, demo_scene
from relprop.datasets.difficult import DifficultList
from relprop.datasets.folder import Folder
from relprop.datasets.imagenet_segmentation import ImageNetSegmentation
from relprop.datasets.motion import MotionClip, MotionClips
from relprop.datasets.registry import DATASETS, datasets, load_dataset
from relprop.datasets.sample import Region, Sample
from relprop.datasets.scene_samples import SceneSamples
from relprop.datasets.scenes import CLASSES, Scene, Scenes
from relprop.datasets.synsets import Synset, outputs_of, synset_map
from relprop.datasets.voc import VOC, VOC_CLASSES

__all__ = [
    "CLASSES",
    "COCO",
    "DATASETS",
    "VOC",
    "VOC_CLASSES",
    "DataSet",
    "DifficultList",
    "Folder",
    "ImageNetSegmentation",
    "MotionClip",
    "MotionClips",
    "Region",
    "Sample",
    "Scene",
    "SceneSamples",
    "Scenes",
    "Synset",
    "datasets",
    "demo_clip",
    "demo_clip_path",
    "demo_image_path",
    "demo_photo_path",
    "demo_scene",
    "load_dataset",
    "outputs_of",
    "synset_map",
]
