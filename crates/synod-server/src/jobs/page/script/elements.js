// The status page of jobs: asks for JSON every few seconds and shows it. Texts of jobs become text nodes,
// never markup. What is asked for is described in docs/formats/jobs-api.md. These files are served as one
// script, in the order elements, list, job, timeline, skew, tables, asking.
"use strict";

const API = "/jobs/api/v1/jobs";
const job = document.body.dataset.job;
const main = document.getElementById("main");
const link = document.getElementById("link");
const BUSY_MS = 2000;
const CALM_MS = 10000;
const TIMEOUT_MS = 12000;
const FINAL = ["done", "failed", "cancelled"];

// ---- making elements

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}
const el = (name, attributes, ...children) =>
  fill(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

// ---- texts for people

const plain = new Intl.NumberFormat("en");
const count = (number) => plain.format(number);
function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  // What would be shown as 1024.0 is one of the next unit.
  while (bytes >= (unit === 0 ? 1024 : 1023.95) && unit + 1 < units.length) {
    bytes /= 1024;
    unit += 1;
  }
  return (unit === 0 ? bytes : bytes.toFixed(1)) + " " + units[unit];
}
function time(ms) {
  const seconds = Math.floor(ms / 1000);
  const two = (n) => String(n).padStart(2, "0");
  if (ms < 1000) return Math.round(ms) + " ms";
  if (ms < 60000) return (Math.floor(ms / 100) / 10).toFixed(1) + " s";
  if (ms < 3600000) return Math.floor(seconds / 60) + " min " + two(seconds % 60) + " s";
  return Math.floor(seconds / 3600) + " h " + two(Math.floor(seconds / 60) % 60) + " min";
}
function about(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  return seconds < 60 ? seconds + " s" : time(seconds * 1000);
}
const ago = (moment, now) => (moment ? about(now - moment) + " ago" : "–");
function took(row, now) {
  if (!row.started_ms) return null;
  return Math.max(0, (row.ended_ms || now) - row.started_ms);
}
const stateName = (row) => (row.cancelling ? "cancelling" : row.state);
const withoutTasks = (row) => [[row.maps_given_up, " map"], [row.reduces_given_up, " reduce"]]
  .filter(([number]) => number > 0)
  .map(([number, what]) => count(number) + what + (number === 1 ? "" : "s")).join(" and ");
const chip = (row) => el("span", { class: "chip chip-" + row.state }, stateName(row));
const percent = (part, whole) => (whole ? Math.min(1, part / whole) : 0);

function meter(fraction, kind, label) {
  const bar = el("span");
  bar.style.width = (fraction * 100).toFixed(1) + "%";
  const attributes = {
    class: "meter " + kind,
    role: "progressbar",
    "aria-label": label,
    "aria-valuemin": 0,
    "aria-valuemax": 100,
    "aria-valuenow": Math.floor(fraction * 100),
  };
  return el("div", attributes, bar);
}

function table(headings, rows) {
  const head = headings.map((h) =>
    el("th", { scope: "col", class: h.class }, h.text));
  const body = rows.map((cells) => el("tr", {}, cells.map((cell, i) =>
    el("td", { class: headings[i].class }, cell))));
  return el("div", { class: "scroll" },
    el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)));
}
const column = (text, kind) => ({ text, class: kind });

// ---- parts of the page that are made anew only when what they show has changed

const parts = new Map();
function part(name, parent, shown, make) {
  const key = JSON.stringify(shown);
  let known = parts.get(name);
  if (!known) {
    known = { key: null, node: el("div") };
    parts.set(name, known);
    parent.append(known.node);
  }
  if (known.key === key) return;
  known.key = key;
  const focused = known.node.contains(document.activeElement)
    ? document.activeElement.getAttribute("data-focus") : null;
  known.node.replaceChildren(...[make()].flat().filter(Boolean));
  if (focused) {
    const again = [...known.node.querySelectorAll("[data-focus]")]
      .find((element) => element.getAttribute("data-focus") === focused);
    if (again) again.focus({ preventScroll: true });
  }
}
