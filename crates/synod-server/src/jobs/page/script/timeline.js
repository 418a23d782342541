// The timeline of a job: a row for each slot of each node, a bar for each attempt.

const KINDS = {
  map: "map",
  reduce: "reduce",
  backup: "backup attempt that won",
  failed: "failed attempt",
  "map-runs": "map, running",
  "reduce-runs": "reduce, running",
};
const chart = { selected: null, bars: [], box: null, detail: null, drawn: null, answer: null };

function barsOf(row, now) {
  const bars = [];
  const kindOf = (task) => (task.startsWith("m") ? "map" : "reduce");
  for (const t of row.report.tasks) {
    bars.push({ task: t.t, attempt: t.a, node: row.report.nodes[t.n] || "?", from: t.s, to: t.e,
      kind: t.k ? "backup" : kindOf(t.t), bytes: t.b,
      address: (row.report.addresses || [])[t.n] || "" });
  }
  for (const f of row.report.failures) {
    if (!f.span || !f.span.started_ms) continue;
    bars.push({ task: f.task, attempt: f.attempt, node: f.node || "?", from: f.span.started_ms,
      to: f.span.ended_ms, kind: "failed", message: f.message, address: addressOf(row, f.node) });
  }
  for (const r of row.running) {
    bars.push({ task: r.task, attempt: r.attempt, node: r.node || "?", from: r.started_ms, to: now,
      kind: kindOf(r.task) + "-runs", address: r.address });
  }
  bars.sort((a, b) => a.from - b.from || (a.task < b.task ? -1 : 1));
  return bars;
}
function addressOf(row, node) {
  const running = row.running.find((r) => r.node === node && r.address);
  const at = row.report.nodes.indexOf(node);
  return (running && running.address) || (row.report.addresses || [])[at] || "";
}

// Attempts of a node that overlap lie in rows of their own: its slots.
function lanesOf(bars) {
  const nodes = new Map();
  for (const bar of bars) {
    if (!nodes.has(bar.node)) nodes.set(bar.node, []);
    const lanes = nodes.get(bar.node);
    let lane = lanes.findIndex((end) => end <= bar.from);
    if (lane < 0) {
      lane = lanes.length;
      lanes.push(0);
    }
    lanes[lane] = bar.to;
    bar.lane = lane;
  }
  const rows = [...nodes.keys()].sort();
  let top = 0;
  const places = rows.map((node) => {
    const place = { node, top, lanes: nodes.get(node).length };
    top += place.lanes;
    return place;
  });
  return { places, lanes: top };
}

function timeline(answer, ended) {
  const row = answer.job;
  const any = barsOf(row, answer.now_ms).length > 0;
  part("timeline", main, any, () => {
    chart.drawn = null;
    chart.box = null;
    if (!any) return null;
    chart.box = el("div", { class: "chart", tabindex: 0, role: "group", "data-focus": "timeline",
      "aria-label": "Timeline of tasks; the arrow keys go from one to the next" });
    chart.detail = el("p", { class: "detail hint", role: "status" },
      "Point at a task, or focus the timeline and use the arrow keys.");
    chart.legend = el("div", { class: "legend" });
    chart.note = el("p", { class: "quiet small" });
    listen();
    return el("section", { class: "card" }, el("h2", {}, "Timeline"), chart.legend, chart.box,
      chart.detail, chart.note);
  });
  if (!chart.box) return;
  chart.answer = answer;
  const left = row.report.tasks_left_out + row.running_left_out;
  chart.note.textContent = left > 0
    ? "The " + count(row.report.tasks.length) + " tasks that took longest are shown; " +
      count(left) + " are not." : "";
  const key = JSON.stringify([row.report.tasks.length, row.report.failures.length, row.running,
    ended ? 0 : answer.now_ms, chart.box.clientWidth]);
  if (key === chart.drawn) return;
  chart.drawn = key;
  draw(row, ended ? row.ended_ms : answer.now_ms);
}

function draw(row, now) {
  const bars = barsOf(row, now);
  chart.bars = bars;
  const { places, lanes } = lanesOf(bars);
  const width = Math.max(260, chart.box.clientWidth || 800);
  const gutter = width < 500 ? 64 : 110;
  const high = lanes > 60 ? 8 : lanes > 24 ? 12 : 18;
  const axis = 20;
  const from = Math.min(...bars.map((b) => b.from));
  const to = Math.max(from + 1, ...bars.map((b) => b.to));
  const x = (moment) => gutter + (moment - from) / (to - from) * (width - gutter - 8);
  const height = axis + lanes * high + places.length * 6 + 4;
  const drawn = svg("svg", { width, height, viewBox: "0 0 " + width + " " + height,
    "aria-hidden": "true" }, patterns());
  for (const tick of ticks(to - from, width < 500 ? 4 : 8)) {
    drawn.append(svg("line", { class: "grid", x1: x(from + tick), x2: x(from + tick), y1: axis - 4, y2: height }),
      svg("text", { x: x(from + tick), y: 11, "text-anchor": tick ? "middle" : "start" },
        time(tick).replace(".0 s", " s")));
  }
  let top = axis;
  for (const place of places) {
    place.y = top;
    drawn.append(svg("rect", { class: "band", x: 0, y: top, width: gutter - 8, height: place.lanes * high, rx: 3 }),
      svg("text", { x: 6, y: top + Math.min(place.lanes * high - 4, 13) }, fit(place.node, gutter - 18)));
    top += place.lanes * high + 6;
  }
  const tops = new Map(places.map((place) => [place.node, place.y]));
  bars.forEach((bar, index) => {
    bar.x = x(bar.from);
    bar.y = tops.get(bar.node) + bar.lane * high;
    const shape = svg("rect", { x: bar.x.toFixed(1), y: bar.y + 1, height: high - 2,
      width: Math.max(1.5, x(bar.to) - bar.x - 0.5).toFixed(1), rx: high > 10 ? 2 : 1,
      fill: "url(#p-" + bar.kind + ")", "data-bar": index,
      class: chart.selected === idOf(bar) ? "selected" : null });
    drawn.append(shape);
  });
  chart.box.replaceChildren(drawn);
  const kinds = Object.keys(KINDS).filter((kind) => bars.some((bar) => bar.kind === kind));
  chart.legend.replaceChildren(...kinds.map((kind) => el("span", {},
    svg("svg", { viewBox: "0 0 22 12", "aria-hidden": "true" },
      svg("rect", { width: 22, height: 12, rx: 2, fill: "url(#p-" + kind + ")" })), KINDS[kind])));
}
const idOf = (bar) => bar.task + "/" + bar.attempt;
const fit = (text, width) => (text.length * 6.2 > width
  ? text.slice(0, Math.max(1, Math.floor(width / 6.2) - 1)) + "…" : text);

