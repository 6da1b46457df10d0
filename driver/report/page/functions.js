// The first two parts: the package as a whole, and each function with its interface.

function overview(panel) {
  const operations = report.functions.reduce((sum, f) => sum + f.operations.length, 0);
  const card = (title, value) => element("div", {class: "card"}, element("b", {}, value), element("span", {class: "dim"}, title));
  const saved = report.referencedBytes - report.uniqueBytes;
  panel.append(element("div", {class: "cards"},
    card(report.functions.length === 1 ? "function" : "functions", grouped(report.functions.length)),
    card("operations", grouped(operations)), card("of weights", bytesText(report.uniqueBytes)),
    card("saved by sharing", bytesText(saved)), card("specification version", report.specification)));
  const rows = Object.entries(report.metadata).map(([key, value]) => [key, value]);
  if (rows.length) panel.append(element("h2", {}, "Metadata"), tableOf([["Key", ""], ["Value", "name"]], rows));
  panel.append(element("h2", {}, "Largest weights"), weightList(report.weights.slice().sort((a, b) => b[2] - a[2]).slice(0, 10)));
  const heaviest = [];
  for (const f of report.functions)
    for (const operation of f.operations) {
      heaviest.push([operation, f]);
      if (heaviest.length > 200) heaviest.sort((a, b) => b[0][ARITHMETIC] - a[0][ARITHMETIC]).length = 10;
    }
  heaviest.sort((a, b) => b[0][ARITHMETIC] - a[0][ARITHMETIC]).length = Math.min(10, heaviest.length);
  panel.append(element("h2", {}, "Operations with most arithmetic"), listOf("Operations with most arithmetic", [
    {title: "Operation", width: "minmax(6rem, 2fr)", narrow: "minmax(5rem, 2fr)", value: row => `${text(row[0][KIND])} %${text(row[0][NAME])}`},
    {title: "Function", width: "minmax(5rem, 1fr)", narrow: null, value: row => row[1].name},
    {title: "Type", width: "minmax(8rem, 2fr)", narrow: null, style: "type", value: row => text(row[0][TYPE])},
    {title: "Arithmetic", width: "6rem", narrow: "6rem", number: true, value: row => row[0][ARITHMETIC] || 0, cell: row => countText(row[0][ARITHMETIC])},
    {title: "Bytes", width: "6rem", narrow: "5.5rem", number: true, value: row => row[0][MOVED] || 0, cell: row => bytesText(row[0][MOVED])},
  ], heaviest));
}

function weightList(weights) {
  const largest = weights.reduce((most, weight) => Math.max(most, weight[2]), 1);
  return listOf("Weights", [
    {title: "Weight", width: "minmax(8rem, 2fr)", narrow: "minmax(6rem, 2fr)", value: weight => weight[0]},
    {title: "Type", width: "minmax(9rem, 1.5fr)", narrow: null, style: "type", value: weight => weight[1]},
    {title: "Bytes", width: "6rem", narrow: "6rem", number: true, value: weight => weight[2], cell: weight => bytesText(weight[2])},
    {title: "", width: "minmax(3rem, 1fr)", narrow: null, value: weight => weight[2],
     cell: weight => element("span", {class: weight[3].length > 1 ? "bar" : "bar own", style: {width: `${Math.max(1, 100 * weight[2] / largest)}%`}})},
    {title: "Functions", width: "minmax(6rem, 1.2fr)", narrow: "4.5rem", value: weight => weight[3].length,
     cell: weight => weight[3].length === 1 ? report.functions[weight[3][0]].name
       : weight[3].length === report.functions.length ? `all ${weight[3].length}` : plural(weight[3].length, "function")},
  ], weights);
}

function weights(panel) {
  const search = element("input", {type: "search", placeholder: "Name or type", "aria-label": "Search weights"});
  const all = report.weights.slice().sort((a, b) => b[2] - a[2]);
  const list = weightList(all);
  const said = element("p", {class: "said dim", "aria-live": "polite"}, plural(all.length, "weight"));
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    const found = all.filter(weight => weight[0].toLowerCase().includes(wanted) || weight[1].toLowerCase().includes(wanted));
    list.replaceRows(found);
    said.textContent = `${plural(found.length, "weight")}, ${bytesText(found.reduce((sum, weight) => sum + weight[2], 0))}`;
  });
  panel.append(element("div", {class: "controls"}, search), said, list);
  return list;
}

function functions(panel) {
  const shown = element("div", {"aria-live": "polite"});
  const show = f => {
    const features = [["input", f.inputs], ["state", f.states], ["output", f.outputs]]
      .flatMap(([kind, list]) => list.map(([name, type, note]) => [kind, name, type, note]));
    const totals = totalsOf(f.operations);
    shown.replaceChildren(element("h2", {class: "name"}, f.name),
      element("p", {class: "dim"}, `${plural(totals.count, "operation")}, ${countText(totals.arithmetic)} of arithmetic, ` +
        `${bytesText(f.bytes)} of weights, ${bytesText(f.own)} of them its own`),
      tableOf([["", "dim"], ["Name", "name"], ["Type", "type name"], ["", "name"]], features));
  };
  const list = listOf("Functions", [
    {title: "Function", width: "minmax(8rem, 2fr)", narrow: "minmax(6rem, 2fr)", value: f => f.name,
     cell: f => f.name === report.default && report.functions.length > 1 ? `${f.name} (default)` : f.name},
    {title: "Operations", width: "6.5rem", narrow: null, number: true, value: f => f.operations.length, cell: f => grouped(f.operations.length)},
    {title: "Arithmetic", width: "6.5rem", narrow: null, number: true, value: f => totalsOf(f.operations).arithmetic,
     cell: f => countText(totalsOf(f.operations).arithmetic)},
    {title: "Weights", width: "6.5rem", narrow: "6rem", number: true, value: f => f.bytes, cell: f => bytesText(f.bytes)},
    {title: "Its own", width: "6.5rem", narrow: "6rem", number: true, value: f => f.own, cell: f => bytesText(f.own)},
    {title: "", width: "minmax(4rem, 1fr)", narrow: null, value: f => f.bytes, cell: sharingBars},
  ], report.functions, {select: show});
  panel.append(element("p", {class: "dim"}, "Its own", element("span", {class: "key own"}), " and shared",
    element("span", {class: "key shared"}), ". Choose a function for its interface."), list, shown);
  if (report.functions.length) show(report.functions[0]);
  return list;
}

function sharingBars(f) {
  const largest = report.functions.reduce((most, other) => Math.max(most, other.bytes), 1);
  return element("span", {class: "bars"}, element("span", {class: "bar own", style: {width: `${100 * f.own / largest}%`}}),
    element("span", {class: "bar", style: {width: `${100 * (f.bytes - f.own) / largest}%`}}));
}
