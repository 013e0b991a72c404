"""The tab Compare: one picture through two models or checkpoints, asked about the same class."""

from __future__ import annotations

import html

import gradio as gr  # handlers' annotations are read here

from relprop.app.desk import Desk
from relprop.app.picture import SLIDING, maps_html
from relprop.app.uploads import uploaded_picture
from relprop.datasets.demo import demo_image_path
from relprop.errors import RelpropError
from relprop.models.pictures import read_picture
from relprop.reports import Conversation
from relprop.reports.sentence import alike

__all__ = ["tab"]


def tab(desk: Desk) -> None:
    """Lay out the tab; with one model, say how to give two."""
    if len(desk.models) < 2:
        gr.Markdown("Start the app with two models: `relprop app --model A --model B`.")
        return
    first, second = desk.models[:2]

    def compared(path: str | None, name: str) -> tuple[str, str]:
        try:
            image = read_picture(demo_image_path()) if path is None else uploaded_picture(path, desk.folder)
            parts, maps = [], []
            wanted = "" if name.strip() in ("top", "predicted") else name.strip()  # words for several classes
            for spec in (first, second):
                with Conversation(desk.model(spec), image) as talk:
                    wanted = wanted or talk.predictions[0].name
                    report = talk.ask(target=wanted)
                    (target,) = report.document["images"][0]["targets"]
                    score = next(p.score for p in talk.predictions if p.index == target["index"])
                    title = f"{html.escape(spec)}: {html.escape(target['name'])} {100 * score:.1f} %"
                    parts.append(f"<div><h2>{title}</h2>{maps_html(talk, report)}</div>")
                    maps.append(next(iter(report.numbers.values())).heatmap()[0])
        except RelpropError as error:
            raise gr.Error(str(error), print_exception=False) from None
        said = f"<p><strong>{html.escape(alike(*maps))}</strong></p>"
        return said + f'<div class="relprop-maps">{"".join(parts)}</div>', wanted

    def example(name: str) -> tuple[str, str]:
        return compared(None, name)

    gr.Markdown(f"One picture through **{first}** and **{second}**, asked about the same class.")
    name = gr.Textbox(label=f"Class; empty: what {first} says first", max_length=200)
    upload = gr.File(label="Drop a picture here", file_types=["image"], height=120)
    take = gr.Button("Compare on the example")
    shown = gr.HTML(js_on_load=SLIDING, elem_id="relprop-compared")
    upload.upload(compared, [upload, name], [shown, name], api_visibility="private")
    take.click(example, [name], [shown, name], api_visibility="private")
