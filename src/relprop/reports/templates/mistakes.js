"use strict";
(() => {
  const step = 100;
  const form = document.querySelector(".filters");
  const list = document.querySelector(".list");
  const items = [...list.querySelectorAll(".item")];
  const count = document.getElementById("count");
  const next = document.getElementById("next");
  const numbers = ["score", "truescore", "iou"];
  const fields = ["kind", "reason", "said", "true", "picture", "explained"];
  let shown = [];
  let room = step;
  let reverse = false;

  const value = (name) => {
    const field = form.elements[name];
    return field.type === "checkbox" ? (field.checked ? field.value : "") : field.value.trim();
  };

  const fits = (item, wanted) => fields.every((name) => {
    if (wanted[name] === "") return true;
    if (name === "picture") return item.dataset.picture.toLowerCase().includes(wanted.picture.toLowerCase());
    return item.dataset[name] === wanted[name];
  });

  const words = new Intl.Collator();
  const compare = (key) => (a, b) => {
    if (key === "explained") return (b.dataset.explained !== "") - (a.dataset.explained !== "") || b.dataset.score - a.dataset.score;
    const [x, y] = [a.dataset[key], b.dataset[key]];
    if (x === "" || y === "") return (x === "") - (y === "");
    return numbers.includes(key) ? y - x : words.compare(x, y);
  };

  const draw = () => {
    const part = shown.slice(0, room);
    part.forEach((item) => { item.hidden = false; });
    list.append(...part);
    next.hidden = shown.length <= room;
    next.textContent = "Show " + Math.min(step, shown.length - room) + " more";
    const some = shown.length > room ? ", the first " + room + " shown" : "";
    count.textContent = shown.length + " of " + items.length + " mistakes" + some;
  };

  const update = () => {
    const wanted = Object.fromEntries(fields.map((name) => [name, value(name)]));
    const key = value("sort");
    shown = items.filter((item) => fits(item, wanted)).sort(compare(key));
    if (reverse) shown.reverse();
    items.forEach((item) => { item.hidden = true; });
    room = step;
    draw();
    document.querySelectorAll("[data-set-kind]").forEach((button) => {
      const same = ["kind", "reason", "true", "said"].every((name) => (button.dataset["set" + name[0].toUpperCase() + name.slice(1)] || "") === wanted[name]);
      button.setAttribute("aria-pressed", String(same));
    });
    list.querySelectorAll("[data-sort]").forEach((button) => {
      if (button.dataset.sort === key) button.setAttribute("aria-sort", reverse ? "ascending" : "descending");
      else button.removeAttribute("aria-sort");
    });
    const kept = new URLSearchParams(Object.entries({ ...wanted, sort: key === "explained" ? "" : key }).filter(([, one]) => one !== ""));
    if (reverse) kept.set("reverse", "yes");
    const text = kept.toString();
    if (text !== location.hash.slice(1)) history.replaceState(null, "", text === "" ? "#" : "#" + text);
  };

  const choose = (button) => {
    const pressed = button.getAttribute("aria-pressed") === "true";
    for (const name of ["kind", "reason", "said", "true"]) {
      const wanted = button.dataset["set" + name[0].toUpperCase() + name.slice(1)];
      form.elements[name].value = pressed ? "" : wanted || "";
    }
    update();
    if (!pressed) form.scrollIntoView({ block: "start" });
  };

  const toggle = (item, opened) => {
    item.classList.toggle("opened", opened);
    item.querySelector(".open").setAttribute("aria-expanded", String(item.classList.contains("opened")));
  };

  const move = (by) => {
    const visible = shown.filter((item) => !item.hidden);
    const here = visible.findIndex((item) => item.contains(document.activeElement));
    const there = visible[here < 0 ? (by > 0 ? 0 : visible.length - 1) : Math.min(Math.max(here + by, 0), visible.length - 1)];
    if (!there) return;
    const button = there.querySelector(".open");
    button.focus({ focusVisible: true });
    there.scrollIntoView({ block: "nearest" });
  };

  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => { reverse = false; setTimeout(update); });
  next.addEventListener("click", () => { room += step; draw(); });
  document.addEventListener("click", (event) => {
    const set = event.target.closest("[data-set-kind]");
    if (set) return choose(set);
    const sort = event.target.closest("[data-sort]");
    if (sort) {
      reverse = form.elements.sort.value === sort.dataset.sort && !reverse;
      form.elements.sort.value = sort.dataset.sort;
      return update();
    }
    const row = event.target.closest(".row");
    if (row && !row.closest(".head") && String(getSelection()) === "") toggle(row.closest(".item"));
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, select");
    if (event.key === "Escape") {
      if (typing) return event.target.blur();
      return items.forEach((item) => toggle(item, false));
    }
    if (typing) return;
    if (event.key === "/") { event.preventDefault(); return form.elements.picture.focus(); }
    const by = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    const inList = list.contains(document.activeElement);
    if (by && (inList || event.key.length === 1)) { event.preventDefault(); move(by); }
  });

  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of [...fields, "sort"]) {
    const field = form.elements[name];
    if (!given.has(name)) continue;
    if (field.type === "checkbox") field.checked = true;
    else field.value = given.get(name);
  }
  reverse = given.has("reverse");
  const wish = given.get("open");
  update();
  if (wish) shown.slice(0, Number(wish) || 1).forEach((item) => toggle(item, true));
})();
