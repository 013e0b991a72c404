"""Uploads: files that came through the page, read by the guarded readers and removed at once.

A tab lays out a `drop_zone`, whose handler reads what came::

    drop = drop_zone("Drop a clip here, or choose one", CLIP_TYPES)

    def dropped(request: gr.Request, event: gr.EventData) -> ...:
        film = uploaded_clip(event.place, desk.folder, desk.room(request))  # event.name: as the user calls it

    drop.upload(dropped, ...)
"""

from __future__ import annotations

import html
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import gradio as gr
from PIL import Image

from relprop.errors import InputError
from relprop.models.pictures import read_picture
from relprop.video.clip import film_length

__all__ = [
    "CLIP_TYPES", "MOST_BYTES", "MOST_CLIP_BYTES", "MOST_FRAMES", "MOST_PIXELS", "MOST_SECONDS", "PICTURE_TYPES",
    "drop_zone", "received", "uploaded_clip", "uploaded_picture",
]  # fmt: skip

#: What a picture may have at most: bytes of the file, and pixels.
MOST_BYTES, MOST_PIXELS = 32 * 2**20, 40_000_000
#: What a clip may have at most: bytes of the file, frames, seconds.
MOST_CLIP_BYTES, MOST_FRAMES, MOST_SECONDS = 128 * 2**20, 3000, 120

#: What a file chooser offers.
PICTURE_TYPES, CLIP_TYPES = "image/*", "video/*,image/gif"

_FOLDER, _PENDING = "uploads", 64
_FORGOTTEN = 1800.0  # seconds; what a page sent and never asked about is removed then
_SENDING = """
const said = () => element.querySelector('[data-said]');
const tell = (text, wrong) => { said().textContent = text; said().classList.toggle('relprop-wrong', wrong); };
let sending = new AbortController();  // of several files in a row the last one is meant
const send = async file => {
  sending.abort();
  const {signal} = sending = new AbortController();
  const most = Number(element.querySelector('label').dataset.most);
  if (file.size > most) return tell(`${file.name} is too large: at most ${most / 2**20} MB.`, true);
  tell(`Sending ${file.name} …`, false);
  try {
    const answer = await fetch('upload', {
      method: 'POST', headers: {'X-Name': encodeURIComponent(file.name)}, body: file, signal});
    const text = await answer.text();
    if (signal.aborted) return;
    if (!answer.ok) throw new Error(text);
    tell(file.name, false);
    trigger('upload', {place: text, name: file.name});
  } catch (error) { if (!signal.aborted) tell(`${file.name} didn't arrive: ${error.message}`, true); }
};
const over = on => element.querySelector('label').classList.toggle('relprop-over', on);
element.addEventListener('change', e => {
  if (e.target.files.length) send(e.target.files[0]);
  e.target.value = '';
});
element.addEventListener('dragover', e => { e.preventDefault(); over(true); });
element.addEventListener('dragleave', () => over(false));
element.addEventListener('drop', e => {
  e.preventDefault(); over(false);
  if (e.dataTransfer.files.length) send(e.dataTransfer.files[0]);
});
"""


def drop_zone(label: str, types: str = PICTURE_TYPES) -> gr.HTML:
    """Lay out a place to drop a file or to choose one; its `upload` event has `place` and `name`."""
    most = MOST_BYTES if types == PICTURE_TYPES else MOST_CLIP_BYTES
    return gr.HTML(
        f'<label class="relprop-drop" data-most="{most}"><input type="file" accept="{types}">'
        f'<span>{html.escape(label)}</span><small data-said role="status"></small></label>',
        js_on_load=_SENDING,
    )


