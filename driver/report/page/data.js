// What the report is of: the page's JSON, and how numbers are written.
"use strict";

const report = JSON.parse(document.getElementById("data").textContent);

// An operation is a list: it stands in the order that ReportData.cpp writes.
const KIND = 0, NAME = 1, TYPE = 2, MODULE = 3, SOURCE = 4, OPERANDS = 5, WEIGHTS = 6, PARAMETERS = 7, ARITHMETIC = 8, MOVED = 9,
  OFF_ENGINE = 10, OFF_GPU = 11;
const text = index => report.strings[index];

function bytesText(bytes) {
  if (bytes == null) return "not known";
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0, value = bytes;
  for (; value >= 1024 && unit + 1 < units.length; ++unit) value /= 1024;
  return unit ? `${value.toFixed(1)} ${units[unit]}` : `${bytes} bytes`;
}

function countText(count) {
  if (count == null) return "not known";
  const units = ["", " k", " M", " G", " T", " P"];
  let unit = 0, value = count;
  for (; value >= 1000 && unit + 1 < units.length; ++unit) value /= 1000;
  return unit ? `${value.toFixed(value < 10 ? 2 : 1)}${units[unit]}` : `${count}`;
}

const grouped = number => number.toLocaleString("en-US");
const plural = (count, word) => `${grouped(count)} ${word}${count === 1 ? "" : "s"}`;

/// Of operations: how many, their arithmetic, bytes moved.
function totalsOf(operations) {
  const totals = {count: 0, arithmetic: 0, moved: 0};
  for (const operation of operations) {
    ++totals.count;
    totals.arithmetic += operation[ARITHMETIC];
    totals.moved += operation[MOVED];
  }
  return totals;
}
