// The program of a function as a graph: rows that fold by module, lines from each result to its uses, a search, and what is known of
// the chosen operation.

function graph(panel) {
  const HEIGHT = 26;
  let f = report.functions[0], root, shown, lines, active = 0, found = [], place = -1;
  const space = element("div", {class: "list-space", role: "presentation"});
  const canvas = element("canvas", {class: "graph-lines", "aria-hidden": true});
  const body = element("div", {class: "graph-body", tabindex: 0, role: "tree", "aria-label": "Program"}, canvas, space);
  const details = element("div", {class: "details", "aria-live": "polite"});
  const search = element("input", {type: "search", placeholder: "Kind, name or module (/)", "aria-label": "Search operations"});
  const said = element("span", {class: "dim", "aria-live": "polite"});

  const rowsShown = () => Math.max(1, Math.floor((body.clientHeight || 500) / HEIGHT));
  const nameOf = node => node.children ? node.label : node.operation != null ? `%${node.label}` : node.label;

  function load(index) {
    f = report.functions[index];
    root = treeOf(f);
    // A single module around all is opened at once.
    for (let node = root; node && node.children && node.children.filter(child => child.children).length === 1 && node.children.length < 60;) {
      node = node.children.find(child => child.children);
      node.open = true;
    }
    active = 0;
    body.scrollTop = 0;
    search.value = "";
    said.textContent = "";
    found = [];
    update();
  }
  function update() {
    shown = rowsOf(root, f);
    lines = linesOf(shown, f);
    active = Math.max(0, Math.min(active, shown.rows.length - 1));
    draw();
    describe();
  }
  function gutter() {
    const lanes = lines.reduce((most, line) => Math.max(most, line.lane + 1), 1);
    return 10 + lanes * (body.clientWidth < 500 ? 5 : 9);
  }
  function draw() {
    space.style.height = `${shown.rows.length * HEIGHT}px`;
    const first = Math.max(0, Math.floor(body.scrollTop / HEIGHT) - 4);
    const last = Math.min(shown.rows.length, first + rowsShown() + 9);
    const isFound = new Set(found), left = gutter(), drawn = [];
    for (let i = first; i < last; ++i) {
      const node = shown.rows[i];
      const kind = node.children ? (node.isRun ? "operations" : "") : node.operation != null ? text(f.operations[node.operation][KIND])
        : node.output != null ? "output" : node.input >= f.inputs.length ? "state" : "input";
      const type = node.operation != null ? text(f.operations[node.operation][TYPE]) : node.type;
      drawn.push(element("div", {
        class: `graph-row${i === active ? " active" : ""}${isFound.has(node.operation) ? " found" : ""}`, role: "treeitem", id: `row-${i}`,
        "aria-level": node.depth + 1, "aria-expanded": node.children ? node.open : null, "aria-selected": i === active,
        style: {top: `${i * HEIGHT}px`, "padding-left": `${left + Math.min(node.depth, 12) * 14}px`},
        onclick: () => { move(i); if (node.children) toggle(node); }},
        element("span", {class: "fold"}, node.children ? (node.open ? "▾" : "▸") : ""),
        kind ? element("span", {class: "kind"}, kind) : null,
        element("span", {class: "name"}, nameOf(node)),
        element("span", {class: "dim"}, node.children ? `${plural(node.count, "operation")}, ${countText(node.arithmetic)}` : ""),
        type ? element("span", {class: "dim type minor"}, type) : null));
    }
    space.replaceChildren(...drawn);
    body.setAttribute("aria-activedescendant", `row-${active}`);
    drawLines(left);
  }
  function drawLines(left) {
    const ratio = window.devicePixelRatio || 1, height = body.clientHeight || 500, step = body.clientWidth < 500 ? 5 : 9;
    canvas.width = left * ratio;
    canvas.height = height * ratio;
    canvas.style.width = `${left}px`;
    canvas.style.height = `${height}px`;
    canvas.style.marginBottom = `${-height}px`;
    const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    context.scale(ratio, ratio);
    const top = body.scrollTop, y = row => row * HEIGHT + HEIGHT / 2 - top;
    const from = Math.floor(top / HEIGHT) - 1, to = from + rowsShown() + 3;
    const paint = line => {
      const x = left - 8 - line.lane * step;
      context.beginPath();
      context.moveTo(x, Math.max(-4, y(line.first)));
      context.lineTo(x, Math.min(height + 4, y(line.last)));
      for (const row of [line.from, ...line.to])
        if (row >= from && row <= to) {
          context.moveTo(x, y(row));
          context.lineTo(left - 2, y(row));
        }
      context.stroke();
      context.beginPath();
      for (const row of line.to)
        if (row >= from && row <= to) {
          context.moveTo(left, y(row));
          context.lineTo(left - 5, y(row) - 3);
          context.lineTo(left - 5, y(row) + 3);
        }
      context.fill();
    };
    const touching = [];
    context.lineWidth = 1;
    context.strokeStyle = context.fillStyle = style.getPropertyValue("--dim");
    context.globalAlpha = 0.55;
    for (const line of lines) {
      if (line.last < from || line.first > to) continue;
      if (line.from === active || line.to.has(active)) touching.push(line);
      else paint(line);
    }
    context.globalAlpha = 1;
    context.lineWidth = 2;
    context.strokeStyle = context.fillStyle = style.getPropertyValue("--accent");
    touching.forEach(paint);
  }
  function move(to) {
    active = to;
    const top = active * HEIGHT;
    if (top < body.scrollTop) body.scrollTop = top;
    if (top + HEIGHT > body.scrollTop + body.clientHeight) body.scrollTop = top + HEIGHT - body.clientHeight;
    draw();
    describe();
  }
  function toggle(node) {
    node.open = !node.open;
    update();
  }
  function goTo(operation) {
    const open = node => {
      for (const child of node.children || []) {
        if (child.operation === operation) return true;
        if (child.children && open(child)) return child.open = true;
      }
      return false;
    };
    open(root);
    shown = rowsOf(root, f);
    lines = linesOf(shown, f);
    move(shown.ofOperation[operation]);
  }
  function describe() {
    const node = shown.rows[active];
    details.replaceChildren();
    if (!node) return;
    const list = element("dl");
    const add = (title, ...values) => { if (values.some(value => value !== "" && value != null)) list.append(element("dt", {}, title), element("dd", {}, ...values)); };
    const link = reference => reference < 0
      ? element("span", {}, reference >= -f.inputs.length ? f.inputs[-1 - reference][0] : f.states[-1 - reference - f.inputs.length][0], " ")
      : element("button", {class: "link", type: "button", onclick: () => goTo(reference)}, `%${text(f.operations[reference][NAME])} (${text(f.operations[reference][KIND])}) `);
    details.append(element("h3", {}, nameOf(node)));
    if (node.operation != null) {
      const operation = f.operations[node.operation];
      add("Kind", text(operation[KIND]));
      add("Type", element("span", {class: "type"}, text(operation[TYPE])));
      const operands = operation[OPERANDS], weights = operation[WEIGHTS];
      for (let k = 0; k + 1 < operands.length; k += 2) add(text(operands[k]), link(operands[k + 1]));
      for (let k = 0; k + 1 < weights.length; k += 2) {
        const weight = report.weights[weights[k + 1]];
        add(text(weights[k]), `${weight[0]}, ${weight[1]}, ${bytesText(weight[2])}`, weight[3].length > 1 ? `, in ${plural(weight[3].length, "function")}` : "");
      }
      for (const line of text(operation[PARAMETERS]).split("\n")) {
        const cut = line.indexOf("=");
        if (cut > 0) add(line.slice(0, cut), line.slice(cut + 1));
      }
      const users = usersOf(node.operation);
      add("Used by", ...users.slice(0, 20).map(link), users.length > 20 ? `and ${users.length - 20} more` : null);
      add("Arithmetic", countText(operation[ARITHMETIC]));
      add("Bytes", bytesText(operation[MOVED]));
      add("Not on the Neural Engine", text(operation[OFF_ENGINE]));
      add("Not on the GPU", text(operation[OFF_GPU]));
      add("Module", text(operation[MODULE]));
      add("Source", text(operation[SOURCE]));
    } else if (node.children) {
      add("Operations", grouped(node.count));
      add("Arithmetic", countText(node.arithmetic));
      add("Module", node.path);
    } else {
      add("Type", element("span", {class: "type"}, node.type));
      if (node.output != null && f.outputs[node.output][3] != null) add("From", link(f.outputs[node.output][3]));
    }
    details.append(list);
  }
  function usersOf(wanted) {
    const users = [];
    f.operations.forEach((operation, i) => {
      for (let k = 1; k < operation[OPERANDS].length; k += 2)
        if (operation[OPERANDS][k] === wanted) { users.push(i); break; }
    });
    return users;
  }
  function find() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = [];
    place = -1;
    if (words.length)
      f.operations.forEach((operation, i) => {
        const line = `${text(operation[KIND])} %${text(operation[NAME])} ${text(operation[MODULE])}`.toLowerCase();
        if (words.every(word => line.includes(word))) found.push(i);
      });
    said.textContent = words.length ? plural(found.length, "operation") : "";
    draw();
  }
  function step(by) {
    if (!found.length) return;
    place = (place + by + found.length) % found.length;
    said.textContent = `${grouped(place + 1)} of ${plural(found.length, "operation")}`;
    goTo(found[place]);
  }
  const each = (node, visit) => { for (const child of node.children || []) if (child.children) { visit(child); each(child, visit); } };

  search.addEventListener("input", find);
  search.addEventListener("keydown", event => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    step(event.shiftKey ? -1 : 1);
  });
  body.addEventListener("scroll", () => requestAnimationFrame(draw));
  body.addEventListener("keydown", event => {
    const node = shown.rows[active];
    if (!node) return;
    let to = movedBy(event.key, active, shown.rows.length, rowsShown());
    if (event.key === "ArrowRight" && node.children) {
      if (node.open) to = active + 1; else toggle(node);
    } else if (event.key === "ArrowLeft") {
      if (node.children && node.open) toggle(node);
      else if (node.parent && node.parent !== root) to = shown.rows.indexOf(node.parent);
    } else if ((event.key === "Enter" || event.key === " ") && node.children) {
      toggle(node);
    } else if (to === null) {
      return;
    }
    event.preventDefault();
    if (to !== null) move(to);
  });
  document.addEventListener("keydown", event => {
    if (event.key !== "/" || panel.hidden || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
    event.preventDefault();
    search.focus();
  });

  const choice = selectOf("Function", report.functions.map(each => each.name), load);
  panel.append(element("div", {class: "controls"}, report.functions.length > 1 ? choice.field : null, search,
      element("button", {type: "button", onclick: () => step(-1)}, "Previous"), element("button", {type: "button", onclick: () => step(1)}, "Next"), said),
    element("div", {class: "controls"},
      element("button", {type: "button", onclick: () => { each(root, node => node.open = true); update(); }}, "Unfold all"),
      element("button", {type: "button", onclick: () => { each(root, node => node.open = false); update(); }}, "Fold all"),
      element("span", {class: "dim"}, "Lines lead from a result to its uses. Arrow keys move, fold and unfold.")),
    element("div", {class: "graph"}, body, details));
  if (f) load(0);
  return {draw() { if (f) draw(); }};
}
