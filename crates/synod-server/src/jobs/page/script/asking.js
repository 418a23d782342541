// Asks again and again, and shows what is answered.

async function ask() {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), TIMEOUT_MS);
  try {
    const url = job ? API + "/" + job : API;
    const answer = await fetch(url, { signal: stop.signal, cache: "no-store" });
    if (answer.status === 404) return "gone";
    if (!answer.ok) throw new Error(String(answer.status));
    return await answer.json();
  } finally {
    clearTimeout(timer);
  }
}
let last = null;
let busy = true;
let begun = false;
function show(answer) {
  if (!begun) {
    // What was there without a script.
    main.replaceChildren();
    begun = true;
  }
  last = answer;
  busy = job ? showJob(answer) : showList(answer);
}
async function look() {
  let answer;
  try {
    answer = await ask();
  } catch {
    return say("no answer; what is shown may be old", true);
  }
  if (answer === "gone") {
    busy = false;
    return say("this job is no longer kept", true);
  }
  try {
    show(answer);
    say(busy ? "live" : "", false);
  } catch (error) {
    console.error(error);
    say("this page has a fault; the browser's console says which", true);
  }
}
function say(text, isLost) {
  link.textContent = text;
  link.className = isLost ? "lost" : "";
}
async function run() {
  for (;;) {
    if (document.visibilityState === "visible" || !begun) await look();
    const ended = job && last && FINAL.includes(last.job.state);
    await new Promise((next) => {
      const timer = setTimeout(next, ended ? 30000 : busy ? BUSY_MS : CALM_MS);
      document.addEventListener("visibilitychange", () => { clearTimeout(timer); next(); }, { once: true });
    });
  }
}
let resized = null;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => last && show(last), 150);
});
run();
