"use strict";
// The page: asks /metrics every second, keeps two minutes, and shows differences.

const STEPS = 120, TABLE_STEPS = 10, PERIOD_MS = 1000, MOST_EVENTS = 50;
const scrapes = [];
const history = { attainment: {}, missed: {}, queue: { samples: [] }, slack: [] };
let slackBounds = [];
let token = "";

const at = (id) => document.getElementById(id);
const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(share > 0.995 && share < 1 ? 2 : 1)}%`);
const milliseconds = (seconds) => (seconds === null ? "–" : `${+(1000 * seconds).toPrecision(3)} ms`);

function pushed(list, value) {
  list.push(value);
  if (list.length > STEPS) list.shift();
}

function row(cells) {
  const made = document.createElement("tr");
  cells.forEach((cell, k) => {
    const box = document.createElement(k ? "td" : "th");
    if (!k) box.scope = "row";
    const { text, className, node } = typeof cell === "object" ? cell : { text: cell };
    if (className) box.className = className;
    if (node) box.append(node);
    if (text !== undefined) box.append(String(text));
    made.append(box);
  });
  return made;
}

function note(words) {
  const list = at("events");
  if (list.children.length === 1 && list.firstChild.textContent === "none yet") list.replaceChildren();
  const item = document.createElement("li");
  item.textContent = `${new Date().toLocaleTimeString()}: ${words}`;
  list.prepend(item);
  while (list.children.length > MOST_EVENTS) list.lastChild.remove();
}

function meter(share) {
  const box = document.createElement("span");
  const outer = document.createElement("span");
  outer.className = "meter";
  outer.setAttribute("aria-hidden", "true");
  const inner = document.createElement("i");
  inner.style.width = `${Math.min(100, 100 * share)}%`;
  outer.append(inner);
  box.append(outer, percent(share));
  return box;
}

function showModels(before, after) {
  const models = after.values("penstock_model_slo_seconds", "model");
  at("models").replaceChildren(...models.map((model) => {
    const seconds = (after.at - before.at) / 1000;
    const found = outcomes(before, after, { model });
    const latency = buckets(before, after, "penstock_request_latency_seconds", { model });
    const missed = MISSED.filter((cause) => found.missed[cause]).map((cause) => `${found.missed[cause]} ${cause}`);
    const isGood = found.share === null || found.share >= 0.99;
    return row([
      model,
      { text: percent(found.share), className: `n ${isGood ? "good" : "bad"}` },
      { text: (found.total / seconds).toFixed(1), className: "n" },
      { text: after.sum("penstock_model_planned_requests_per_second", { model }).toFixed(1), className: "n" },
      { text: milliseconds(quantile(latency, 0.5)), className: "n" },
      { text: milliseconds(quantile(latency, 0.99)), className: "n" },
      { text: milliseconds(after.sum("penstock_model_slo_seconds", { model })), className: "n" },
      missed.join(", ") || "none",
    ]);
  }));
}

function showPools(before, after) {
  const seconds = (after.at - before.at) / 1000;
  const serves = (pool) => after.all("penstock_stage_info", { pool })
    .map(({ labels }) => `${labels.model} p${labels.pipeline} s${labels.stage}`).join(", ");
  at("pools").replaceChildren(...after.all("penstock_pool_workers").map(({ labels, value }) => {
    const wanted = { pool: labels.pool };
    const up = after.sum("penstock_pool_workers_up", wanted);
    const busy = growth(before, after, "penstock_pool_busy_seconds_total", wanted) / seconds / Math.max(value, 1);
    return row([
      labels.pool,
      labels.share && labels.share !== "1" ? `${labels.device_class} 1/${labels.share}` : labels.device_class,
      serves(labels.pool),
      { text: `${up} of ${value}`, className: up < value ? "n bad" : "n" },
      { node: meter(busy) },
      { text: after.sum("penstock_pool_worker_failures_total", wanted), className: "n" },
      { text: after.sum("penstock_batch_failures_total", wanted), className: "n" },
    ]);
  }));
}

function noteEvents(before, after) {
  for (const { labels, value } of after.all("penstock_pool_workers_up")) {
    const wanted = { pool: labels.pool };
    const then = before.sum("penstock_pool_workers_up", wanted);
    if (value < then) note(`pool ${labels.pool} on ${labels.device_class} lost ${then - value} of ${then} workers`);
    if (value > then) note(`pool ${labels.pool} on ${labels.device_class} has ${value - then} more workers: ${value}`);
  }
  const plan = (scrape) => scrape.all("penstock_stage_info").map(({ labels }) => JSON.stringify(labels)).sort().join();
  if (plan(before) && plan(before) !== plan(after)) note("another plan is served");
  if (after.sum("penstock_requests_total") < before.sum("penstock_requests_total")) note("the server was started anew");
}

function keepHistory(before, after) {
  const seconds = (after.at - before.at) / 1000;
  for (const model of after.values("penstock_model_slo_seconds", "model")) {
    const found = outcomes(before, after, { model });
    pushed(history.attainment[model] ||= [], found.share === null ? null : 100 * found.share);
  }
  const all = outcomes(before, after);
  for (const cause of MISSED) pushed(history.missed[cause] ||= [], all.missed[cause] / seconds);
  pushed(history.queue.samples, after.sum("penstock_samples_in_flight"));
  const slack = buckets(before, after, "penstock_request_slack_seconds", {});
  slackBounds = slack.map(({ bound }) => bound);
  pushed(history.slack, slack.map(({ count }) => count));
}

function showCharts() {
  const last = Object.entries(history.attainment).map(([model, values]) => {
    const value = values[values.length - 1];
    return `${model} ${value === null ? "had no request" : `${value.toFixed(1)}%`}`;
  });
  lineChart(at("attainment"), `Met SLO in the last second: ${last.join(", ")}`, history.attainment, STEPS, 0, 100,
    (v) => v.toFixed(0));
  const shown = Object.fromEntries(Object.entries(history.missed).filter(([, values]) => values.some((v) => v > 0)));
  stackedBars(at("missed"), `Missed by cause in the last two minutes: ${Object.keys(shown).join(", ") || "none"}`, shown, STEPS,
    (v) => v.toFixed(v < 10 ? 1 : 0));
  const queue = history.queue.samples;
  lineChart(at("queue"), `${queue[queue.length - 1]} samples wait or run`, history.queue, STEPS, 0, Math.max(1, ...queue),
    (v) => +v.toFixed(v < 10 ? 1 : 0));
  heatMap(at("slack"), "Slack of results by second", history.slack, slackBounds, STEPS);
}

async function step() {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch("metrics", { headers, cache: "no-store" });
  at("token-form").hidden = answer.status !== 401;
  if (!answer.ok) throw new Error(answer.status === 401 ? "a token is needed" : `status ${answer.status}`);
  const scrape = new Scrape(parseMetrics(await answer.text()), performance.now());
  scrapes.push(scrape);
  if (scrapes.length > TABLE_STEPS + 1) scrapes.shift();
  at("status").textContent = `live, ${new Date().toLocaleTimeString()}`;
  at("status").className = "";
  if (scrapes.length < 2) return;
  const before = scrapes[scrapes.length - 2];
  noteEvents(before, scrape);
  keepHistory(before, scrape);
  showModels(scrapes[0], scrape);
  showPools(scrapes[0], scrape);
  showCharts();
}

async function run() {
  try {
    if (!document.hidden) await step();
  } catch (problem) {
    at("status").textContent = `no answer from the server: ${problem.message}`;
    at("status").className = "bad";
  }
  setTimeout(run, PERIOD_MS);
}

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value;
});
run();
