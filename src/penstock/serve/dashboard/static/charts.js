"use strict";
// Small charts as SVG. Each takes its element and series of equal length, oldest first; null is a gap.

// HEAT_LEFT: labels such as "37.5 ms" need more room than numbers.
const WIDTH = 420, HEIGHT = 150, LEFT = 40, HEAT_LEFT = 54, BOTTOM = 18, TOP = 8;
const NS = "http://www.w3.org/2000/svg";
const COLOURS = ["var(--c0)", "var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)"];
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "1 2", "12 3"];

function svgElement(name, attributes, parent, text) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function frame(element, label, low, high, format) {
  const svg = svgElement("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  for (const share of [0, 0.5, 1]) {
    const y = HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP);
    svgElement("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y, y2: y }, svg);
    svgElement("text", { x: LEFT - 5, y: y + 4, "text-anchor": "end" }, svg, format(low + share * (high - low)));
  }
  svgElement("text", { x: LEFT, y: HEIGHT - 3 }, svg, "2 minutes ago");
  svgElement("text", { x: WIDTH, y: HEIGHT - 3, "text-anchor": "end" }, svg, "now");
  element.replaceChildren(svg);
  return svg;
}

function legend(element, names) {
  if (names.length < 2) return;
  const list = document.createElement("div");
  list.className = "legend";
  names.forEach((name, k) => {
    const item = document.createElement("span");
    const key = document.createElement("span");
    key.className = "key";
    key.style.background = COLOURS[k % COLOURS.length];
    item.append(key, name);
    list.append(item);
  });
  element.append(list);
}

function lineChart(element, label, series, steps, low, high, format) {
  const svg = frame(element, label, low, high, format);
  Object.values(series).forEach((values, k) => {
    let path = "";
    let isDown = false;
    values.forEach((value, at) => {
      if (value === null) { isDown = false; return; }
      const x = LEFT + ((at + steps - values.length) / Math.max(steps - 1, 1)) * (WIDTH - LEFT);
      const y = HEIGHT - BOTTOM - (Math.min(Math.max(value, low), high) - low) / (high - low || 1) * (HEIGHT - BOTTOM - TOP);
      path += `${isDown ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      isDown = true;
    });
    svgElement("path", { class: "line", d: path || "M0 0", stroke: COLOURS[k % COLOURS.length],
      "stroke-dasharray": DASHES[k % DASHES.length] }, svg);
  });
  legend(element, Object.keys(series));
}

function stackedBars(element, label, series, steps, format) {
  const names = Object.keys(series);
  const count = names.length ? series[names[0]].length : 0;
  const totals = Array.from({ length: count }, (_, at) => names.reduce((sum, name) => sum + (series[name][at] || 0), 0));
  const high = Math.max(1, ...totals);
  const svg = frame(element, label, 0, high, format);
  const wide = (WIDTH - LEFT) / steps;
  for (let at = 0; at < count; at++) {
    let y = HEIGHT - BOTTOM;
    names.forEach((name, k) => {
      const tall = ((series[name][at] || 0) / high) * (HEIGHT - BOTTOM - TOP);
      if (!tall) return;
      y -= tall;
      svgElement("rect", { x: LEFT + (at + steps - count) * wide, y, width: wide, height: tall,
        fill: COLOURS[(k + 1) % COLOURS.length] }, svg);
    });
  }
  legend(element, ["", ...names]);
  const first = element.querySelector(".legend span");
  if (first) first.remove();
}

/** `columns`: for each step the counts by bucket; `bounds`: the buckets' upper bounds in seconds. */
function heatMap(element, label, columns, bounds, steps) {
  const svg = svgElement("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  const most = Math.max(1, ...columns.flat());
  const wide = (WIDTH - HEAT_LEFT) / steps;
  const tall = (HEIGHT - BOTTOM - TOP) / Math.max(bounds.length, 1);
  columns.forEach((counts, at) => counts.forEach((count, k) => {
    if (!count) return;
    svgElement("rect", { x: HEAT_LEFT + (at + steps - columns.length) * wide, y: HEIGHT - BOTTOM - (k + 1) * tall,
      width: wide + 0.3, height: tall, fill: COLOURS[0], "fill-opacity": (0.15 + 0.85 * count / most).toFixed(2) }, svg);
  }));
  bounds.forEach((bound, k) => {
    if (k % 4 === 0) {
      const words = Number.isFinite(bound) ? (bound < 1 ? `${+(bound * 1000).toPrecision(3)} ms` : `${+bound.toPrecision(3)} s`) : "more";
      svgElement("text", { x: HEAT_LEFT - 4, y: HEIGHT - BOTTOM - k * tall, "text-anchor": "end" }, svg, words);
    }
  });
  svgElement("text", { x: HEAT_LEFT, y: HEIGHT - 3 }, svg, "2 minutes ago");
  svgElement("text", { x: WIDTH, y: HEIGHT - 3, "text-anchor": "end" }, svg, "now");
  element.replaceChildren(svg);
}
