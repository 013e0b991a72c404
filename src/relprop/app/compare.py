"""The tab Compare: one picture through two models or checkpoints, asked about the same class."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr  # handlers' annotations are read here

from relprop.app.desk import Desk
from relprop.app.picture import SLIDING, maps_html
from relprop.app.uploads import drop_zone, uploaded_picture
from relprop.app.working import ASKS, key, line
from relprop.datasets.demo import demo_image_path
from relprop.reports import Conversation
from relprop.reports.sentence import alike
from relprop.reports.steps import Progress

__all__ = ["tab"]

_TAB = "Compare"


def tab(desk: Desk) -> None:
    """Lay out the tab; with one model, say how to give two."""
    if len(desk.models) < 2:
        gr.Markdown("Start the app with two models: `relprop app --model A --model B`.")
        return
    first, second = desk.models[:2]

    def compared(read: Callable[[], Any], name: str, request: gr.Request) -> Iterator[list[Any]]:
        def work(progress: Progress) -> list[Any]:
            image = read()
            parts, maps = [], []
            wanted = "" if name.strip() in ("top", "predicted") else name.strip()  # words for several classes
            for i, spec in enumerate((first, second)):
                progress(i, 2, spec)
                with Conversation(desk.model(spec), image) as talk:
                    wanted = wanted or talk.predictions[0].name
                    report = talk.ask(target=wanted)
                    (target,) = report.document["images"][0]["targets"]
                    score = next(p.score for p in talk.predictions if p.index == target["index"])
                    title = f"{html.escape(spec)}: {html.escape(target['name'])} {100 * score:.1f} %"
                    parts.append(f"<div><h2>{title}</h2>{maps_html(talk, report)}</div>")
                    maps.append(next(iter(report.numbers.values())).heatmap()[0])
            said = f"<p><strong>{html.escape(alike(*maps))}</strong></p>"
            return [said + f'<div class="relprop-maps">{"".join(parts)}</div>', wanted]

        yield from desk.jobs.run(key(request, _TAB), work, outputs=2)

    def dropped(name: str, request: gr.Request, event: gr.EventData) -> Iterator[list[Any]]:
        yield from compared(lambda: uploaded_picture(event.place, desk.folder), name, request)

    def example(name: str, request: gr.Request) -> Iterator[list[Any]]:
        yield from compared(demo_image_path, name, request)

    gr.Markdown(f"One picture through **{first}** and **{second}**, asked about the same class.")
    name = gr.Textbox(label=f"Class; empty: what {first} says first", max_length=200)
    drop = drop_zone("Drop a picture here, or choose one")
    take = gr.Button("Compare on the example")
    bar = line(desk.jobs, _TAB)
    shown = gr.HTML(js_on_load=SLIDING, elem_id="relprop-compared")
    drop.upload(dropped, [name], [bar, shown, name], **ASKS)
    take.click(example, [name], [bar, shown, name], **ASKS)
