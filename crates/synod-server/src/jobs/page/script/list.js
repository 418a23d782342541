// The list of jobs.

function showList(answer) {
  document.title = titleOf(answer.jobs) + " · Synod";
  const now = answer.now_ms;
  part("head", main, [answer.workers, answer.slots, answer.jobs.length], () => {
    const busy = answer.workers.reduce((sum, w) => sum + w.running, 0);
    const workers = answer.workers.length === 0
      ? "No worker is registered, which is so while there is nothing to do."
      : answer.workers.length + (answer.workers.length === 1 ? " worker, " : " workers, ") +
        busy + " of " + answer.slots + " slots busy";
    return [el("h1", {}, "Jobs"), el("p", { class: "quiet" }, workers)];
  });
  const active = answer.jobs.filter((row) => !FINAL.includes(row.state));
  const ended = answer.jobs.filter((row) => FINAL.includes(row.state));
  part("active", main, [active, active.length ? now : 0], () => active.length > 0 &&
    el("section", { class: "card" }, el("h2", {}, "Running"), activeTable(active, now)));
  part("ended", main, [ended, Math.floor(now / 10000)], () => ended.length > 0 &&
    el("section", { class: "card" }, el("h2", {}, "Ended"), endedTable(ended, now),
      answer.jobs_left_out > 0 &&
        el("p", { class: "quiet" }, "and " + count(answer.jobs_left_out) + " older ones")));
  part("none", main, answer.jobs.length === 0, () => answer.jobs.length === 0 &&
    el("div", { class: "card empty" }, el("p", {}, "There are no jobs yet."),
      el("p", {}, el("code", {},
        "synod run wordcount FILES --output DIR --endpoints " + location.host))));
  return active.length > 0;
}
function titleOf(jobs) {
  const active = jobs.filter((row) => !FINAL.includes(row.state)).length;
  return active > 0 ? "(" + active + ") Jobs" : "Jobs";
}
function named(row) {
  return [
    el("a", { href: "/jobs/" + row.id, "data-focus": row.id }, row.name),
    el("div", { class: "quiet mono list-id" }, row.id),
    row.priority !== "normal" && el("div", { class: "small quiet" }, row.priority + " priority"),
  ];
}
function activeTable(rows, now) {
  const headings = [column("Job", "name"), column("State", "keep"), column("Progress", ""),
    column("Tasks", "num wide"), column("Rate", "num"), column("Left", "num"),
    column("Time", "num wide")];
  return table(headings, rows.map((row) => {
    const reducing = row.phase === "reduce";
    const fraction = fractionOf(row);
    const tasks = reducing
      ? row.reduces_done + " of " + row.reduces_total + " reduces"
      : row.maps_done + " of " + row.maps_total + " maps";
    const without = withoutTasks(row);
    const what = row.phase === "map" || reducing
      ? row.phase + " " + Math.floor(fraction * 100) + " %" : row.phase;
    return [
      named(row),
      chip(row),
      [meter(fraction, reducing ? "reduce" : "", "Progress of " + row.name),
        el("div", { class: "small quiet" }, what)],
      [row.maps_total ? tasks : "–", without && el("div", { class: "small quiet" }, "without " + without)],
      row.rate === null ? "–" : size(row.rate) + "/s",
      row.left_ms === null ? "–" : about(row.left_ms),
      took(row, now) === null ? "–" : time(took(row, now)),
    ];
  }));
}
function endedTable(rows, now) {
  const headings = [column("Job", "name"), column("State", "state"), column("Input", "num wide"),
    column("Tasks", "num wide"), column("Time", "num"), column("Submitted", "num")];
  return table(headings, rows.map((row) => [
    named(row),
    [chip(row), row.message && el("div", { class: "small quiet" }, short(row.message, 160)),
      withoutTasks(row) && el("div", { class: "small quiet" }, "without " + withoutTasks(row))],
    row.bytes_total ? size(row.bytes_total) : "–",
    row.maps_total ? count(row.maps_total) + " + " + count(row.reduces_total) : "–",
    took(row, now) === null ? "–" : time(took(row, now)),
    ago(row.submitted_ms, now),
  ]));
}
const short = (text, most) => (text.length > most ? text.slice(0, most) + "…" : text);
function fractionOf(row) {
  if (row.phase === "map") return percent(row.bytes_read, row.bytes_total);
  if (row.phase === "reduce") return percent(row.reduces_done + row.reduces_given_up, row.reduces_total);
  return row.phase === "planning" ? 0 : 1;
}
