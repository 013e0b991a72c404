"""The tab Compare, until it is there."""

from __future__ import annotations

from relprop.app.desk import Desk

__all__ = ["tab"]


def tab(desk: Desk) -> None:
    """Say what does it meanwhile."""
    import gradio as gr

    gr.Markdown(
        "Comparing two models is not in the app yet. In a terminal: `relprop explain photo.jpg --model A`."
    )
