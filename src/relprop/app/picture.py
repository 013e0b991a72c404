"""The tab Picture: a picture, what the network says of it, and what made it say so."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr  # handlers' annotations are read here: gr.Request
import numpy as np
from PIL import Image

from relprop.app.desk import Desk
from relprop.app.examples import CHOOSING, examples, thumbnails
from relprop.app.lines import lines
from relprop.app.places import PLACING, place_html
from relprop.app.scores import CHOOSE, score_bars
from relprop.app.uploads import drop_zone, uploaded_picture
from relprop.app.working import ASKS, key, line, told
from relprop.catalogue import METHODS, RECOMMENDED
from relprop.errors import InputError
from relprop.explanation.explanation import Explanation
from relprop.reports import Conversation, Report
from relprop.reports.hide_and_see import HideAndSee
from relprop.reports.sentence import sentence
from relprop.reports.steps import Progress
from relprop.viz.picture import display_picture
from relprop.viz.slider import SLIDER_SCRIPT, slider_html

__all__ = ["SLIDING", "code_lines", "maps_html", "tab"]

_TAB = "Picture"
_NOBODY = "none"
_HOW = (
    "<p>Drop a picture, or take one of those on the page. Then red places speak for the class and blue ones "
    "against it; click a place of the picture to see which classes it speaks for.</p>"
)

# Sliders and bars work in the browser, without asking the server anew.
SLIDING = f"const open = () => {{{SLIDER_SCRIPT}}}; open(); watch('value', open);"


def tab(desk: Desk) -> None:
    """Lay out the tab."""
    spec, offered = desk.of_pictures[0], examples(desk, desk.of_pictures[0])
    same: Any = gr.skip()

    def answer(
        talk: Conversation, asked: _Asked, name: str, request: gr.Request, progress: Progress
    ) -> Iterator[list[Any]]:
        report = talk.ask(asked.methods, asked.index, asked.rival, progress)
        yield [
            score_bars(talk.predictions, asked.index), maps_html(talk, report), "", "",
            desk.offers.link(request, report),
            code_lines(name, spec, asked.methods, asked.index, asked.rival, _code(name)), asked.index,
        ]  # fmt: skip
        progress(0, 1, "hiding places, to see what the score does")
        checks = dict(zip(report.numbers.values(), talk.check(report), strict=False))
        yield [same, same, _checked({e.method: check for e, check in checks.items()}), *[same] * 4]

    def _code(name: str) -> str:
        return next((one.code for one in offered if str(one.path) == name), "")

    def opened(
        read: Callable[[], Image.Image | Path], name: str, methods: list[str], request: gr.Request
    ) -> Iterator[list[Any]]:
        def work(progress: Progress) -> Iterator[list[Any]]:
            progress(0, 1, f"{spec} meets the picture")
            talk = Conversation(desk.model(spec), read())
            desk.keep(key(request, _TAB), talk, name)
            best = talk.predictions[0].index
            choices = [_NOBODY, *(f"{p.index} {p.name}" for p in talk.predictions[:20])]
            # At once: whoever stops the answer goes on with this picture, under its own name.
            bars = score_bars(talk.predictions, best)
            yield [bars, *[""] * 5, best, name, gr.Dropdown(choices, value=_NOBODY)]
            for found in answer(talk, _Asked(best, methods), name, request, progress):
                yield [*found, same, same]

        yield from desk.jobs.run(key(request, _TAB), work, outputs=9, opens=True)

    def dropped(methods: list[str], request: gr.Request, event: gr.EventData) -> Iterator[list[Any]]:
        yield from opened(
            lambda: uploaded_picture(event.place, desk.folder), str(event.name), methods, request
        )

    def example(methods: list[str], request: gr.Request, event: gr.EventData) -> Iterator[list[Any]]:
        path = offered[int(event.index) % len(offered)].path
        yield from opened(lambda: path, str(path), methods, request)

    def talk_of(request: gr.Request) -> Conversation:
        talk: Conversation | None = desk.kept(key(request, _TAB))
        if talk is None:
            raise InputError("Expected a picture first: drop one, or take one of those below.")
        return talk

    def again(asked: _Asked, name: str, request: gr.Request, *, clicked: bool) -> Iterator[list[Any]]:
        def work(progress: Progress) -> Iterator[list[Any]]:
            talk, called = desk.kept(key(request, _TAB)), desk.called(key(request, _TAB))
            if talk is None:  # what was chosen is for the first picture
                return
            if called != name:  # it was opened meanwhile: the page showed another picture's classes
                best = asked.index if clicked else talk.predictions[0].index
                yield from answer(talk, _Asked(best, asked.methods), called, request, progress)
            else:
                yield from answer(talk, asked, name, request, progress)

        yield from desk.jobs.run(key(request, _TAB), work, outputs=7)

    def chosen(
        methods: list[str], versus: str, name: str, request: gr.Request, event: gr.EventData
    ) -> Iterator[list[Any]]:
        yield from again(_Asked(int(event.index), methods, versus), name, request, clicked=True)

    def changed(
        index: int, methods: list[str], versus: str, name: str, request: gr.Request
    ) -> Iterator[list[Any]]:
        yield from again(_Asked(index, methods, versus), name, request, clicked=False)

    def pointed(index: int, request: gr.Request, event: gr.EventData) -> Iterator[list[Any]]:
        def work(progress: Progress) -> list[Any]:
            progress(0, 1, "asking about the place")
            return [place_html(talk_of(request).place(float(event.x), float(event.y), index))]

        yield from desk.jobs.run(key(request, _TAB), work, outputs=1)

    target, name = gr.State(0), gr.State("")
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            drop = drop_zone("Drop a picture here, or choose one")
            opens = bool(desk.pictures) and desk.opens is not None and desk.opens.is_file()
            take = gr.HTML(thumbnails(offered, opens=opens), js_on_load=CHOOSING, elem_id="relprop-examples")
            bars = gr.HTML(
                f"<p>What {html.escape(spec)} says will stand here.</p>", js_on_load=CHOOSE,
                elem_id="relprop-scores",
            )  # fmt: skip
            versus = gr.Dropdown([_NOBODY], value=_NOBODY, label="… rather than which other class?")
            methods = gr.Dropdown(
                [RECOMMENDED, *(m for m in METHODS if m != RECOMMENDED)], value=[RECOMMENDED],
                multiselect=True, max_choices=3, label="Methods, up to three side by side",
            )  # fmt: skip
        with gr.Column(scale=3, min_width=280):
            bar = line(desk.jobs, _TAB)
            maps = gr.HTML(_HOW, js_on_load=SLIDING + PLACING, elem_id="relprop-maps")
            check = gr.HTML(elem_id="relprop-check")
            place = gr.HTML(elem_id="relprop-place")
            link = gr.HTML()
            with gr.Accordion("The same in a terminal and in Python", open=False):
                code = gr.Code(language="shell", interactive=False, show_label=False, wrap_lines=True)
    shown = [bar, bars, maps, check, place, link, code, target]
    first = [*shown, name, versus]
    asked = [methods, versus, name]
    drop.upload(dropped, [methods], first, **ASKS)
    take.select(example, [methods], first, **ASKS)
    bars.select(chosen, asked, shown, **ASKS)
    maps.input(pointed, [target], [bar, place], **ASKS)
    versus.input(changed, [target, *asked], shown, **ASKS)
    methods.input(changed, [target, *asked], shown, **ASKS)


class _Asked:
    """A question as the page puts it, made into what `Conversation.ask` takes."""

    def __init__(self, index: int, methods: list[str], versus: str = _NOBODY) -> None:
        self.index, self.methods, self.versus = index, methods or [RECOMMENDED], versus

    @property
    def rival(self) -> str | None:
        rival = None if self.versus == _NOBODY else self.versus.partition(" ")[0]
        if rival == str(self.index):
            raise InputError("Expected another class to compare with: this is the one that is asked about.")
        return rival


def _checked(checks: dict[str, HideAndSee]) -> str:
    several = len(checks) > 1
    return "".join(
        f"<p>{f'<b>{html.escape(method)}</b>: ' if several else ''}{html.escape(check.words)}</p>"
        for method, check in checks.items()
    )


def code_lines(
    name: str, spec: str, methods: list[str], index: int, versus: str | None, picture: str = ""
) -> str:
    """The shell line and the Python lines that give the same report.

    Args:
        name: of the picture's file.
        spec, methods, index, versus: what was asked.
        picture: Python that gives the picture, where the file doesn't stay.

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
    file = repr(name)
    call = f"{spec!r}, {'image' if picture else file}, method={methods!r}, target={str(index)!r}{rival}"
    return lines(words, f"relprop.reports.picture({call})", picture)


def maps_html(talk: Conversation, report: Report) -> str:
    """The maps of a report side by side, each with a slider and a sentence, below what they warn of."""
    parts = []
    explanations: list[Explanation] = list(report.numbers.values())
    toys = dict.fromkeys(text for e in explanations for text in e.warnings)
    warned = "".join(told(text, wrong=True) for text in toys)
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
