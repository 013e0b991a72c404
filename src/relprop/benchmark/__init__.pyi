"""The public names, each with the module that holds it."""

from relprop.benchmark.reading import read_finished as read_finished
from relprop.benchmark.recipe import Recipe as Recipe
from relprop.benchmark.recipe import read_recipe as read_recipe
from relprop.benchmark.recipe import recipes as recipes
from relprop.benchmark.run import run as run

__all__: list[str]
