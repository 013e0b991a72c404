"""The graph: a model as a flat list of tensor operators, captured once and cached weakly."""

from relprop.graph.capture import capture, capture_lock, clear_cache
from relprop.graph.node import Graph, Node
from relprop.graph.weights import WeightCache

__all__ = ["Graph", "Node", "WeightCache", "capture", "capture_lock", "clear_cache"]
