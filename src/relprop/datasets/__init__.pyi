"""The public names, each with the module that holds it."""

from relprop.datasets.class_folders import ClassFolders as ClassFolders
from relprop.datasets.coco import COCO as COCO
from relprop.datasets.data_set import DataSet as DataSet
from relprop.datasets.data_set import Viewer as Viewer
from relprop.datasets.demo import demo_clip as demo_clip
from relprop.datasets.demo import demo_clip_path as demo_clip_path
from relprop.datasets.demo import demo_image_path as demo_image_path
from relprop.datasets.demo import demo_photo_path as demo_photo_path
from relprop.datasets.demo import demo_scene as demo_scene
from relprop.datasets.difficult import DifficultList as DifficultList
from relprop.datasets.folder import Folder as Folder
from relprop.datasets.grids import Grids as Grids
from relprop.datasets.imagenet_segmentation import ImageNetSegmentation as ImageNetSegmentation
from relprop.datasets.motion import MotionClip as MotionClip
from relprop.datasets.motion import MotionClips as MotionClips
from relprop.datasets.motion_world import MotionWorld as MotionWorld
from relprop.datasets.registry import DATASETS as DATASETS
from relprop.datasets.registry import datasets as datasets
from relprop.datasets.registry import load_dataset as load_dataset
from relprop.datasets.sample import Region as Region
from relprop.datasets.sample import Sample as Sample
from relprop.datasets.scene_samples import SceneSamples as SceneSamples
from relprop.datasets.scenes import CLASSES as CLASSES
from relprop.datasets.scenes import Scene as Scene
from relprop.datasets.scenes import Scenes as Scenes
from relprop.datasets.synsets import Synset as Synset
from relprop.datasets.synsets import outputs_of as outputs_of
from relprop.datasets.synsets import synset_map as synset_map
from relprop.datasets.voc import VOC as VOC
from relprop.datasets.voc import VOC_CLASSES as VOC_CLASSES
from relprop.datasets.world import SceneWorld as SceneWorld
from relprop.datasets.world import World as World
from relprop.datasets.world import WorldPart as WorldPart

__all__: list[str]
