"""Places: a click on a map, or a key, asks which classes that place speaks for; and how the answer looks."""

from __future__ import annotations

import html

from relprop.reports.place import PlaceAnswer
from relprop.reports.text import signed

__all__ = ["PLACING", "place_html"]

#: Makes the maps of an element ask about places; `mark` is called when its HTML is new.
PLACING = """
const ask = box => {
  const x = Number(box.dataset.x), y = Number(box.dataset.y);
  let sign = box.querySelector('.relprop-mark');
  if (!sign) {
    sign = document.createElement('i');
    sign.className = 'relprop-mark';
    box.append(sign);
  }
  const side = Math.min(box.clientWidth, box.clientHeight) / 8;
  const at = (v, n) => Math.min(Math.max(v * n - side / 2, 0), n - side) + 'px';
  Object.assign(sign.style, {width: side + 'px', height: side + 'px',
    left: at(x, box.clientWidth), top: at(y, box.clientHeight)});
};
const send = box => { ask(box); trigger('input', {x: Number(box.dataset.x), y: Number(box.dataset.y)}); };
const put = (box, x, y) => {
  box.dataset.x = Math.min(Math.max(x, 0), 1);
  box.dataset.y = Math.min(Math.max(y, 0), 1);
};
const mark = () => element.querySelectorAll('figure img[data-map]').forEach(map => {
  const box = map.parentElement;
  box.dataset.places = '';
  box.tabIndex = 0;
  box.setAttribute('role', 'application');
  box.setAttribute('aria-label',
    'The picture. Arrow keys choose a place, Enter asks which classes it speaks for.');
});
element.addEventListener('click', e => {
  const box = e.target.closest('[data-places]');
  if (!box) return;
  const frame = box.getBoundingClientRect();
  put(box, (e.clientX - frame.left) / frame.width, (e.clientY - frame.top) / frame.height);
  send(box);
});
element.addEventListener('keydown', e => {
  const box = e.target.closest('[data-places]');
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[e.key];
  if (!box || (!step && e.key !== 'Enter')) return;
  e.preventDefault();
  const x = Number(box.dataset.x ?? 0.5), y = Number(box.dataset.y ?? 0.5);
  if (step) { put(box, x + step[0] / 16, y + step[1] / 16); ask(box); }
  else { put(box, x, y); send(box); }
});
mark(); watch('value', mark);
"""


def place_html(place: PlaceAnswer) -> str:
    """What a place speaks for and against, the strongest first, as bars from a middle line."""
    largest = max(abs(row.amount) for row in place.amounts) or 1.0
    rows = []
    for row in place.amounts:
        share = 50 * abs(row.amount) / largest
        left, kind = (50.0, "for") if row.amount >= 0 else (50 - share, "against")
        rows.append(
            f'<tr><td>{html.escape(row.name)}</td><td><span class="relprop-amount">'
            f'<i class="{kind}" style="left:{left:.1f}%;width:{share:.1f}%"></i></span></td>'
            f"<td>{signed(row.amount)}</td></tr>"
        )
    return (
        '<h3>What this place speaks for (red) and against (blue)</h3><table class="relprop-place">'
        f"{''.join(rows)}</table><p>{html.escape(place.words)}</p>"
    )
