"""The script of `relprop.viz.player`, alone."""

from __future__ import annotations

__all__ = ["PLAYER_SCRIPT"]

#: Makes every player of a page work; it may run any number of times.
PLAYER_SCRIPT = """
(() => {
  const start = (figure) => {
    const find = (what) => figure.querySelector(what), each = (what) => [...figure.querySelectorAll(what)];
    const bar = find("input[type=range]"), speed = find("select"), said = find("output");
    const toggle = find("[data-do=play]"), mark = find("[data-mark]"), bars = find("[data-bars]");
    const count = Number(bar.max) + 1, rows = each("svg[data-sums]");
    const films = each("[data-film]").map((film) => [film.querySelector("img"), film.querySelector("canvas")]);
    let frame = -1, playing = false, last = 0;

    const draw = ([sheet, canvas]) => {
      if (!sheet.complete || !sheet.naturalWidth) return;
      const columns = Number(sheet.dataset.columns), wide = canvas.width, tall = canvas.height;
      const left = (frame % columns) * wide, top = Math.floor(frame / columns) * tall;
      canvas.getContext("2d").drawImage(sheet, left, top, wide, tall, 0, 0, wide, tall);
    };
    const show = (next) => {
      frame = Math.min(Math.max(next, 0), count - 1);
      films.forEach(draw);
      bar.value = frame;
      figure.dataset.frame = frame;
      if (mark) mark.style.left = `${(100 * frame) / count}%`;
      said.textContent = `frame ${frame + 1} of ${count}`;
      const held = rows.map((row) => `${row.dataset.name} ${row.dataset.sums.split(" ")[frame]}`).join(", ");
      bar.setAttribute("aria-valuetext", said.textContent + (held ? `: ${held}` : ""));
    };
    const tick = (now) => {
      if (!playing || !figure.isConnected) return;
      const pause = 1000 / Number(speed.value);
      if (now - last >= pause) {
        last = now - last < 2 * pause ? last + pause : now;
        show((frame + 1) % count);
      }
      requestAnimationFrame(tick);
    };
    const play = (wanted) => {
      if (wanted === playing) return;
      playing = wanted;
      toggle.textContent = playing ? "\\u275a\\u275a" : "\\u25b6";
      toggle.setAttribute("aria-label", playing ? "pause" : "play");
      toggle.title = playing ? "pause" : "play";
      if (playing) requestAnimationFrame((now) => { last = now; tick(now); });
    };
    const go = (next) => { play(false); show(next); };
    const sheets = (whole) => films.forEach(([sheet, canvas]) => {
      sheet.style.display = whole ? "block" : "none";
      canvas.style.display = whole ? "none" : "block";
    });
    const ends = { Home: () => 0, End: () => count - 1 };
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };

    for (const [sheet, canvas] of films) sheet.addEventListener("load", () => draw([sheet, canvas]));
    bar.addEventListener("input", () => go(Number(bar.value)));
    figure.addEventListener("click", (event) => {
      const button = event.target.closest("[data-do]");
      if (!button) return;
      if (button === toggle) play(!playing);
      else go(frame + (button.dataset.do === "on" ? 1 : -1));
    });
    figure.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("select")) return;
      if (event.key in steps) go(frame + steps[event.key]);
      else if (event.key in ends) go(ends[event.key]());
      else if (event.key === " " && !event.target.closest("button")) play(!playing);
      else return;
      event.preventDefault();
    });
    if (bars) {
      const at = (event) => {
        const box = bars.getBoundingClientRect();
        go(Math.floor((count * (event.clientX - box.left)) / box.width));
      };
      bars.addEventListener("pointerdown", at);
      bars.addEventListener("pointermove", (event) => { if (event.buttons & 1) at(event); });
      mark.style.display = "block";
    }
    addEventListener("beforeprint", () => sheets(true));
    addEventListener("afterprint", () => sheets(false));
    find("[data-controls]").style.display = "block";
    figure.setAttribute("data-ready", "");
    sheets(false);
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const moves = "autoplay" in figure.dataset && !calm;
    show(moves ? 0 : Number(figure.dataset.start));
    play(moves);
  };
  document.querySelectorAll("figure[data-relprop-player]:not([data-ready])").forEach(start);
})();
"""
