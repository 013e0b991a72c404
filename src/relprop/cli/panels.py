"""Panels: in which part of a command's help an option stands, and the words that stand for its value."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import typer

__all__ = [
    "METAVARS",
    "OUTPUT",
    "PANELS",
    "WHAT",
    "frames_option",
    "how_option",
    "model_option",
    "output_option",
    "what_option",
]

WHAT, _HOW, _MODEL, _FRAMES, OUTPUT = (
    "What",
    "How",
    "How the model is loaded",
    "How frames are taken",
    "Output",
)

#: In the order in which help shows them.
PANELS = (WHAT, _HOW, _MODEL, _FRAMES, OUTPUT)

_Declares = Callable[..., Any]
what_option: _Declares = partial(typer.Option, rich_help_panel=WHAT)
how_option: _Declares = partial(typer.Option, rich_help_panel=_HOW)
model_option: _Declares = partial(typer.Option, rich_help_panel=_MODEL)
frames_option: _Declares = partial(typer.Option, rich_help_panel=_FRAMES)
output_option: _Declares = partial(typer.Option, rich_help_panel=OUTPUT)

#: What stands for a value -> what is typed there. Every command uses these words and no others.
METAVARS = {
    "IMAGE": "a picture: a file; where help says so a folder, or a pattern such as 'photos/**/*.jpg'",
    "CLIP": "a film file: .avi, .mp4, .gif and more",
    "SPEC": "a model: a bundled name, torchvision:NAME, timm:NAME, or file.py:factory",
    "NAME": "a name: of a method, a metric, a layer; of your own, file.py:Name",
    "KEY=VALUE": "a setting of what has the name before the colon: lrp-epsilon:epsilon=0.1",
    "CLASS": "a class: its index or its name",
    "RECIPE": "a benchmark's recipe: a name of relprop benchmark list, or FILE.toml",
    "FILE": "a file",
    "FOLDER": "a folder",
    "PATH": "a file or a folder",
    "N": "a whole number",
    "NUMBER": "a number",
    "SIZE": "a length in pixels, or HxW: 224, 240x320; of clips TxHxW: 16x112x112",
    "BYTES": "an amount of memory: 2GB, 500MiB",
    "X,Y": "a place: pixels to the right and down, 120,80",
    "R,G,B": "one number a channel: 0.5,0.5,0.5",
    "KEY": "one of several outputs: its name or index",
    "DEVICE": "cpu, cuda, cuda:1, mps",
    "FORMAT": "a file format by name",
    "TEXT": "words, in quotes where there are several",
    "LIBRARY": "torchvision or timm",
    "ADDRESS": "a machine on the network",
}
