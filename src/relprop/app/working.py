"""Working: a tab's computation in a thread of its own, how far it is, and Stop, which ends it.

A tab that computes does four things. It lays out one line for the bar and Stop, writes its handler as a
generator, puts the bar before its other outputs, and binds the event with `ASKS`::

    bar = working.line(desk.jobs, "Video")

    def dropped(how: str, request: gr.Request, event: gr.EventData) -> Iterator[list[Any]]:
        def work(progress: Progress) -> list[Any]:  # in the thread; one value for each output but the bar
            film = uploaded_clip(event.place, desk.folder, desk.room(request))
            report = reports.video(desk.model(spec), film, progress=progress)
            return [films_html(report), desk.offers.link(request, report)]

        yield from desk.jobs.run(key(request, "Video"), work, outputs=2)

    drop.upload(dropped, [how], [bar, films, link], **working.ASKS)

`run` yields the bar while the work lasts, then the results, or one sentence where it failed. A `work` that
yields, in place of returning, has each of its results shown at once; `gr.skip()` leaves an output as it is. A
newer question under the same key ends the older one first: a tab's questions of one session never run at once,
so `work` may use what the desk keeps for the session. What opens a picture or a clip says so (`opens=True`), and a
question that comes meanwhile waits until it is open: it is about that picture. Leaving the page ends all of a
session's work.
"""

from __future__ import annotations

import html
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr  # handlers' annotations are read here: gr.Request

from relprop.errors import InputError, RelpropError
from relprop.reports.steps import Progress
from relprop.watch import Stopped, watched

__all__ = ["ASKS", "Jobs", "Work", "key", "line", "told"]

#: How an event that computes is bound: nothing covers what is shown, and a newer question needn't wait.
ASKS: dict[str, Any] = {
    "show_progress": "hidden", "trigger_mode": "multiple", "concurrency_limit": None, "api_visibility": "private",
}  # fmt: skip

#: What a tab computes: see `Jobs.run`.
Work = Callable[[Progress], Sequence[Any] | Iterator[Sequence[Any]]]

_AT_ONCE = 2  # computations; further ones wait
_LOOKS = 0.1  # seconds between looks at how far a computation is
_STARTING = "starting"


class _Job:
    """One computation.

    Attributes:
        opens: it opens what later questions are about; that is done with its first result.
        superseded: a newer question came.
        asked: that question is about what is opened here.
        results: what it has given so far.
        failed: the sentence that says why it gave no more; "" where it went well.
    """

    def __init__(self, before: _Job | None, opens: bool) -> None:
        self.before, self.opens = before, opens
        self.stopped = self.superseded = self.asked = False
        self.step = self.inner = self.failed = ""
        self.share: float | None = None
        self.results: list[Sequence[Any]] = []
        self.whole = False
        self.ended = threading.Event()

    def look(self) -> None:
        if self.stopped:
            raise Stopped

    def passing(self, what: str, done: int, total: int) -> None:
        """The engine's watch."""
        self.look()
        if total:
            self.inner, self.share = what, done / total

    def progress(self, done: float, total: int, what: str) -> None:
        """The progress of a report."""
        self.look()
        step = f"{what} ({min(int(done) + 1, total)} of {total})" if total > 1 else what
        if step != self.step:  # what the engine said was of the step before
            self.step, self.inner, self.share = step, "", None
        if total == 1 and done % 1:
            self.share = done % 1

    def stop(self) -> None:
        """End it, and what it waits for."""
        self.stopped = True
        if (before := self.before) is not None:
            before.stop()

    def supersede(self, newer: _Job) -> None:
        """End it in favour of a newer computation; what the newer one is about is opened first."""
        self.superseded = True
        self.asked = self.opens and not newer.opens
        if not self.asked or self.results:
            self.stopped = True
        if (before := self.before) is not None:
            before.supersede(newer)

    def bar(self) -> str:
        said = html.escape(": ".join(filter(None, [self.step, self.inner])) or _STARTING)
        value = "" if self.share is None else f' value="{self.share:.2f}"'
        return f'<label class="relprop-busy"><progress{value}></progress><span>{said} …</span></label>'

    def end(self) -> str:
        """What stands in the bar's place in the end."""
        if self.failed:
            return told(self.failed, wrong=True)
        return "" if self.whole else told("Stopped.")


