// Elements of the page. Texts of the report go in as text alone, never as markup.

/// element("td", {class: "name", onclick: f}, child, "text", ...)
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [property, setting] of Object.entries(value)) made.style.setProperty(property, setting);
    else if (key.startsWith("aria-") && value != null) made.setAttribute(key, String(value));
    else if (value !== false && value != null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter(child => child != null));
  return made;
}

function tableOf(heads, rows) {
  return element("table", {},
    element("thead", {}, element("tr", {}, ...heads.map(([title, kind]) => element("th", {class: kind, scope: "col"}, title)))),
    element("tbody", {}, ...rows.map(cells => element("tr", {},
      ...cells.map((cell, i) => element("td", {class: heads[i][1]}, cell))))));
}

function selectOf(label, options, changed) {
  const select = element("select", {onchange: () => changed(Number(select.value))},
    ...options.map((option, i) => element("option", {value: i}, option)));
  return {select, field: element("label", {}, label, select)};
}

/// How a key moves in a list of `count` rows of which `page` are in sight; null: another key.
function movedBy(key, active, count, page) {
  switch (key) {
  case "ArrowDown": return Math.min(active + 1, count - 1);
  case "ArrowUp": return Math.max(active - 1, 0);
  case "PageDown": return Math.min(active + page, count - 1);
  case "PageUp": return Math.max(active - page, 0);
  case "Home": return 0;
  case "End": return count - 1;
  default: return null;
  }
}

/// A list with a sortable head, which draws the rows in sight. Columns: {title, narrow (width where there is little room; null:
/// not shown), width, number, value (what is sorted by), cell (what is shown; the value)}.
function listOf(label, columns, rows, options = {}) {
  const height = 28;
  let sorted = rows.slice(), by = -1, falling = true, active = options.select ? 0 : -1;
  const id = `list-${++listOf.count}`;
  const space = element("div", {class: "list-space", role: "presentation"});
  const body = element("div", {class: "list-body", tabindex: 0, role: "grid", "aria-label": label, "aria-rowcount": rows.length}, space);
  const heads = columns.map((column, i) => element("span", {class: classOf(column), role: "columnheader"},
    element("button", {type: "button", onclick: () => sortBy(i)}, column.title)));
  const list = element("div", {class: "list"}, element("div", {class: "list-head"}, ...heads), body);
  list.style.setProperty("--columns", columns.map(column => column.width).join(" "));
  list.style.setProperty("--narrow", columns.filter(column => column.narrow).map(column => column.narrow).join(" "));

  function classOf(column) {
    return [column.number ? "number" : "", column.narrow ? "" : "minor", column.style || ""].join(" ").trim();
  }
  function sortBy(column, keep) {
    if (!keep) falling = by === column ? !falling : Boolean(columns[column].number);
    by = column;
    const value = columns[column].value;
    sorted = rows.slice().sort((a, b) => {
      const x = value(a), y = value(b);
      const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y));
      return falling ? -order : order;
    });
    heads.forEach((head, i) => head.setAttribute("aria-sort", i !== by ? "none" : falling ? "descending" : "ascending"));
    draw();
  }
  function draw() {
    space.style.height = `${sorted.length * height}px`;
    const first = Math.max(0, Math.floor(body.scrollTop / height) - 5);
    const last = Math.min(sorted.length, Math.ceil((body.scrollTop + (body.clientHeight || 420)) / height) + 5);
    const drawn = [];
    for (let i = first; i < last; ++i)
      drawn.push(element("div", {class: i === active ? "list-row active" : "list-row", role: "row", id: `${id}-${i}`, "aria-rowindex": i + 1,
                                 "aria-selected": i === active, style: {top: `${i * height}px`}, onclick: () => move(i)},
        ...columns.map(column => element("span", {class: classOf(column), role: "gridcell"}, (column.cell || column.value)(sorted[i])))));
    space.replaceChildren(...drawn);
    if (active >= 0) body.setAttribute("aria-activedescendant", `${id}-${active}`);
  }
  function move(to) {
    active = to;
    const top = active * height;
    if (top < body.scrollTop) body.scrollTop = top;
    if (top + height > body.scrollTop + body.clientHeight) body.scrollTop = top + height - body.clientHeight;
    draw();
    if (options.select && sorted.length) options.select(sorted[active]);
  }
  body.addEventListener("scroll", () => requestAnimationFrame(draw));
  body.addEventListener("keydown", event => {
    const to = movedBy(event.key, active, sorted.length, Math.floor(body.clientHeight / height));
    if (to === null || !sorted.length) return;
    event.preventDefault();
    move(to);
  });
  body.style.height = rows.length < 14 ? `${Math.max(1, rows.length) * height + 2}px` : "";
  list.replaceRows = replacement => {
    rows = replacement;
    active = options.select ? 0 : -1;
    body.scrollTop = 0;
    body.setAttribute("aria-rowcount", rows.length);
    body.style.height = rows.length < 14 ? `${Math.max(1, rows.length) * height + 2}px` : "";
    if (by < 0) { sorted = rows.slice(); draw(); } else { sortBy(by, true); }
  };
  list.draw = draw;
  if (options.sorted != null) sortBy(options.sorted); else draw();
  return list;
}
listOf.count = 0;
