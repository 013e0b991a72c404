"""Rules: how relevance crosses one operator, backward. One family a module."""

from relprop.rules.activation import Identity, Slope
from relprop.rules.gradient import Gradient, Rectify
from relprop.rules.homogeneous import Homogeneous
from relprop.rules.influence import AbsoluteInfluence, RelativeInfluence
from relprop.rules.linear import AlphaBeta, Epsilon, Excitation, Flat, Gamma, WSquare, ZBox, ZPlus
from relprop.rules.merge import Add
from relprop.rules.norm import BatchNorm, Norm
from relprop.rules.pooling import AveragePool, MaxPool
from relprop.rules.product import Gate, Product, Scale, Softmax
from relprop.rules.rule import LinearRule, Rule, SharingRule
from relprop.rules.section import Section
from relprop.rules.shape import Shape

__all__ = [
    "AbsoluteInfluence",
    "Add",
    "AlphaBeta",
    "AveragePool",
    "BatchNorm",
    "Epsilon",
    "Excitation",
    "Flat",
    "Gamma",
    "Gate",
    "Gradient",
    "Homogeneous",
    "Identity",
    "LinearRule",
    "MaxPool",
    "Norm",
    "Product",
    "Rectify",
    "RelativeInfluence",
    "Rule",
    "Scale",
    "Section",
    "Shape",
    "SharingRule",
    "Slope",
    "Softmax",
    "WSquare",
    "ZBox",
    "ZPlus",
]
