"""The tab Detector: a picture with its boxes; a click on one says why this class and why this box."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr  # handlers' annotations are read here: gr.Request
from PIL import Image

from relprop.app.desk import Desk
from relprop.app.detector_html import boxes_part, edges_part, held_part, unit_part, why_part
from relprop.app.examples import CHOOSING, examples, thumbnails
from relprop.app.lines import lines
from relprop.app.picture import SLIDING
from relprop.app.uploads import drop_zone, uploaded_picture
from relprop.app.working import ASKS, key, line, told
from relprop.catalogue import METHODS, SHOWN_METHOD
from relprop.errors import InputError
from relprop.reports import DetectionAnswer, DetectionConversation, DetectionQuestion, Report
from relprop.reports.steps import Progress
from relprop.viz.clickable import BOXES_SCRIPT

__all__ = ["detector_lines", "tab"]

_TAB, _NOBODY = "Detector", "none"
_CHOOSE = f"const choose = what => trigger('select', {{index: what}});{BOXES_SCRIPT}"
_PLACE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True)
class _Later:
    """A report that is made when somebody downloads it."""

    talk: DetectionConversation
    question: DetectionQuestion

    def save(self, out: Path, /) -> Report:
        return self.talk.report(self.question).save(out)


def tab(desk: Desk) -> None:
    """Lay out the tab."""
    specs = desk.detectors
    offered = examples(desk, specs[0])

    def kept(request: gr.Request) -> DetectionConversation:
        talk = desk.kept(key(request, _TAB))
        if not isinstance(talk, DetectionConversation):
            raise InputError("Expected a picture first: drop one, or take one of those on the page.")
        return talk

    def answers(
        talk: DetectionConversation,
        question: DetectionQuestion,
        name: str,
        request: gr.Request,
        progress: Progress,
    ) -> Iterator[list[Any]]:
        """The maps at once, then what was measured."""
        answer = talk.explained(question, progress)
        whole = answer.measured is not None
        link = desk.offers.link(request, _Later(talk, question))
        picture = next((one.code for one in offered if str(one.path) == name), "")
        code = detector_lines(name, talk.loaded.spec, question, picture)
        yield [why_part(talk, answer), *_measured(answer, whole), unit_part(answer), link, code, question]
        if not whole:
            progress(0, 1, "hiding parts of the picture, one after another")
            yield [gr.skip(), *_measured(talk.measured(question), True), *[gr.skip()] * 4]

    def about(
        talk: DetectionConversation,
        question: DetectionQuestion,
        name: str,
        request: gr.Request,
        progress: Progress,
    ) -> Iterator[list[Any]]:
        """Another box or place: nothing to compare with yet."""
        rivals: Any = gr.Dropdown(_rivals(talk, question), value=_NOBODY)
        place = "" if question.place is None else "{:.0f},{:.0f}".format(*question.place)
        for shown in answers(talk, question, name, request, progress):
            yield [gr.skip(), *shown, name, rivals, place]
            rivals = place = gr.skip()

    def opened(
        read: Callable[[], Image.Image | Path], name: str, spec: str, asked: _Asked, request: gr.Request
    ) -> Iterator[list[Any]]:
        def work(progress: Progress) -> Iterator[list[Any]]:
            progress(0, 1, "looking for objects")
            talk = DetectionConversation(desk.detector(spec), read())
            desk.keep(key(request, _TAB), talk, name)
            first = asked.about(DetectionQuestion(0)) if len(talk.found) else None
            empty = [*[""] * 6, first, name, gr.Dropdown([_NOBODY], value=_NOBODY), ""]
            yield [boxes_part(talk, first), *empty]
            if first is not None:
                yield from about(talk, first, name, request, progress)

        yield from desk.jobs.run(key(request, _TAB), work, outputs=11, opens=True)

    def chosen(
        first: DetectionQuestion, asked: _Asked, name: str, request: gr.Request
    ) -> Iterator[list[Any]]:
        def work(progress: Progress) -> Iterator[list[Any]]:
            talk, called = kept(request), desk.called(key(request, _TAB))
            if first.place is not None:
                talk.classes(asked.about(first))  # refuses a place outside of the picture
                yield [boxes_part(talk, first), *[gr.skip()] * 10]
            # A picture that was opened meanwhile has boxes of its own.
            stale = called != name and first.place is None
            wanted = DetectionQuestion(0) if stale else first
            yield from about(talk, asked.about(wanted), called, request, progress)

        yield from desk.jobs.run(key(request, _TAB), work, outputs=11)

    def dropped(
        spec: str, method: str, layers: bool, request: gr.Request, event: gr.EventData
    ) -> Iterator[list[Any]]:
        read = partial(uploaded_picture, event.place, desk.folder)
        yield from opened(read, str(event.name), spec, _Asked(method, layers), request)

    def example(
        spec: str, method: str, layers: bool, request: gr.Request, event: gr.EventData
    ) -> Iterator[list[Any]]:
        path = offered[int(event.index) % len(offered)].path
        yield from opened(lambda: path, str(path), spec, _Asked(method, layers), request)

    def clicked(
        method: str, layers: bool, name: str, request: gr.Request, event: gr.EventData
    ) -> Iterator[list[Any]]:
        where = event.index
        if isinstance(where, list):
            first = DetectionQuestion(place=(float(where[0]), float(where[1])))
        else:
            first = DetectionQuestion(int(where))
        yield from chosen(first, _Asked(method, layers), name, request)

    def typed(text: str, method: str, layers: bool, name: str, request: gr.Request) -> Iterator[list[Any]]:
        found = _PLACE.fullmatch(text)
        if found is None:
            said = f"Expected a place such as 120,80 (x,y) but got {text!r:.80}."
            yield [told(said, wrong=True), *[gr.skip()] * 11]
            return
        first = DetectionQuestion(place=(float(found[1]), float(found[2])))
        yield from chosen(first, _Asked(method, layers), name, request)

    def again(
        question: DetectionQuestion | None,
        versus: str,
        method: str,
        layers: bool,
        name: str,
        request: gr.Request,
    ) -> Iterator[list[Any]]:
        def work(progress: Progress) -> Iterator[list[Any]]:
            called, how = desk.called(key(request, _TAB)), _Asked(method, layers)
            if desk.kept(key(request, _TAB)) is None:  # what was chosen is for the first picture
                return
            talk = kept(request)
            if called != name:  # it was opened meanwhile: the page showed another picture's boxes
                if len(talk.found):
                    yield from about(talk, how.about(DetectionQuestion(0)), called, request, progress)
                return
            if question is None:
                raise InputError("Expected a box first: choose one, or a place of the picture.")
            asked = replace(how.about(question), versus=None if versus == _NOBODY else versus)
            for found in answers(talk, asked, name, request, progress):
                yield [gr.skip(), *found, *[gr.skip()] * 3]

        yield from desk.jobs.run(key(request, _TAB), work, outputs=11)

    question, name = gr.State(None), gr.State("")
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            drop = drop_zone("Drop a picture here, or choose one")
            at_once = desk.first == _TAB and bool(desk.pictures)
            take = gr.HTML(thumbnails(offered, opens=at_once), js_on_load=CHOOSING, elem_id="relprop-scenes")
            spec = gr.Dropdown(specs, value=specs[0], label="Detector", visible=len(specs) > 1)
            versus = gr.Dropdown([_NOBODY], value=_NOBODY, label="Why this class rather than which other?")
            method = gr.Dropdown(
                [SHOWN_METHOD, *(m for m in METHODS if m != SHOWN_METHOD)], value=SHOWN_METHOD, label="Method"
            )
            layers = gr.Checkbox(label="Layer by layer, too")
            place = gr.Textbox(label="A missed object? Click its place, or type x,y", max_length=40)
        with gr.Column(scale=4, min_width=300):
            bar = line(desk.jobs, _TAB)
            drawn = gr.HTML(
                "<p>Drop a picture, or take one of those on the page. Then click a box: why this class, and why "
                "this box?</p>",
                js_on_load=_CHOOSE, elem_id="relprop-boxes",
            )  # fmt: skip
            why = gr.HTML(js_on_load=SLIDING, elem_id="relprop-why")
            held = gr.HTML(elem_id="relprop-held")
            edges = gr.HTML(js_on_load=SLIDING, elem_id="relprop-edges")
            unit = gr.HTML(elem_id="relprop-unit")
            link = gr.HTML()
            with gr.Accordion("The same in a terminal and in Python", open=False):
                code = gr.Code(
                    language="shell", interactive=False, show_label=False, wrap_lines=True,
                    elem_id="relprop-detector-code",
                )  # fmt: skip
    shown = [bar, why, held, edges, unit, link, code, question]
    everything = [bar, drawn, *shown[1:], name, versus, place]
    how = [method, layers]
    drop.upload(dropped, [spec, *how], everything, **ASKS)
    take.select(example, [spec, *how], everything, **ASKS)
    drawn.select(clicked, [*how, name], everything, **ASKS)
    place.submit(typed, [place, *how, name], everything, **ASKS)
    for changed in (versus.input, method.input, layers.input):
        changed(again, [question, versus, *how, name], everything, **ASKS)


@dataclass(frozen=True)
class _Asked:
    """How a question is to be answered, as the page has it."""

    method: str
    layers: bool

    def about(self, question: DetectionQuestion) -> DetectionQuestion:
        """The question with it."""
        return replace(question, method=self.method, layers=bool(self.layers))


def _measured(answer: DetectionAnswer, whole: bool) -> tuple[str, str]:
    return held_part(answer, whole), edges_part(answer, whole)


def _rivals(talk: DetectionConversation, question: DetectionQuestion) -> list[tuple[str, str]]:
    """The other classes, best first, each with the text that names it."""
    _, *others = talk.classes(question)
    return [(_NOBODY, _NOBODY), *((f"{name} ({score:.2g})", str(k)) for k, name, score in others)]


def detector_lines(name: str, spec: str, question: DetectionQuestion, picture: str = "") -> str:
    """The shell line and the Python lines that give the same report.

    Args:
        name: of the picture's file.
        spec, question: what was asked of which detector.
        picture: Python that gives the picture, where the file doesn't stay.

    >>> print(detector_lines("a b.png", "scenes-ssd", DetectionQuestion(1, versus="3")))
    relprop detect 'a b.png' --model scenes-ssd --box 1 --versus 3
    # Python:
    import relprop
    report = relprop.reports.detection('scenes-ssd', 'a b.png', box=1, versus='3')
    """
    words, given = ["relprop", "detect", name, "--model", spec], ""
    if question.place is not None:
        words += ["--at", "{:.1f},{:.1f}".format(*question.place)]
        given += ", place=({:.1f}, {:.1f})".format(*question.place)
    else:
        words += ["--box", str(question.box)]
        given += f", box={question.box}"
    if question.versus is not None:
        words += ["--versus", str(question.versus)]
        given += f", versus={question.versus!r}"
    if question.method != SHOWN_METHOD:
        words += ["--method", question.method]
        given += f", method={question.method!r}"
    if question.layers:
        words.append("--layers")
        given += ", layers=True"
    call = f"relprop.reports.detection({spec!r}, {'image' if picture else repr(name)}{given})"
    return lines(words, call, picture)
