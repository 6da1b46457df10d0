// A function as a tree: modules, and in them runs of operations where there are many. Leaves are inputs, operations and outputs.

const RUN = 100; // operations that stand side by side without a fold between them

function treeOf(f) {
  const root = {label: f.name, children: [], open: true, parent: null, depth: -1};
  const groups = new Map([["", root]]);
  const group = path => {
    let found = groups.get(path);
    if (!found) {
      const cut = path.lastIndexOf(".");
      const parent = group(cut < 0 ? "" : path.slice(0, cut));
      found = {label: path.slice(cut + 1), path, children: [], open: false, parent};
      groups.set(path, found);
      parent.children.push(found);
    }
    return found;
  };
  const leaf = (parent, rest) => parent.children.push({parent, ...rest});
  f.inputs.forEach((input, i) => leaf(root, {input: i, label: input[0], type: input[1]}));
  f.states.forEach((state, i) => leaf(root, {input: f.inputs.length + i, label: state[0], type: state[1]}));
  f.operations.forEach((operation, i) => leaf(group(text(operation[MODULE])), {operation: i, label: text(operation[NAME])}));
  f.outputs.forEach((output, i) => leaf(root, {output: i, label: output[0], type: output[1]}));
  finish(root, f);
  return root;
}

/// Cuts long runs, and sums up; returns how much lies below.
function finish(node, f) {
  if (node.operation != null) {
    const operation = f.operations[node.operation];
    node.count = 1;
    node.arithmetic = operation[ARITHMETIC] || 0;
    return;
  }
  node.count = node.arithmetic = 0;
  if (!node.children) return;
  for (const child of node.children) finish(child, f);
  for (const child of node.children) {
    node.count += child.count;
    node.arithmetic += child.arithmetic;
  }
  while (node.children.length > 2 * RUN) node.children = inRuns(node, node.children);
  for (const child of node.children) child.parent = node;
  setDepth(node, node.depth == null ? 0 : node.depth);
}

function inRuns(parent, children) {
  const runs = [];
  for (let begin = 0; begin < children.length; begin += RUN) {
    const part = children.slice(begin, begin + RUN);
    const run = {children: part, open: false, parent, count: 0, arithmetic: 0, label: `${grouped(begin + 1)} to ${grouped(begin + part.length)}`, isRun: true};
    for (const child of part) {
      child.parent = run;
      run.count += child.count;
      run.arithmetic += child.arithmetic;
    }
    runs.push(run);
  }
  return runs;
}

function setDepth(node, depth) {
  const open = [[node, depth]];
  while (open.length) {
    const [each, at] = open.pop();
    each.depth = at;
    for (const child of each.children || []) open.push([child, at + 1]);
  }
}

/// The rows in sight of a tree, and of each operation and input the row that stands for it.
function rowsOf(root, f) {
  const rows = [], ofOperation = new Int32Array(f.operations.length).fill(-1), ofInput = new Int32Array(f.inputs.length + f.states.length).fill(-1);
  const assign = (node, row) => {
    const below = [node];
    while (below.length) {
      const each = below.pop();
      if (each.operation != null) ofOperation[each.operation] = row;
      else if (each.input != null) ofInput[each.input] = row;
      else if (each.children) below.push(...each.children);
    }
  };
  const walk = node => {
    for (const child of node.children) {
      const row = rows.length;
      rows.push(child);
      if (child.children && child.open) walk(child);
      else assign(child, row);
    }
  };
  walk(root);
  return {rows, ofOperation, ofInput};
}

/// From the row of each result to those of its uses: one line for each row that gives something, in lanes that do not overlap.
function linesOf({rows, ofOperation, ofInput}, f) {
  const lines = new Map();
  const connect = (from, to) => {
    if (from < 0 || to < 0 || from === to) return;
    let line = lines.get(from);
    if (!line) lines.set(from, line = {from, to: new Set(), first: from, last: from});
    line.to.add(to);
    line.first = Math.min(line.first, to);
    line.last = Math.max(line.last, to);
  };
  const source = reference => reference < 0 ? ofInput[-1 - reference] : ofOperation[reference];
  f.operations.forEach((operation, i) => {
    const operands = operation[OPERANDS];
    for (let k = 1; k < operands.length; k += 2) connect(source(operands[k]), ofOperation[i]);
  });
  rows.forEach((node, row) => { if (node.output != null && f.outputs[node.output][3] != null) connect(source(f.outputs[node.output][3]), row); });
  const sorted = [...lines.values()].sort((a, b) => a.first - b.first || a.last - b.last);
  const ends = []; // of each lane, where it is free again
  for (const line of sorted) {
    let lane = ends.findIndex(end => end <= line.first);
    if (lane < 0) lane = ends.length < LANES ? ends.push(0) - 1 : LANES - 1;
    ends[lane] = Math.max(ends[lane], line.last);
    line.lane = lane;
  }
  return sorted;
}

const LANES = 12;
