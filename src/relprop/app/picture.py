"""The tab Picture: a picture, what the network says of it, and what made it say so."""

from __future__ import annotations

import html
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr  # handlers' annotations are read here: gr.Request
import numpy as np
from PIL import Image

from relprop.app.desk import Desk
from relprop.app.opened import opens_clip
from relprop.app.scores import CHOOSE, score_bars
from relprop.app.uploads import drop_zone, uploaded_picture
from relprop.app.working import ASKS, key, line
from relprop.catalogue import METHODS, RECOMMENDED
from relprop.datasets.demo import demo_image_path
from relprop.errors import InputError
from relprop.explanation.explanation import Explanation
from relprop.reports import Conversation, Report
from relprop.reports.sentence import sentence
from relprop.reports.steps import Progress
from relprop.viz.picture import display_picture
from relprop.viz.slider import SLIDER_SCRIPT, slider_html

__all__ = ["SLIDING", "code_lines", "maps_html", "tab"]

_TAB = "Picture"
_NOBODY = "none"

# Sliders and bars work in the browser, without asking the server anew.
SLIDING = f"const open = () => {{{SLIDER_SCRIPT}}}; open(); watch('value', open);"


def tab(desk: Desk) -> None:
    """Lay out the tab."""
    spec = desk.models[0]

    def answer(
        talk: Conversation, index: int, methods: list[str], versus: str, name: str, request: gr.Request,
        progress: Progress,
    ) -> list[Any]:  # fmt: skip
        rival = None if versus == _NOBODY else versus.partition(" ")[0]
        if rival == str(index):
            raise InputError("Choose another class to compare with.")
        report = talk.ask(methods or [RECOMMENDED], index, rival, progress)
        return [
            score_bars(talk.predictions, index), maps_html(talk, report), desk.offers.link(request, report),
            code_lines(name, spec, methods or [RECOMMENDED], index, rival), index,
        ]  # fmt: skip

    def opened(
        read: Callable[[], Image.Image | Path], name: str, methods: list[str], request: gr.Request
    ) -> Iterator[list[Any]]:
        def work(progress: Progress) -> list[Any]:
            progress(0, 1, "the first answer about a picture")
            talk = Conversation(desk.model(spec), read())
            desk.keep(key(request, _TAB), talk)
            rivals = [_NOBODY, *(f"{p.index} {p.name}" for p in talk.predictions[:20])]
            best = talk.predictions[0].index
            found = answer(talk, best, methods, _NOBODY, name, request, progress)
            return [*found, name, gr.Dropdown(rivals, value=_NOBODY)]

        yield from desk.jobs.run(key(request, _TAB), work, outputs=7)

    def dropped(methods: list[str], request: gr.Request, event: gr.EventData) -> Iterator[list[Any]]:
        yield from opened(
            lambda: uploaded_picture(event.place, desk.folder), str(event.name), methods, request
        )

    def example(methods: list[str], request: gr.Request) -> Iterator[list[Any]]:
        own = desk.opens is not None and desk.opens.is_file() and not opens_clip(desk)
        path = desk.opens if own and desk.opens is not None else demo_image_path()
        yield from opened(lambda: path, str(path), methods, request)

    def again(
        index: int, methods: list[str], versus: str, name: str, request: gr.Request
    ) -> Iterator[list[Any]]:
        def work(progress: Progress) -> list[Any]:
            talk = desk.kept(key(request, _TAB))
            if talk is None:
                raise InputError("Drop a picture, or take the example, first.")
            return answer(talk, index, methods, versus, name, request, progress)

        yield from desk.jobs.run(key(request, _TAB), work, outputs=5)

    def chosen(
        methods: list[str], versus: str, name: str, request: gr.Request, event: gr.EventData
    ) -> Iterator[list[Any]]:
        yield from again(int(event.index), methods, versus, name, request)

    target, name = gr.State(0), gr.State("")
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            drop = drop_zone("Drop a picture here, or choose one")
            named = "the example" if desk.opens is None or opens_clip(desk) else desk.opens.name
            take = gr.Button(f"Open {named}")
            gr.Markdown(f"What **{spec}** says. Click a class to see what speaks for it.")
            bars = gr.HTML(js_on_load=CHOOSE, elem_id="relprop-scores")
            versus = gr.Dropdown([_NOBODY], value=_NOBODY, label="… rather than which other class?")
            methods = gr.Dropdown(
                [RECOMMENDED, *(m for m in METHODS if m != RECOMMENDED)], value=[RECOMMENDED],
                multiselect=True, max_choices=3, label="Methods, up to three side by side",
            )  # fmt: skip
        with gr.Column(scale=3, min_width=300):
            bar = line(desk.jobs, _TAB)
            maps = gr.HTML(
                "<p>Red places speak for the class, blue ones against it.</p>",
                js_on_load=SLIDING, elem_id="relprop-maps",
            )  # fmt: skip
            link = gr.HTML()
            code = gr.Code(label="The same in a terminal and in Python", language="shell", interactive=False)
    shown = [bar, bars, maps, link, code, target]
    first = [*shown, name, versus]
    asked = [methods, versus, name]
    drop.upload(dropped, [methods], first, **ASKS)
    take.click(example, [methods], first, **ASKS)
    bars.select(chosen, asked, shown, **ASKS)
    versus.input(again, [target, *asked], shown, **ASKS)
    methods.input(again, [target, *asked], shown, **ASKS)


def code_lines(name: str, spec: str, methods: list[str], index: int, versus: str | None) -> str:
    """The shell line and the Python lines that give the same report.

    >>> print(code_lines("a b.png", "scenes-vgg", ["rsp"], 1, None))
    relprop explain 'a b.png' --model scenes-vgg --method rsp --target 1
    # Python:
    import relprop
    report = relprop.reports.picture('scenes-vgg', 'a b.png', method=['rsp'], target='1')
    """
    words = ["relprop", "explain", name, "--model", spec]
    for method in methods:
        words += ["--method", method]
    words += ["--target", str(index), *([] if versus is None else ["--versus", versus])]
    rival = "" if versus is None else f", versus={versus!r}"
    call = f"{spec!r}, {name!r}, method={methods!r}, target={str(index)!r}{rival}"
    return f"{shlex.join(words)}\n# Python:\nimport relprop\nreport = relprop.reports.picture({call})"


def maps_html(talk: Conversation, report: Report) -> str:
    """The maps of a report side by side, each with a slider and a sentence, below what they warn of."""
    parts = []
    explanations: list[Explanation] = list(report.numbers.values())
    toys = dict.fromkeys(text for e in explanations for text in e.warnings)
    warned = "".join(f'<p class="relprop-warning" role="alert">{html.escape(text)}</p>' for text in toys)
    for e in explanations:
        seen, _ = display_picture(e.input[0], talk.model.mean, talk.model.std)
        pixels = np.rint(255 * seen).astype(np.uint8)
        name = next((p.name for p in talk.predictions if p.index == int(e.targets[0])), "")
        heat = e.heatmap()[0].detach().double().cpu().numpy()
        parts.append(
            f'<section class="relprop-map"><h3>{html.escape(e.method)}</h3>'
            + slider_html(
                heat, pixels, alt=f"what speaks for {name}, by {e.method}", caption=sentence(e, name),
                signed=e.signed, script=False,
            )
            + "</section>"
        )  # fmt: skip
    return f'{warned}<div class="relprop-maps">{"".join(parts)}</div>'
