"""Still: a drawn figure as a piece of HTML, made small enough to be sent."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from relprop.errors import InputError
from relprop.files import open_picture, shown_path

__all__ = ["folded_html", "row_html", "still_file", "still_html"]

_WIDE = 1200  # pixels of what is embedded at most: words of a figure stay readable
_QUALITIES = (82, 70, 55)
_MOST = 150_000  # bytes of one figure


def still_html(
    picture: Image.Image, *, alt: str, caption: str = "", width: int = _WIDE, most: int = _MOST
) -> str:
    """A picture as an HTML fragment that needs nothing from elsewhere.

    It is embedded as a WebP of at most 1,200 pixels across.

    Args:
        picture: what to show.
        alt: what it shows, for those who can't see it.
        caption: words below, "" for none. All words are escaped.
        width: in CSS pixels at most; narrower where there is less room.
        most: bytes from which on it is packed with more loss; a figure full of colours may take more.

    >>> page = still_html(Image.new("RGB", (40, 20), "white"), alt="a <figure>")
    >>> 'alt="a &lt;figure&gt;"' in page, 'width="40" height="20"' in page
    (True, True)
    """
    wide, tall = picture.size
    small = picture.convert("RGB")
    if wide > _WIDE:
        small = small.resize((_WIDE, max(1, round(tall * _WIDE / wide))), Image.Resampling.LANCZOS)
    data = _packed(small, most)
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure class="still"><img src="data:image/webp;base64,{base64.b64encode(data).decode()}" '
        f'width="{small.width}" height="{small.height}" alt="{html.escape(alt)}" '
        f'style="max-width:min(100%,{width}px);height:auto">{below}</figure>'
    )


def still_file(path: Path, *, alt: str, caption: str = "", width: int = _WIDE, most: int = _MOST) -> str:
    """A picture file of a result, as `still_html`.

    Raises:
        InputError: no picture, or one that can't be decoded.
    """
    try:
        with open_picture(path, "a drawn figure") as picture:
            return still_html(picture, alt=alt, caption=caption, width=width, most=most)
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"Expected a drawn figure but '{shown_path(path)}' can't be decoded: {reason}. Make the results anew."
        ) from None


def row_html(figures: Sequence[str], title: str) -> str:
    """Figures side by side under a title, which is escaped.

    Args:
        figures: HTML fragments.
        title: above them.
    """
    return f'<div class="row"><h4>{html.escape(title)}</h4><div>{"".join(figures)}</div></div>'


def folded_html(figure: str, title: str) -> str:
    """A figure that is shown once its title, which is escaped, is clicked."""
    return f"<details><summary>{html.escape(title)}</summary>{figure}</details>"


def _packed(picture: Image.Image, most: int) -> bytes:
    """Without loss where that is small, else as good as there is room for."""
    data = _webp(picture, lossless=True)
    for quality in _QUALITIES:
        if len(data) <= most:
            break
        data = _webp(picture, quality=quality)
    return data


def _webp(picture: Image.Image, **how: int | bool) -> bytes:
    held = io.BytesIO()
    picture.save(held, "WEBP", method=4, **how)
    return held.getvalue()
