"""Methods: published recipes, one family a file. The registry has their names.

The package can be called: `relprop.methods()` lists the names with a line about each.
"""

from relprop.methods import package as package  # lets the package be called
from relprop.methods.facts import Facts
from relprop.methods.method import Method, Request, Result
from relprop.methods.registry import METHODS, methods, resolve

__all__ = ["METHODS", "Facts", "Method", "Request", "Result", "methods", "resolve"]