async def received(request: Any, folder: Path) -> tuple[int, str]:
    """Put what the page sends into a place of its own, whose name nobody can guess.

    Args:
        request: of Starlette; the body is the file, the header X-Name its name.
        folder: the desk's.

    Returns:
        A status, and the place in the folder or what was wrong.
    """
    uploads = folder / _FOLDER
    _forget(uploads)
    if uploads.is_dir() and len(list(uploads.iterdir())) >= _PENDING:
        return 503, "too many files are waiting to be read. Try again."
    name = re.sub(r"[^\w. -]", "_", Path(unquote(request.headers.get("x-name", ""))).name)[-80:].strip(". ")
    place = uploads / secrets.token_urlsafe(24)
    place.mkdir(parents=True)
    size = 0
    try:
        with (place / (name or "upload")).open("wb") as file:
            async for part in request.stream():
                size += len(part)
                if size > MOST_CLIP_BYTES:
                    shutil.rmtree(place)
                    return 413, f"it is larger than {MOST_CLIP_BYTES // 2**20} MB."
                file.write(part)
    except BaseException:  # also where the page went away
        shutil.rmtree(place, ignore_errors=True)
        raise
    return 200, str(Path(file.name).relative_to(folder))


def _forget(uploads: Path) -> None:
    """Remove what nobody came for: a question that was stopped, or followed by another, never reads its file."""
    for place in uploads.glob("*"):
        with suppress(FileNotFoundError):  # it was read meanwhile
            if place.stat().st_mtime < time.time() - _FORGOTTEN:
                shutil.rmtree(place, ignore_errors=True)


def uploaded_picture(path: str, folder: Path) -> Image.Image:
    """The picture of an uploaded file, which is removed; it keeps the file's name, for the names of results.

    Args:
        path: as the page gives it. It may send anything: only what `received` put into `folder` is read.
        folder: the desk's.

    Raises:
        InputError: another place, no picture, a damaged one, or one that is too large.
    """
    with _taken(path, folder, MOST_BYTES, "picture") as file:
        try:
            with Image.open(file) as opened:
                width, height = opened.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            width = height = 0  # the reader below says what is wrong
        if width * height > MOST_PIXELS:
            raise InputError(
                f"Expected a picture of at most {MOST_PIXELS:,} pixels but it has {width} x {height}. Make it "
                "smaller first."
            )
        found = read_picture(file)
        found.filename = file.name  # type: ignore[attr-defined]
        return found


def uploaded_clip(path: str, folder: Path, room: Path) -> Path:
    """The file of an uploaded film that may be read again and again, until the page is left.

    Args:
        path, folder: as for `uploaded_picture`.
        room: the session's own (`Desk.room`); the film takes the place of an earlier one there.

    Raises:
        InputError: another place, no film, one that is too large or too long, or PyAV is not installed.
    """
    with _taken(path, folder, MOST_CLIP_BYTES, "clip") as file:
        frames, seconds = film_length(file)
        if not frames or frames > MOST_FRAMES or seconds > MOST_SECONDS:
            raise InputError(
                f"Expected a clip of 1 to {MOST_FRAMES:,} frames and at most {MOST_SECONDS} seconds but it has "
                f"{frames:,} frames and {seconds:.0f} seconds. Cut it first."
            )
        place = room / "clip"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return file.rename(place / file.name)


@contextmanager
def _taken(path: str, folder: Path, most: int, what: str) -> Iterator[Path]:
    """An uploaded file; it is removed, and errors don't say where it lay: that is nobody's business."""
    inside = folder.resolve()
    file = (inside / str(path)).resolve()
    if file.parent.parent != inside / _FOLDER:  # not the examples of all pages, nor another page's film
        raise InputError("Expected a file that was uploaded on this page.")
    try:
        if not file.is_file():
            raise InputError(
                "Expected an upload but it is gone: it was read before, or waited too long. Drop it again."
            )
        if file.stat().st_size > most:
            raise InputError(f"Expected a {what} of at most {most // 2**20} MB. Make it smaller first.")
        yield file
    except InputError as error:
        raise InputError(str(error).replace(str(file), "the upload")) from None
    finally:
        shutil.rmtree(file.parent, ignore_errors=True)
