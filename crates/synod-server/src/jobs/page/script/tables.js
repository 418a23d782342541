// The tables of one job.

const NAMES = [column("Task", "keep mono"), column("Attempt", "num"), column("Node", "keep")];
function runningCard(row, now) {
  if (row.running.length === 0) return null;
  const shown = row.running.slice(0, 100);
  const left = row.running.length - shown.length + row.running_left_out;
  const headings = [...NAMES, column("Age", "num"), column("Done", "num"), column("", "keep"),
    column("Status", "text"), column("Log", "")];
  return el("section", { class: "card" }, el("h2", {}, "Running attempts"),
    table(headings, shown.map((r) => [
      r.task, r.attempt, r.node || "gone", time(Math.max(0, now - r.started_ms)),
      r.work_total ? Math.floor(percent(r.work_done, r.work_total) * 100) + " %" : "–",
      [r.backup && el("span", { class: "chip chip-backup" }, "backup"), r.slow && el("span", { class: "chip" }, "slow")],
      r.status,
      logLink(r.task, r.attempt, r.address),
    ])),
    left > 0 && el("p", { class: "quiet" }, "and " + count(left) + " more"));
}
function failuresCard(row) {
  const failures = row.report.failures;
  if (failures.length === 0) return null;
  const left = row.report.failed_attempts - failures.length;
  const headings = [...NAMES, column("Record at", "num wide"), column("Error", "text"), column("Log", "")];
  return el("section", { class: "card" }, el("h2", {}, "Failed attempts"),
    table(headings, failures.map((f) => [
      f.task, f.attempt, f.node || "?",
      f.bad_record === null || f.bad_record === undefined ? "–" : f.bad_record,
      f.message, logLink(f.task, f.attempt, addressOf(row, f.node)),
    ])),
    left > 0 && el("p", { class: "quiet" }, "and " + count(left) + " more"));
}
function givenUpCard(row) {
  const tasks = row.report.given_up || [];
  if (tasks.length === 0) return null;
  const shown = tasks.slice(0, 100);
  const left = row.maps_given_up + row.reduces_given_up - shown.length;
  return el("section", { class: "card" }, el("h2", {}, "Tasks given up"),
    el("p", {}, "They failed as often as they may, and the job goes on without them: nothing of them is in the output."),
    table([column("Task", "keep mono"), column("Error", "text")], shown.map((t) => [t.task, t.error || "–"])),
    left > 0 && el("p", { class: "quiet" }, "and " + count(left) + " more"));
}
function slowestCard(row) {
  const tasks = [...row.report.tasks].sort((a, b) => (b.e - b.s) - (a.e - a.s)).slice(0, 10);
  if (tasks.length === 0) return null;
  const headings = [column("Task", "keep mono"), column("Node", "keep"), column("Time", "num"),
    column("Bytes", "num"), column("Pairs", "num wide"), column("Log", "")];
  return el("section", { class: "card" }, el("h2", {}, "Slowest tasks"),
    table(headings, tasks.map((t) => [
      t.t, row.report.nodes[t.n] || "?", time(Math.max(0, t.e - t.s)), size(t.b), count(t.p),
      logLink(t.t, t.a, (row.report.addresses || [])[t.n]),
    ])));
}
function countersCard(row) {
  const user = Object.entries(row.report.counters.user);
  if (user.length === 0) return null;
  const more = Math.max(0, user.length - 200) + (row.report.counters_left_out || 0);
  return el("section", { class: "card" }, el("h2", {}, "Counters"),
    table([column("Name", "name"), column("Count", "num")],
      user.slice(0, 200).map(([name, amount]) => [name, count(amount)])),
    more > 0 && el("p", { class: "quiet" }, "and " + count(more) + " more"));
}
function settingsCard(row) {
  const s = row.spec;
  const facts = [["Runs", row.job], ["Output", row.output],
    ["Inputs", s.inputs.join("\n") + (s.inputs_left_out ? "\nand " + count(s.inputs_left_out) + " more" : "")],
    ["Priority", row.priority], ["Memory", size(s.memory_bytes) + " per node"]];
  for (const [name, value] of Object.entries(s.options)) facts.push(["Option", name + "=" + value]);
  if (s.after.length > 0) facts.push(["After", s.after.join(" ")]);
  if (s.skip_bad_records > 0) facts.push(["Bad records", "up to " + count(s.skip_bad_records) + " are left out"]);
  for (const [name, percent] of [["Maps", s.failed_maps_percent], ["Reduces", s.failed_reduces_percent]])
    if (percent > 0) facts.push([name, "up to " + percent + " % may fail and be given up"]);
  if (s.build) facts.push(["Program", s.build]);
  return el("section", { class: "card" }, el("h2", {}, "What was asked for"),
    el("dl", { class: "facts" }, facts.map(([name, value]) => [el("dt", {}, name),
      el("dd", {}, value.split("\n").map((line, i) => [i > 0 && el("br"), line]).flat())])));
}
