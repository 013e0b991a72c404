"""The public names, each with the module that holds it."""

from relprop.models.bundled import BundledModel as BundledModel
from relprop.models.bundled import load as load
from relprop.models.bundled import models as models
from relprop.models.twins import load_twin as load_twin

__all__: list[str]