class Jobs:
    """The computations of all sessions: at most one under a key, at most two that compute at once."""

    def __init__(self) -> None:
        self._room, self._lock = threading.Semaphore(_AT_ONCE), threading.Lock()
        self._jobs: dict[str, _Job] = {}
        self.ended = 0  # how many were ended before they were done

    def run(self, key: str, work: Work, outputs: int, *, opens: bool = False) -> Iterator[list[Any]]:
        """Do some work, after what still runs under this key has been ended, and say how far it is.

        Args:
            key: the session and the tab, see `key`.
            work: computes; is given what a report's `progress` takes, and gives the outputs behind the bar, or
                yields them several times.
            outputs: their number.
            opens: its first result says that a picture or a clip is open, which questions are about from then on.

        Yields:
            The bar and the outputs, where there is nothing new `gradio.skip()`.
        """
        with self._lock:
            job = _Job(self._jobs.get(key), opens)
            if job.before is not None:
                job.before.supersede(job)
            self._jobs[key] = job
        threading.Thread(target=self._do, args=(job, work), daemon=True, name="relprop work").start()
        nothing, shown, given = [gr.skip()] * outputs, "", 0
        try:
            while not job.ended.wait(_LOOKS):
                new = job.results[given : given + 1]
                bar = job.bar()
                if not job.stopped and (new or bar != shown):
                    yield [bar, *(new[0] if new else nothing)]
                    shown, given = bar, given + len(new)
        finally:  # the page was closed
            if not job.ended.is_set():
                job.stop()
        with self._lock:
            if self._jobs.get(key) is job:
                del self._jobs[key]
        if job.superseded:  # the line is the newer question's
            opened = job.results[given:1] if job.asked else []
            yield [gr.skip(), *(opened[0] if opened else nothing)]
            return
        for result in job.results[given:]:
            yield [gr.skip(), *result]
        yield [job.end(), *nothing]

    def _do(self, job: _Job, work: Work) -> None:
        try:
            if (before := job.before) is not None:
                before.ended.wait()
                job.before = None
                if before.asked and before.failed:
                    job.asked = True  # for those behind it, too, there is nothing to ask about
                    raise InputError(before.failed)
            while not self._room.acquire(timeout=_LOOKS):
                job.step = "waiting for other pages of this app"
                job.look()
            job.step = ""
            try:
                job.look()
                with watched(job.passing):
                    found = work(job.progress)
                    for result in found if isinstance(found, Iterator) else [found]:
                        job.results.append(result)
                        if job.asked:
                            raise Stopped
                    job.whole = True
            finally:
                self._room.release()
        except Stopped:
            self.ended += 1
        except RelpropError as error:
            job.failed = str(error)
        except BaseException as error:  # nobody above this thread would hear of it
            traceback.print_exc()
            job.failed = f"Something in the app went wrong: {type(error).__name__}: {error}. Ask again."
        finally:
            job.ended.set()

    def stop(self, prefix: str) -> None:
        """End what runs under the keys that begin so."""
        for key, job in list(self._jobs.items()):
            if key.startswith(prefix):
                job.stop()

    def leave(self, prefix: str, patience: float = 30.0) -> bool:
        """End what runs under the keys that begin so, and wait for it; whether all of it has ended."""
        self.stop(prefix)
        until = time.monotonic() + patience
        with self._lock:  # `run` takes away what has just ended
            jobs = [self._jobs.pop(key) for key in list(self._jobs) if key.startswith(prefix)]
        return all(job.ended.wait(max(0.0, until - time.monotonic())) for job in jobs)


def key(request: gr.Request, tab: str) -> str:
    """What a session's work in a tab is called."""
    return f"{request.session_hash} {tab}"


def line(jobs: Jobs, tab: str) -> gr.HTML:
    """Lay out the line that says how far a tab's work is, with Stop, and give its bar."""

    def stop(request: gr.Request) -> None:
        jobs.stop(key(request, tab))

    with gr.Row(elem_classes="relprop-work"):
        bar = gr.HTML("", elem_classes="relprop-bar")
        button = gr.Button("Stop", variant="stop", size="sm", scale=0, min_width=80)
    button.click(stop, None, None, **ASKS)
    return bar


def told(text: str, *, wrong: bool = False) -> str:
    """A sentence in the bar's place: why there is no result."""
    kind = 'class="relprop-warning" role="alert"' if wrong else 'class="relprop-told" role="status"'
    return f"<p {kind}>{html.escape(text)}</p>"
