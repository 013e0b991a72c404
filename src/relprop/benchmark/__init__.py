"""Benchmark: methods x metrics x data sets to a table, on one machine or many; it resumes where it stopped."""

from __future__ import annotations

from relprop.benchmark.recipe import Recipe, read_recipe, recipes

__all__ = ["Recipe", "read_recipe", "recipes", "run"]


def __getattr__(name: str) -> object:
    if name == "run":  # brings torch and the data sets along
        from relprop.benchmark.run import run

        return run
    raise AttributeError(f"module 'relprop.benchmark' has no attribute {name!r}")
