// Who shares what: a picture of all pairs of functions, and the groups that have blobs in common.

function sharing(panel) {
  const count = report.functions.length;
  if (count < 2) {
    panel.append(element("p", {}, "The package has one function, and nothing to share it with."));
    return null;
  }
  // Of each pair the bytes that both use: blobs of the same users count together.
  const pairs = new Float64Array(count * count);
  for (const [bytes, , users] of report.groups)
    for (const a of users) for (const b of users) pairs[a * count + b] += bytes;
  const size = Math.max(6, Math.min(40, Math.floor(640 / count)));
  const labels = size > 14 ? 170 : 0; // the functions' names, where there is room for them
  const canvas = element("canvas", {class: "matrix", tabindex: 0, role: "application", "aria-label": "Bytes that two functions share; arrow keys move",
                                    width: labels + size * count, height: size * count});
  const said = element("p", {class: "said", "aria-live": "polite"});
  let at = [0, 1];
  function draw() {
    const style = getComputedStyle(document.documentElement), context = canvas.getContext("2d");
    context.fillStyle = style.getPropertyValue("--panel");
    context.fillRect(0, 0, canvas.width, canvas.height);
    for (let a = 0; a < count; ++a)
      for (let b = 0; b < count; ++b) {
        const f = report.functions[a];
        const part = a === b ? f.own / (f.bytes || 1) : pairs[a * count + b] / (f.bytes || 1);
        context.globalAlpha = part > 0 ? 0.12 + 0.88 * part : 0;
        context.fillStyle = style.getPropertyValue(a === b ? "--own" : "--shared");
        context.fillRect(labels + b * size, a * size, size - (size > 8 ? 1 : 0), size - (size > 8 ? 1 : 0));
      }
    context.globalAlpha = 1;
    context.font = "13px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.fillStyle = style.getPropertyValue("--text");
    for (let a = 0; labels && a < count; ++a) {
      const name = report.functions[a].name;
      context.fillText(name.length > 22 ? `${name.slice(0, 21)}…` : name, 8, (a + 0.5) * size, labels - 16);
    }
    context.strokeStyle = style.getPropertyValue("--text");
    context.lineWidth = 2;
    context.strokeRect(labels + at[1] * size + 1, at[0] * size + 1, size - 2, size - 2);
    const [a, b] = at.map(i => report.functions[i]);
    said.textContent = at[0] === at[1] ? `${a.name}: ${bytesText(a.own)} of ${bytesText(a.bytes)} are its own`
      : `${a.name} and ${b.name}: ${bytesText(pairs[at[0] * count + at[1]])} of ${bytesText(a.bytes)} and ${bytesText(b.bytes)}`;
  }
  canvas.addEventListener("keydown", event => {
    const steps = {ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
    if (!steps) return;
    event.preventDefault();
    at = at.map((value, i) => Math.max(0, Math.min(count - 1, value + steps[i])));
    draw();
  });
  canvas.addEventListener("click", event => {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * canvas.width - labels, y = (event.clientY - box.top) / box.height * canvas.height;
    at = [y, x].map(place => Math.max(0, Math.min(count - 1, Math.floor(place / size))));
    draw();
  });
  const groups = report.groups.filter(group => group[2].length > 1).sort((a, b) => b[0] - a[0]);
  const list = listOf("Groups of functions that share weights", [
    {title: "Shared", width: "6.5rem", narrow: "6rem", number: true, value: group => group[0], cell: group => bytesText(group[0])},
    {title: "Blobs", width: "5rem", narrow: "4rem", number: true, value: group => group[1], cell: group => grouped(group[1])},
    {title: "Functions", width: "5.5rem", narrow: "5.5rem", number: true, value: group => group[2].length},
    {title: "by", width: "minmax(10rem, 1fr)", narrow: "minmax(4rem, 1fr)", value: group => group[2].length,
     cell: group => group[2].length === count ? "all functions" : group[2].map(i => report.functions[i].name).join(", ")},
  ], groups);
  panel.append(element("p", {class: "dim"}, "A row and a column for each function, in the order of the package: the darker, the more of the row's weights both use. ",
    "On the diagonal, what no other uses."), canvas, said, element("h2", {}, "By group"),
    groups.length ? list : element("p", {}, "No weight is shared."));
  draw();
  return {draw() { draw(); list.draw(); }};
}
