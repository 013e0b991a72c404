(() => {
  const form = document.getElementById("controls"), main = document.getElementById("results");
  const cards = [...main.querySelectorAll("article.card")];
  const homes = cards.map(card => card.parentElement);
  const sections = [...main.querySelectorAll("section.subject:not(#sorted)")];
  const sorted = document.getElementById("sorted"), grid = sorted.querySelector(".cards");
  const count = document.getElementById("count"), none = document.getElementById("none");
  const words = cards.map(card => {
    const said = card.querySelectorAll("header, .warning, .sentence");
    return [card.dataset.subject, ...[...said].map(part => part.textContent)].join(" ").toLowerCase();
  });
  const value = (name) => form.elements[name] ? form.elements[name].value : "";

  const wanted = (card, n) => {
    const text = value("text").trim().toLowerCase();
    if (text && !text.split(/\s+/).every(part => words[n].includes(part))) return false;
    if (form.elements.warned && form.elements.warned.checked && !("warned" in card.dataset)) return false;
    return ["kind", "method", "class"].every(key => !value(key) || card.dataset[key] === value(key));
  };
  const compare = (key) => {
    const down = key.startsWith("-"), name = key.replace("-", "");
    const numbers = name === "score" || name === "share";
    return (a, b) => {
      const x = a.dataset[name], y = b.dataset[name];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = numbers ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true });
      return down ? -order : order;
    };
  };
  const show = () => {
    const key = value("sort");
    let seen = 0;
    cards.forEach((card, n) => {
      card.hidden = !wanted(card, n);
      seen += !card.hidden;
    });
    if (key) grid.append(...[...cards].sort(compare(key)));
    else cards.forEach((card, n) => homes[n].append(card));
    sorted.hidden = !key || !seen;
    const filtered = ["text", "kind", "method", "class"].some(key => value(key)) || seen < cards.length;
    for (const section of sections) {
      const own = [...section.querySelectorAll("article.card")];
      section.hidden = Boolean(key) || ((own.length > 0 || filtered) && own.every(card => card.hidden));
    }
    none.hidden = seen > 0 || cards.length === 0;
    count.textContent = seen === cards.length ? `${seen} shown` : `${seen} of ${cards.length} shown`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show));
  document.getElementById("again").addEventListener("click", () => {
    form.reset();
    form.elements.text.focus();
  });

  const fold = document.getElementById("fold");
  const tables = [...main.querySelectorAll("details.table")];
  fold.hidden = tables.length === 0;
  fold.addEventListener("click", () => {
    const open = fold.getAttribute("aria-pressed") !== "true";
    tables.forEach(one => { one.open = open; });
    fold.setAttribute("aria-pressed", String(open));
    fold.textContent = open ? "Fold all tables" : "Open all tables";
  });

  const cell = (row, column) => {
    const found = row.children[column];
    return "value" in found.dataset ? Number(found.dataset.value) : found.textContent.trim();
  };
  main.addEventListener("click", event => {
    const button = event.target.closest("th button[data-column]");
    if (!button) return;
    const head = button.parentElement, column = Number(button.dataset.column), table = head.closest("table");
    const number = [...table.tBodies].some(body => body.querySelector(`tr:not(.group) > :nth-child(${column + 1})[data-value]`));
    const before = head.getAttribute("aria-sort");
    const down = before ? before === "ascending" : number;
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter(row => !row.classList.contains("group"));
      rows.sort((a, b) => {
        const x = cell(a, column), y = cell(b, column);
        if (typeof x !== typeof y) return typeof x === "string" ? 1 : -1;  // what has no number stands last
        const order = typeof x === "number" ? x - y : x.localeCompare(y, undefined, { numeric: true });
        return down ? -order : order;
      });
      body.append(...rows);
    }
  });

  form.hidden = false;
  show();
})();
