// How evenly the pairs of a job are spread over its partitions.

function skew(row) {
  const reduces = row.report.tasks.filter((t) => t.t.startsWith("r"));
  const shown = [reduces.length, row.report.skew, main.clientWidth];
  part("skew", main, shown, () => {
    const found = row.report.skew;
    if (!found || reduces.length < 2) return null;
    const times = found.median_pairs > 0
      ? (found.largest_pairs / found.median_pairs).toFixed(1) + " times the middle one" : "the others have none";
    const text = "Partition " + found.largest + " is the largest: " + count(found.largest_pairs) +
      " pairs, " + times + " (" + count(found.median_pairs) + ").";
    return el("section", { class: "card" }, el("h2", {}, "How even the partitions are"),
      el("p", { class: "quiet" }, text), el("div", { class: "chart" }, columns(reduces, found)));
  });
}
function columns(reduces, found) {
  const width = Math.max(260, Math.min(main.clientWidth - 40, 1140));
  const height = 116;
  const foot = 16;
  const most = Math.max(1, found.largest_pairs);
  // So many that a column would be too thin: then the largest of each few.
  const together = Math.ceil(reduces.length / Math.floor(width / 4));
  const groups = [];
  for (let at = 0; at < reduces.length; at += together) groups.push(reduces.slice(at, at + together));
  const step = Math.min(44, width / groups.length);
  const gap = step > 12 ? 4 : step > 6 ? 2 : 1;
  const y = (pairs) => (height - foot) * (1 - pairs / most) + 2;
  const drawn = svg("svg", { width, height, viewBox: "0 0 " + width + " " + height, role: "img",
    "aria-label": "Pairs by partition" });
  groups.forEach((group, index) => {
    const pairs = Math.max(...group.map((t) => t.p));
    const first = Number(group[0].t.slice(1));
    const last = Number(group[group.length - 1].t.slice(1));
    const name = first === last ? "partition " + first : "partitions " + first + " to " + last;
    drawn.append(svg("rect", { class: "column", x: (index * step + gap / 2).toFixed(1), y: y(pairs).toFixed(1),
      width: Math.max(1, step - gap).toFixed(1), height: Math.max(0.5, height - foot - y(pairs) + 2).toFixed(1), rx: 1 },
      svg("title", {}, name + ": " + count(pairs) + " pairs")));
    if (step >= 22) {
      drawn.append(svg("text", { x: (index * step + step / 2).toFixed(1), y: height - 2, "text-anchor": "middle" }, first));
    }
  });
  const end = groups.length * step;
  drawn.append(svg("line", { class: "median", x1: 0, x2: end, y1: y(found.median_pairs), y2: y(found.median_pairs) }));
  return drawn;
}
