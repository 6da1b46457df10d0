// The parts of the page, each made when it is first looked at.

function verification(panel) {
  panel.append(element("p", {class: "dim"}, "What plait verify found: of each output how far it is from the model's, and how much of that rounding explains."));
  const block = element("pre");
  for (const line of report.verification.split("\n")) {
    const verdict = /^\s*(PASS|FAIL|ok|rounded|wrong)\b/.exec(line);
    const isGood = verdict && (verdict[1] === "PASS" || verdict[1] === "ok");
    block.append(element("span", {class: verdict ? (isGood ? "good" : "bad") : null}, line), "\n");
  }
  panel.append(block);
}

const parts = [["Overview", overview], ["Functions", functions], ["Sharing", sharing], ["Weights", weights], ["Operations", operations], ["Graph", graph]];
if (report.verification) parts.push(["Verification", verification]);

const tabs = document.getElementById("tabs"), main = document.getElementById("main");
const made = parts.map(([title, fill], i) => {
  const tab = element("button", {type: "button", role: "tab", id: `tab-${i}`, "aria-controls": `panel-${i}`, onclick: () => choose(i)}, title);
  const panel = element("section", {role: "tabpanel", id: `panel-${i}`, "aria-labelledby": `tab-${i}`, hidden: true});
  tabs.append(tab);
  main.append(panel);
  return {tab, panel, fill, drawn: null, isFilled: false};
});

function choose(index, focus) {
  made.forEach((part, i) => {
    part.tab.setAttribute("aria-selected", String(i === index));
    part.tab.tabIndex = i === index ? 0 : -1;
    part.panel.hidden = i !== index;
  });
  const part = made[index];
  if (!part.isFilled) {
    part.isFilled = true;
    part.drawn = part.fill(part.panel) || null;
  }
  redraw(part);
  if (focus) part.tab.focus();
}
/// What was drawn while it was hidden, in another width or in other colours is drawn anew.
function redraw(part) {
  if (part.drawn) part.drawn.draw();
}
const chosen = () => made.findIndex(part => !part.panel.hidden);

tabs.addEventListener("keydown", event => {
  const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  const to = event.key === "Home" ? 0 : event.key === "End" ? made.length - 1 : step ? (chosen() + step + made.length) % made.length : null;
  if (to === null) return;
  event.preventDefault();
  choose(to, true);
});
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  redraw(made[chosen()]);
});
window.addEventListener("resize", () => redraw(made[chosen()]));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw(made[chosen()]));

document.title = `${report.title}: plait report`;
document.getElementById("title").textContent = report.title;
document.getElementById("summary").textContent = `${plural(report.functions.length, "function")}, ${bytesText(report.fileBytes)} of weights, plait ${report.plait}`;
choose(0);
document.documentElement.dataset.ready = "yes";
