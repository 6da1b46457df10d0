// Operations by kind and by module, with what they cost.

function operations(panel) {
  const scope = ["all functions", ...report.functions.map(f => f.name)];
  let chosen = 0, depth = 0;
  const columns = title => [
    {title, width: "minmax(8rem, 2fr)", narrow: "minmax(6rem, 2fr)", value: row => row.name},
    {title: "Operations", width: "6.5rem", narrow: "5.5rem", number: true, value: row => row.count, cell: row => grouped(row.count)},
    {title: "Arithmetic", width: "6.5rem", narrow: "5.5rem", number: true, value: row => row.arithmetic, cell: row => countText(row.arithmetic)},
    {title: "Bytes", width: "6.5rem", narrow: null, number: true, value: row => row.moved, cell: row => bytesText(row.moved)},
    {title: "of arithmetic", width: "minmax(5rem, 1fr)", narrow: null, value: row => row.part,
     cell: row => element("span", {class: "bar", style: {width: `${Math.max(row.part ? 1 : 0, 100 * row.part)}%`}})},
  ];
  const kinds = listOf("Operations by kind", columns("Kind"), [], {sorted: 1});
  const modules = listOf("Operations by module", columns("Module"), [], {sorted: 2});
  const hint = element("p", {class: "dim"}, "The package does not say which module an operation comes from; plait compile --debug-info on makes one that does.");

  function sums(keyOf) {
    const found = new Map();
    let arithmetic = 0;
    for (const f of chosen ? [report.functions[chosen - 1]] : report.functions)
      for (const operation of f.operations) {
        const key = keyOf(operation);
        let row = found.get(key);
        if (!row) found.set(key, row = {name: key, count: 0, arithmetic: 0, moved: 0});
        ++row.count;
        row.arithmetic += operation[ARITHMETIC];
        row.moved += operation[MOVED];
        arithmetic += operation[ARITHMETIC];
      }
    const rows = [...found.values()];
    for (const row of rows) row.part = row.arithmetic / (arithmetic || 1);
    return rows;
  }
  function show() {
    kinds.replaceRows(sums(operation => text(operation[KIND])));
    modules.replaceRows(sums(operation => {
      const parts = text(operation[MODULE]).split(".");
      return (depth ? parts.slice(0, depth) : parts).join(".") || "(the model)";
    }));
  }
  const functionField = selectOf("Of", scope, value => { chosen = value; show(); });
  const depthField = selectOf("Depth", ["all", "1", "2", "3", "4", "5"], value => { depth = value; show(); });
  panel.append(element("div", {class: "controls"}, functionField.field),
    element("p", {class: "dim"}, "Arithmetic counts multiplications and additions; bytes are those of operands, weights and results, each once. Sizes that may ",
      "vary are not counted. What a device does may be other: it fuses operations."),
    element("h2", {}, "By kind"), kinds, element("h2", {}, "By module"), element("div", {class: "controls"}, depthField.field), modules);
  if (!report.functions.some(f => f.operations.some(operation => text(operation[MODULE])))) panel.append(hint);
  show();
  return {draw() { kinds.draw(); modules.draw(); }};
}
