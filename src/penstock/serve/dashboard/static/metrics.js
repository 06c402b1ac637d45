"use strict";
// Reading of /metrics: the text format of Prometheus into samples, and samples into figures.

/** The samples of a page: an array of {name, labels, value}. */
function parseMetrics(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    if (!line || line.startsWith("#")) continue;
    const match = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match) continue;
    const labels = {};
    for (const pair of (match[2] || "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[pair[1]] = pair[2].replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    }
    samples.push({ name: match[1], labels, value: Number(match[3].replace("+Inf", "Infinity")) });
  }
  return samples;
}

/** One scrape, indexed: `sum(name, wanted)` adds up the samples whose labels agree with `wanted`. */
class Scrape {
  constructor(samples, at) {
    this.at = at;
    this.byName = new Map();
    for (const sample of samples) {
      if (!this.byName.has(sample.name)) this.byName.set(sample.name, []);
      this.byName.get(sample.name).push(sample);
    }
  }
  all(name, wanted = {}) {
    const keys = Object.keys(wanted);
    return (this.byName.get(name) || []).filter((s) => keys.every((key) => s.labels[key] === wanted[key]));
  }
  sum(name, wanted = {}) {
    return this.all(name, wanted).reduce((total, sample) => total + sample.value, 0);
  }
  values(name, label) {
    return [...new Set((this.byName.get(name) || []).map((sample) => sample.labels[label]))];
  }
}

/** How much a counter grew; from 0 if the server was started anew in between. */
function growth(before, after, name, wanted) {
  const now = after.sum(name, wanted);
  const then = before.sum(name, wanted);
  return now >= then ? now - then : now;
}

/** Counts by bucket between two scrapes, as [{bound, count}], not cumulated. */
function buckets(before, after, name, wanted) {
  const bounds = new Map();
  for (const sample of after.all(name + "_bucket", wanted)) {
    const bound = sample.labels.le;
    bounds.set(bound, growth(before, after, name + "_bucket", { ...wanted, le: bound }));
  }
  const sorted = [...bounds].map(([le, total]) => ({ bound: Number(le.replace("+Inf", "Infinity")), total }));
  sorted.sort((a, b) => a.bound - b.bound);
  return sorted.map(({ bound, total }, k) => ({ bound, count: total - (k ? sorted[k - 1].total : 0) }));
}

/** The quantile of a histogram, linear within its bucket; null without requests. */
function quantile(counts, share) {
  const total = counts.reduce((sum, { count }) => sum + count, 0);
  if (!total) return null;
  let rest = share * total;
  let low = 0;
  for (const { bound, count } of counts) {
    if (rest <= count && count > 0) return Number.isFinite(bound) ? low + (bound - low) * (rest / count) : low;
    rest -= count;
    if (Number.isFinite(bound)) low = bound;
  }
  return low;
}

const MISSED = ["late", "dropped:early", "dropped:deadline", "error", "refused"];

/** Requests of a model between two scrapes: met, missed by cause, and the share that met, null without any. */
function outcomes(before, after, wanted = {}) {
  const met = growth(before, after, "penstock_requests_total", { ...wanted, outcome: "met" });
  const missed = Object.fromEntries(
    MISSED.map((outcome) => [outcome, growth(before, after, "penstock_requests_total", { ...wanted, outcome })]));
  const total = met + Object.values(missed).reduce((a, b) => a + b, 0);
  return { met, missed, total, share: total ? met / total : null };
}

if (typeof module !== "undefined") module.exports = { parseMetrics, Scrape, growth, buckets, quantile, outcomes, MISSED };
