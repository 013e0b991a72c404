"""The public names, each with the module that holds it."""

from relprop.models.c3d import C3D as C3D
from relprop.models.sampling import Sampling as Sampling
from relprop.video.camera import CameraPath as CameraPath
from relprop.video.clip import Clip as Clip
from relprop.video.clip import read_clip as read_clip
from relprop.video.tracking import estimated_path as estimated_path

__all__: list[str]
