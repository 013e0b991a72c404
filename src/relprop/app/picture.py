"""The tab Picture: a picture, what the network says of it, and what made it say so."""

from __future__ import annotations

import html
import shlex
from pathlib import Path
from typing import Any

import gradio as gr  # handlers' annotations are read here: gr.Request
import numpy as np
from PIL import Image

from relprop.app.desk import Desk
from relprop.app.uploads import uploaded_picture
from relprop.catalogue import METHODS, RECOMMENDED
from relprop.datasets.demo import demo_image_path
from relprop.errors import RelpropError
from relprop.explanation.explanation import Explanation
from relprop.models.pictures import read_picture
from relprop.reports import Conversation, Report
from relprop.reports.sentence import sentence
from relprop.viz.picture import display_picture
from relprop.viz.slider import SLIDER_SCRIPT, slider_html

__all__ = ["SLIDING", "code_lines", "maps_html", "tab"]

_SHOWN = 8  # classes that get a bar
_NOBODY = "none"

# Sliders and bars work in the browser, without asking the server anew.
SLIDING = f"const open = () => {{{SLIDER_SCRIPT}}}; open(); watch('value', open);"
_CHOOSE = """
element.addEventListener('click', e => {
  const bar = e.target.closest('button[data-class]');
  if (bar) trigger('select', {index: Number(bar.dataset.class)});
});
"""


def tab(desk: Desk) -> None:
    """Lay out the tab."""
    folder, spec = desk.folder, desk.models[0]

    def fail(error: RelpropError) -> Any:
        return gr.Error(str(error), print_exception=False)

    def start(image: Image.Image | Path, session: str) -> Conversation:
        talk = Conversation(desk.model(spec), image)
        desk.keep(session, talk)
        return talk

    def answer(talk: Conversation, index: int, methods: list[str], versus: str, name: str) -> tuple[Any, ...]:
        rival = None if versus == _NOBODY else versus.partition(" ")[0]
        if rival == str(index):
            raise gr.Error("Choose another class to compare with.", print_exception=False)
        try:
            report = talk.ask(methods or [RECOMMENDED], index, rival)
        except RelpropError as error:
            raise fail(error) from None
        token = desk.offer(report)
        link = f'<a class="relprop-download" href="results/{token}.zip" download>Download all of it (zip)</a>'
        return (
            _bars(talk, index), maps_html(talk, report), link,
            code_lines(name, spec, methods or [RECOMMENDED], index, rival), index,
        )  # fmt: skip

    def opened(
        source: str | Path, name: str, methods: list[str], request: gr.Request, upload: bool = False
    ) -> tuple[Any, ...]:
        try:
            image = uploaded_picture(str(source), folder) if upload else read_picture(source)
            talk = start(image, str(request.session_hash))
        except RelpropError as error:
            raise fail(error) from None
        best = talk.predictions[0].index
        rivals = [_NOBODY, *(f"{p.index} {p.name}" for p in talk.predictions[:20])]
        return (*answer(talk, best, methods, _NOBODY, name), name, gr.Dropdown(rivals, value=_NOBODY))

    def dropped(path: str | None, methods: list[str], request: gr.Request) -> tuple[Any, ...]:
        if path is None:
            raise gr.Error("Drop a picture first.", print_exception=False)
        return opened(path, Path(path).name, methods, request, upload=True)

    def example(methods: list[str], request: gr.Request) -> tuple[Any, ...]:
        path = desk.opens if desk.opens is not None and desk.opens.is_file() else demo_image_path()
        return opened(path, str(path), methods, request)

    def again(index: int, methods: list[str], versus: str, name: str, request: gr.Request) -> tuple[Any, ...]:
        talk = desk.kept(str(request.session_hash))
        if talk is None:
            raise gr.Error("Drop a picture, or take the example, first.", print_exception=False)
        return answer(talk, index, methods, versus, name)

    def chosen(
        methods: list[str], versus: str, name: str, request: gr.Request, event: gr.EventData
    ) -> tuple[Any, ...]:
        return again(int(event.index), methods, versus, name, request)

    target, name = gr.State(0), gr.State("")
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            upload = gr.File(label="Drop a picture here", file_types=["image"], height=120)
            take = gr.Button("Open the example" if desk.opens is None else f"Open {desk.opens.name}")
            gr.Markdown(f"What **{spec}** says. Click a class to see what speaks for it.")
            bars = gr.HTML(js_on_load=_CHOOSE, elem_id="relprop-scores")
            versus = gr.Dropdown([_NOBODY], value=_NOBODY, label="… rather than which other class?")
            methods = gr.Dropdown(
                [RECOMMENDED, *(m for m in METHODS if m != RECOMMENDED)], value=[RECOMMENDED],
                multiselect=True, max_choices=3, label="Methods, up to three side by side",
            )  # fmt: skip
            stop = gr.Button("Stop", variant="stop")
        with gr.Column(scale=3, min_width=300):
            maps = gr.HTML(
                "<p>Red places speak for the class, blue ones against it.</p>",
                js_on_load=SLIDING, elem_id="relprop-maps",
            )  # fmt: skip
            link = gr.HTML()
            code = gr.Code(label="The same in a terminal and in Python", language="shell", interactive=False)
    shown = [bars, maps, link, code, target]
    first = [*shown, name, versus]
    asked = [methods, versus, name]
    events: list[Any] = [
        upload.upload(dropped, [upload, methods], first, api_visibility="private"),
        take.click(example, [methods], first, api_visibility="private"),
        bars.select(chosen, asked, shown, api_visibility="private"),
        versus.input(again, [target, *asked], shown, api_visibility="private"),
        methods.input(again, [target, *asked], shown, api_visibility="private"),
    ]
    stop.click(None, cancels=events, api_visibility="private")


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


def _bars(talk: Conversation, chosen: int) -> str:
    rows = []
    for p in talk.predictions[:_SHOWN]:
        score = f"{100 * p.score:.1f} %"
        rows.append(
            f'<button type="button" data-class="{p.index}" aria-pressed="{str(p.index == chosen).lower()}" '
            f'class="relprop-score"><i style="width:{100 * p.score:.1f}%"></i><span>{html.escape(p.name)}</span>'
            f"<b>{score}</b></button>"
        )
    return "".join(rows)


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
