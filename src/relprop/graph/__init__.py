"""The graph: a model as a flat list of tensor operators, captured once and cached weakly."""

from relprop.graph.capture import capture, clear_cache
from relprop.graph.node import Graph, Node

__all__ = ["Graph", "Node", "capture", "clear_cache"]