// Colour and pattern both tell the kind, so that either is enough.
function patterns() {
  const pattern = (kind, step, ...shapes) => svg("pattern", { id: "p-" + kind, width: step,
    height: step, patternUnits: "userSpaceOnUse" }, shapes);
  const ground = (kind, step) => svg("rect", { class: "f-" + kind, width: step, height: step });
  const stroke = (d, own) => svg("path", { class: own || "s-card", d });
  return svg("defs", {},
    pattern("map", 8, ground("map", 8)),
    pattern("reduce", 6, ground("reduce", 6), stroke("M-1 7 L7 -1")),
    pattern("backup", 6, ground("backup", 6), svg("circle", { class: "s-card", cx: 3, cy: 3, r: 1.2 })),
    pattern("failed", 6, ground("failed", 6), stroke("M0 0 L6 6 M0 6 L6 0")),
    pattern("map-runs", 8, ground("map-soft", 8), stroke("M0 4 H8", "s-map")),
    pattern("reduce-runs", 8, ground("reduce-soft", 8), stroke("M-1 9 L9 -1", "s-reduce")));
}

function ticks(span, most) {
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 30000, 60000,
    120000, 300000, 600000, 1200000, 1800000, 3600000, 7200000, 21600000, 43200000, 86400000];
  const step = steps.find((s) => span / s <= most) || span;
  const found = [];
  for (let tick = 0; tick <= span; tick += step) found.push(tick);
  return found;
}

function listen() {
  const barAt = (event) => {
    const index = event.target.getAttribute && event.target.getAttribute("data-bar");
    return index === null || index === undefined ? null : chart.bars[Number(index)];
  };
  chart.box.addEventListener("pointerover", (event) => {
    const bar = barAt(event);
    if (bar && !chart.selected) describe(bar);
  });
  chart.box.addEventListener("click", (event) => select(barAt(event)));
  chart.box.addEventListener("keydown", (event) => {
    const at = chart.bars.findIndex((bar) => idOf(bar) === chart.selected);
    const bar = chart.bars[at];
    let next = null;
    if (event.key === "Escape") return select(null);
    if (event.key === "Home") next = chart.bars[0];
    else if (event.key === "End") next = chart.bars[chart.bars.length - 1];
    else if (event.key === "ArrowRight") next = bar ? beside(bar, 1) : chart.bars[0];
    else if (event.key === "ArrowLeft") next = bar ? beside(bar, -1) : chart.bars[0];
    else if (event.key === "ArrowDown") next = bar ? below(bar, 1) : chart.bars[0];
    else if (event.key === "ArrowUp") next = bar ? below(bar, -1) : chart.bars[0];
    else return;
    event.preventDefault();
    if (next) select(next);
  });
}
// The next one of the same row.
function beside(bar, step) {
  const row = chart.bars.filter((other) => other.y === bar.y);
  return row[row.indexOf(bar) + step];
}
// The one of the next row that is nearest in time.
function below(bar, step) {
  const rows = [...new Set(chart.bars.map((other) => other.y))].sort((a, b) => a - b);
  const y = rows[rows.indexOf(bar.y) + step];
  const there = chart.bars.filter((other) => other.y === y);
  const far = (other) => Math.abs(other.from - bar.from);
  return there.sort((a, b) => far(a) - far(b))[0];
}
function select(bar) {
  chart.selected = bar ? idOf(bar) : null;
  for (const shape of chart.box.querySelectorAll("[data-bar]")) {
    const is = bar && chart.bars[Number(shape.getAttribute("data-bar"))] === bar;
    shape.classList.toggle("selected", Boolean(is));
    if (is) shape.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  if (bar) describe(bar);
}
function describe(bar) {
  const texts = [bar.task, "attempt " + bar.attempt, KINDS[bar.kind], bar.node, time(bar.to - bar.from)];
  if (bar.bytes) texts.push(size(bar.bytes));
  if (bar.message) texts.push(bar.message);
  const log = logLink(bar.task, bar.attempt, bar.address);
  chart.detail.classList.remove("hint");
  chart.detail.replaceChildren(document.createTextNode(texts.join(" · ")),
    ...(log ? [document.createTextNode(" · "), log] : []));
}

// The log of an attempt is with the worker that ran it. An address is what that worker has registered.
function logLink(task, attempt, address) {
  if (!/^[A-Za-z0-9.[\]:-]+:[0-9]{1,5}$/.test(address || "")) return null;
  if (!/^[mr][0-9]{6,}$/.test(task)) return null;
  const path = "/jobs/v1/" + job + "/log/" + task + "/" + Number(attempt);
  const href = address === location.host ? path : "http://" + address + path;
  return el("a", { href, rel: "noreferrer", "data-focus": "log " + task + " " + attempt }, "log");
}
