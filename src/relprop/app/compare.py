"""The tab Compare: one picture through two models or checkpoints, asked about the same class."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr  # handlers' annotations are read here

from relprop.app.desk import Desk
from relprop.app.examples import CHOOSING, examples, thumbnails
from relprop.app.picture import SLIDING, code_lines, maps_html
from relprop.app.uploads import drop_zone, uploaded_picture
from relprop.app.working import ASKS, key, line
from relprop.catalogue import RECOMMENDED
from relprop.errors import InputError
from relprop.models.classes import Prediction
from relprop.reports import Conversation
from relprop.reports.sentence import alike
from relprop.reports.steps import Progress

__all__ = ["same_class", "tab"]

_TAB = "Compare"
_OFFERED = 20  # classes of the first model that the chooser has


def tab(desk: Desk) -> None:
    """Lay out the tab; with one model, say how to give two."""
    if len(desk.of_pictures) < 2:
        gr.Markdown("Start the app with two models: `relprop app --model A --model B`.")
        return
    specs = desk.of_pictures[:2]
    offered = examples(desk, specs[0])

    def answer(pair: _Pair, wanted: str, request: gr.Request, progress: Progress) -> list[Any]:
        parts, maps, links, lines = [], [], [], []
        for i, (spec, talk) in enumerate(zip(specs, pair.talks, strict=True)):
            progress(i, 2, spec)
            report = talk.ask(target=same_class(wanted, pair.talks[0].predictions, talk.predictions))
            (target,) = report.document["images"][0]["targets"]
            score = next(p.score for p in talk.predictions if p.index == target["index"])
            title = f"{html.escape(spec)}: {html.escape(target['name'])} {100 * score:.1f} %"
            parts.append(f"<div><h3>{title}</h3>{maps_html(talk, report)}</div>")
            maps.append(next(iter(report.numbers.values())).heatmap()[0])
            links.append(desk.offers.link(request, report, f"Download {html.escape(spec)} (zip)"))
            lines.append(code_lines(pair.name, spec, [RECOMMENDED], target["index"], None, pair.code))
        said = f"<p><strong>{html.escape(alike(*maps))}</strong></p>"
        return [
            said + f'<div class="relprop-maps">{"".join(parts)}</div>', "".join(links), "\n\n".join(lines),
            gr.Dropdown([p.name for p in pair.talks[0].predictions[:_OFFERED]], value=wanted),
        ]  # fmt: skip

    def asked(pair: _Pair, wanted: str | None, request: gr.Request, progress: Progress) -> list[Any]:
        known = [p.name for p in pair.talks[0].predictions[:_OFFERED]]
        return answer(pair, wanted if wanted in known else known[0], request, progress)

    def opened(
        read: Callable[[], Any], name: str, code: str, wanted: str | None, request: gr.Request
    ) -> Iterator[list[Any]]:
        def work(progress: Progress) -> Iterator[list[Any]]:
            image = read()
            progress(0, 2, specs[0])
            first = Conversation(desk.model(specs[0]), image)
            progress(1, 2, specs[1])
            pair = _Pair((first, Conversation(desk.model(specs[1]), image)), name, code)
            desk.keep(key(request, _TAB), pair)
            yield [gr.skip()] * 4  # it is open
            yield asked(pair, wanted, request, progress)

        yield from desk.jobs.run(key(request, _TAB), work, outputs=4, opens=True)

    def dropped(wanted: str | None, request: gr.Request, event: gr.EventData) -> Iterator[list[Any]]:
        read = partial(uploaded_picture, event.place, desk.folder)
        yield from opened(read, str(event.name), "", wanted, request)

    def example(wanted: str | None, request: gr.Request, event: gr.EventData) -> Iterator[list[Any]]:
        one = offered[int(event.index) % len(offered)]
        yield from opened(lambda: one.path, str(one.path), one.code, wanted, request)

    def again(wanted: str | None, request: gr.Request) -> Iterator[list[Any]]:
        def work(progress: Progress) -> list[Any]:
            pair = desk.kept(key(request, _TAB))
            if pair is None:
                raise InputError("Expected a picture first: drop one, or take one of those below.")
            return asked(pair, wanted, request, progress)

        yield from desk.jobs.run(key(request, _TAB), work, outputs=4)

    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            gr.Markdown(f"One picture through **{specs[0]}** and **{specs[1]}**, asked about the same class.")
            drop = drop_zone("Drop a picture here, or choose one")
            take = gr.HTML(
                thumbnails(offered, opens=False), js_on_load=CHOOSING, elem_id="relprop-compare-examples"
            )
            wanted = gr.Dropdown([], label="Class")
        with gr.Column(scale=3, min_width=280):
            bar = line(desk.jobs, _TAB)
            shown = gr.HTML(js_on_load=SLIDING, elem_id="relprop-compared")
            links = gr.HTML()
            with gr.Accordion("The same in a terminal and in Python", open=False):
                code = gr.Code(language="shell", interactive=False, show_label=False, wrap_lines=True)
    outputs = [bar, shown, links, code, wanted]
    drop.upload(dropped, [wanted], outputs, **ASKS)
    take.select(example, [wanted], outputs, **ASKS)
    wanted.input(again, [wanted], outputs, **ASKS)


def same_class(name: str, first: Sequence[Prediction], own: Sequence[Prediction]) -> str:
    """A model's class that is called as one of the first model's, as a target: its index.

    Of several that are called so, as "cardigan" among ImageNet's dogs and clothes may be, it is the one with the
    first model's index. A name that the model doesn't have is given back, for the error.

    >>> one = [Prediction(5, "crane", 2.0, 0.7), Prediction(2, "crane", 1.0, 0.3)]
    >>> same_class("crane", one, [Prediction(1, "dog", 2.0, 0.6), *reversed(one)])
    '5'
    """
    index = next((p.index for p in first if p.name == name), None)
    called = [p.index for p in own if p.name == name]
    return str(index if index in called else called[0]) if called else name


@dataclass(frozen=True)
class _Pair:
    """One picture before two models."""

    talks: tuple[Conversation, Conversation]
    name: str
    code: str

    def close(self) -> None:
        for talk in self.talks:
            talk.close()
