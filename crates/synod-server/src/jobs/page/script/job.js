// One job: what it is, how far, and its figures.

function showJob(answer) {
  const row = answer.job;
  const now = answer.now_ms;
  document.title = row.name + " · " + stateName(row) + " · Synod";
  const head = [row.name, stateName(row), row.message, row.id];
  part("head", main, head, () => [
    el("p", {}, el("a", { href: "/jobs", "data-focus": "all" }, "All jobs")),
    el("div", { class: "title" }, el("h1", {}, row.name), chip(row),
      el("span", { class: "quiet mono" }, row.id)),
    row.message && el("p", { class: "message" }, row.message),
  ]);
  const ended = FINAL.includes(row.state);
  part("progress", main, [row, ended ? 0 : now], () => progressCard(row, now, ended));
  part("figures", main, [row.report.counters, row], () => figuresCard(row));
  timeline(answer, ended);
  skew(row);
  part("running", main, [row.running, ended ? 0 : now], () => runningCard(row, now));
  part("given_up", main, [row.report.given_up, row.maps_given_up, row.reduces_given_up], () =>
    givenUpCard(row));
  part("failures", main, [row.report.failures, row.report.failed_attempts], () => failuresCard(row));
  part("tables", main, [row.report.tasks.length, row.report.counters.user, row.spec], () =>
    el("div", { class: "two" }, slowestCard(row), countersCard(row), settingsCard(row)));
  return !ended;
}

function progressCard(row, now, ended) {
  const broken = ended && row.state !== "done";
  const kind = (own) => (broken ? "broken" : ended ? "ended" : own);
  const lines = [
    ["Map", percent(row.maps_done + row.maps_given_up, row.maps_total), "",
      row.maps_done + " of " + row.maps_total + " · " + size(row.bytes_read) + " of " + size(row.bytes_total)],
  ];
  if (row.phase === "map") lines[0][1] = percent(row.bytes_read, row.bytes_total);
  if (row.reduces_total > 0) {
    lines.push(["Reduce", percent(row.reduces_done + row.reduces_given_up, row.reduces_total), "reduce",
      row.reduces_done + " of " + row.reduces_total + " · " + size(row.bytes_written) + " written"]);
  }
  const facts = [];
  if (took(row, now) !== null) facts.push((ended ? "took " : "running for ") + time(took(row, now)));
  if (row.rate !== null && !ended) facts.push(size(row.rate) + "/s");
  if (row.left_ms !== null && !ended) facts.push("about " + about(row.left_ms) + " left in this phase");
  if (withoutTasks(row)) facts.push("without " + withoutTasks(row));
  if (!ended) facts.push(row.attempts_running + " attempts running");
  facts.push("submitted " + ago(row.submitted_ms, now));
  return el("section", { class: "card", "aria-label": "Progress" },
    row.maps_total > 0 && el("div", { class: "phases" }, lines.map(([label, fraction, own, value]) => [
      el("span", { class: "label" }, label),
      meter(fraction, kind(own), label),
      el("span", { class: "value small" }, value),
    ])),
    el("p", { class: "quiet" }, facts.join(" · ")));
}

function figuresCard(row) {
  const c = row.report.counters;
  const r = row.report;
  const combined = c.map_pairs_out > 0 && c.combined_pairs_out < c.map_pairs_out
    ? " → " + (c.combined_pairs_out * 100 / c.map_pairs_out).toFixed(1) + " % after combining" : "";
  const figures = [
    ["Records in", count(c.map_records_in)],
    ["Pairs", count(c.map_pairs_out), combined],
    ...(c.run_bytes_written > 0 ? [["Intermediate data", size(c.run_bytes_written)]] : []),
    ["Groups", count(c.reduce_groups_in)],
    ["Records out", count(c.reduce_records_out), " " + size(c.reduce_bytes_out)],
  ];
  const trouble = [
    ["Failed maps, given up", row.maps_given_up],
    ["Failed reduces, given up", row.reduces_given_up],
    ["Failed attempts", r.failed_attempts],
    ["Backup attempts", r.backup_attempts],
    ["Lost map outputs", r.lost_outputs],
    ["Bad records left out", c.bad_records_skipped],
    ["Too long records left out", c.long_records_skipped],
  ].filter(([, number]) => number > 0);
  return el("section", { class: "card", "aria-label": "Figures" }, el("dl", { class: "figures" },
    figures.map(([name, value, more]) => el("div", {}, el("dt", {}, name),
      el("dd", {}, value, more && el("span", { class: "small quiet" }, more)))),
    trouble.map(([name, value]) => el("div", {}, el("dt", {}, name),
      el("dd", { class: name.startsWith("Failed") || name.startsWith("Lost") ? "bad" : "" },
        count(value))))));
}
