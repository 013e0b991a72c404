"""The tab Video: a clip, what the network says of it, and whether looks or motion made it say so."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr  # handlers' annotations are read here: gr.Request

from relprop.app.desk import Desk
from relprop.app.examples import CHOOSING, Example, thumbnails
from relprop.app.lines import lines
from relprop.app.scores import CHOOSE, score_bars
from relprop.app.uploads import CLIP_TYPES, drop_zone, uploaded_clip
from relprop.app.working import ASKS, key, line, told
from relprop.catalogue import CLIP_MODELS, METHODS, MODELS, PACKAGED_MODELS
from relprop.datasets.demo import demo_clip_path
from relprop.errors import InputError, RelpropError
from relprop.reports import ClipAnswer, ClipConversation
from relprop.reports.steps import Progress
from relprop.video.modes import ABOUT
from relprop.viz.player import PLAYER_SCRIPT

__all__ = ["clip_model", "tab", "video_lines"]

_TAB = "Video"
_NOBODY, _WHOLE = "none", "none: all relevance, not split"
_METHOD = "deep-taylor"
# The films play in the browser, without asking the server anew.
_PLAYING = f"const open = () => {{{PLAYER_SCRIPT}}}; open(); watch('value', open);"
_WHY = "conserving is recommended: its parts add up, and where the truth is known they lie best on what moves"


def tab(desk: Desk) -> None:
    """Lay out the tab."""
    offered = [Example(p.name, p) for p in desk.clips] or [Example("demo clip", demo_clip_path())]

    def answer(
        talk: ClipConversation, asked: dict[str, Any], name: str, request: gr.Request, progress: Progress
    ) -> list[Any]:
        found = talk.ask(**asked, progress=progress)
        return [
            score_bars(talk.predictions, found.found.chosen.index), _films(found, asked["mode"]),
            desk.offers.link(request, found.report), video_lines(name, talk.model.spec, asked),
            found.found.chosen.index,
        ]  # fmt: skip

    def opened(
        read: Callable[[Path], Path], name: str, mode: str, method: str, camera: str, request: gr.Request
    ) -> Iterator[list[Any]]:
        def work(progress: Progress) -> Iterator[list[Any]]:
            progress(0, 1, "reading the clip")
            film = read(desk.room(request))
            talk = ClipConversation(desk.model(clip_model(desk)), film, name=name)
            desk.keep(key(request, _TAB), talk, name)
            best = talk.predictions[0].index
            rivals = [_NOBODY, *(f"{p.index} {p.name}" for p in talk.predictions[:20])]
            says = f"What **{talk.model.spec}** says. Click a class to see what speaks for it."
            # At once: whoever stops the answer goes on with this clip, under its own name.
            bars = score_bars(talk.predictions, best)
            yield [bars, "", "", "", best, name, gr.Dropdown(rivals, value=_NOBODY), says]
            found = answer(talk, _asked(best, _NOBODY, mode, method, camera), name, request, progress)
            yield [*found, *[gr.skip()] * 3]

        yield from desk.jobs.run(key(request, _TAB), work, outputs=8, opens=True)

    def dropped(
        mode: str, method: str, camera: str, request: gr.Request, event: gr.EventData
    ) -> Iterator[list[Any]]:
        def read(room: Path) -> Path:
            return uploaded_clip(event.place, desk.folder, room)

        yield from opened(read, Path(str(event.name)).name, mode, method, camera, request)

    def example(
        mode: str, method: str, camera: str, request: gr.Request, event: gr.EventData
    ) -> Iterator[list[Any]]:
        path = offered[int(event.index)].path
        yield from opened(lambda _: path, str(path), mode, method, camera, request)

    def again(
        index: int, versus: str, how: tuple[str, str, str], name: str, request: gr.Request, *, clicked: bool
    ) -> Iterator[list[Any]]:
        def work(progress: Progress) -> Iterator[list[Any]]:
            talk, called = desk.kept(key(request, _TAB)), desk.called(key(request, _TAB))
            if talk is None:  # what was chosen is for the first clip
                return
            asked = index, versus
            if called != name:  # it was opened meanwhile: the page showed another clip's classes
                asked = index if clicked else talk.predictions[0].index, _NOBODY
            yield answer(talk, _asked(*asked, *how), called, request, progress)

        yield from desk.jobs.run(key(request, _TAB), work, outputs=5)

    def chosen(
        versus: str, mode: str, method: str, camera: str, name: str, request: gr.Request, event: gr.EventData
    ) -> Iterator[list[Any]]:
        yield from again(int(event.index), versus, (mode, method, camera), name, request, clicked=True)

    def changed(
        index: int, versus: str, mode: str, method: str, camera: str, name: str, request: gr.Request
    ) -> Iterator[list[Any]]:
        yield from again(index, versus, (mode, method, camera), name, request, clicked=False)

    target, name = gr.State(0), gr.State("")
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            drop = drop_zone("Drop a clip here, or choose one", CLIP_TYPES)
            alone = bool(desk.clips) and desk.opens is not None and desk.opens.is_file()
            take = gr.HTML(
                thumbnails(offered, opens=alone), js_on_load=CHOOSING, elem_id="relprop-clip-examples"
            )
            says = gr.Markdown("The network's classes stand here, once there is a clip.")
            bars = gr.HTML(js_on_load=CHOOSE, elem_id="relprop-clip-scores")
            versus = gr.Dropdown([_NOBODY], value=_NOBODY, label="… rather than which other class?")
            mode = gr.Dropdown(
                [*ABOUT, _WHOLE], value="conserving", label="How looks and motion are split", info=_WHY
            )
            with gr.Accordion("Method and camera", open=False):
                methods = [_METHOD, *(m for m in METHODS if m != _METHOD)]
                method = gr.Dropdown(methods, value=_METHOD, label="Method")
                camera = gr.Dropdown(
                    [("estimated from the clip", "auto"), ("it stood still", "still")], value="auto",
                    label="The camera, whose motion conserving takes off",
                )  # fmt: skip
        with gr.Column(scale=3, min_width=300):
            bar = line(desk.jobs, _TAB)
            films = gr.HTML(
                "<p>A clip becomes three films that play in step: all that is relevant, what is relevant because "
                "of how it looks, and what because it moves.</p>",
                js_on_load=_PLAYING, elem_id="relprop-films",
            )  # fmt: skip
            link = gr.HTML()
            code = gr.Code(label="The same in a terminal and in Python", language="shell", interactive=False)
    shown = [bar, bars, films, link, code, target]
    how = [mode, method, camera]
    drop.upload(dropped, how, [*shown, name, versus, says], **ASKS)
    take.select(example, how, [*shown, name, versus, says], **ASKS)
    bars.select(chosen, [versus, *how, name], shown, **ASKS)
    for control in (versus, *how):
        control.input(changed, [target, versus, *how, name], shown, **ASKS)


def clip_model(desk: Desk) -> str:
    """The first model of the command line that takes clips, or the bundled one."""
    for spec in desk.models:
        if spec in CLIP_MODELS:
            return spec
        try:
            if spec not in (*MODELS, *PACKAGED_MODELS) and desk.model(spec).may_take_clips:
                return spec
        except RelpropError:  # a file's factory may make a detector
            continue
    return next(iter(CLIP_MODELS))


def video_lines(name: str, spec: str, asked: dict[str, Any]) -> str:
    """The shell line and the Python lines that give the same report.

    >>> print(video_lines("a b.mp4", "motion-c3d", {"target": 1, "mode": "naive"}))
    relprop video 'a b.mp4' --model motion-c3d --target 1 --mode naive
    # Python:
    import relprop
    report = relprop.reports.video('motion-c3d', 'a b.mp4', target=1, mode='naive')
    """
    given = {key: value for key, value in asked.items() if value is not None}
    words = ["relprop", "video", name, "--model", spec]
    for option, value in given.items():
        words += [f"--{option}", str(value)]
    call = ", ".join([repr(spec), repr(name), *(f"{option}={value!r}" for option, value in given.items())])
    return lines(words, f"relprop.reports.video({call})")


def _asked(index: int, versus: str, mode: str, method: str, camera: str) -> dict[str, Any]:
    """A question as `ClipConversation.ask` takes it; what is at its default is left out."""
    rival = None if versus == _NOBODY else int(versus.partition(" ")[0])
    if rival == index:
        raise InputError("Expected another class to compare with: this is the one that is asked about.")
    asked = {"target": index, "method": method, "versus": rival, "mode": None if mode == _WHOLE else mode}
    return asked | ({"camera": camera} if mode == "conserving" and camera != "auto" else {})


def _films(answer: ClipAnswer, mode: str | None) -> str:
    """The films in step, below what speaks against them and above what they say."""
    warned = "".join(told(text, wrong=True) for text in answer.warnings)
    how = [] if mode is None else [f"Split by {mode}: {ABOUT[mode]}."]
    first, *others = (html.escape(text) for text in (*answer.sentences, *how))
    said = f"<p><strong>{first}</strong></p>" + "".join(f"<p>{text}</p>" for text in others)
    return f'{warned}{answer.player(autoplay=True, script=False)}<div class="relprop-said">{said}</div>'
