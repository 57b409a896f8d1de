// Heat maps of few texts: tables of N x N numbers, coloured. The stylesheet mixes the colours from
// --share, so that light and dark need nothing here.

import { html } from "./dom.js";

/**
 * Colours on a fixed scale, so that the same colour means the same number in every map.
 * @typedef {object} Scale
 * @property {"similarity" | "difference"} kind names the colours
 * @property {number} low what has the first colour; lower numbers have it, too
 * @property {number} high
 * @property {(value: number) => string} written
 */

/**
 * A number at 2 decimals, with a true minus and no negative zero.
 * @param {number} value
 * @returns {string}
 */
export function written(value) {
  const digits = Math.abs(value).toFixed(2);
  return value < 0 && Number(digits) !== 0 ? `\u2212${digits}` : digits;
}

/** The same for a change, which always shows its direction. */
function writtenChange(value) {
  return value > 0 && Number(value.toFixed(2)) !== 0 ? `+${written(value)}` : written(value);
}

/** @type {Scale} */
export const SIMILARITY = { kind: "similarity", low: 0, high: 1, written };
/** @type {Scale} Diverging: 0 is the neutral colour. */
export const DIFFERENCE = { kind: "difference", low: -0.5, high: 0.5, written: writtenChange };

/**
 * Where a number lies on a scale, from 0 to 1.
 * @param {number} value
 * @param {Scale} scale
 */
export function share(value, { low, high }) {
  return Math.min(Math.max((value - low) / (high - low), 0), 1);
}

/**
 * @typedef {object} HeatMap
 * @property {string} title
 * @property {Float32Array} matrix (N * N)
 * @property {number[]} order of the texts along both sides
 * @property {string[]} texts
 * @property {Scale} scale
 */

/**
 * A heat map with its numbers.
 * @param {HeatMap} map
 * @returns {HTMLElement}
 */
export function heatTable({ title, matrix, order, texts, scale }) {
  const name = nameOf(title);
  const headers = order.map((j) => {
    return html("th", { scope: "col", title: texts[j], "data-text": j + 1 }, j + 1);
  });
  const rows = order.map((i) => {
    const cells = order.map((j) => cell(matrix[i * texts.length + j], [i, j], scale));
    return html("tr", {}, rowHeader(texts[i], i), ...cells);
  });
  const table = html(
    "table",
    { class: scale.kind, "aria-labelledby": name.id },
    html("thead", {}, html("tr", {}, html("td"), ...headers)),
    html("tbody", {}, ...rows),
  );
  table.style.setProperty("--texts", texts.length);
  return html("figure", { class: "heat-map" }, caption(name, scale), table);
}

/**
 * The name of a heat map, by which it is labelled.
 * @param {string} title
 */
export function nameOf(title) {
  return html("span", { id: `heat-map-${title.toLowerCase().replaceAll(" ", "-")}` }, title);
}

/**
 * What stands above a heat map: its name and its scale.
 * @param {HTMLElement} name
 * @param {Scale} scale
 */
export function caption(name, { kind, low, high, written: write }) {
  const bar = html("span", { class: `scale ${kind}`, "aria-hidden": "true" });
  return html(
    "figcaption",
    {},
    name,
    html("span", { class: "legend" }, write(low), bar, write(high)),
  );
}

function rowHeader(text, i) {
  const name = `Text ${i + 1}: its nearest texts`;
  const own = { type: "button", "data-near": i, title: text, "aria-label": name };
  const button = html("button", own, i + 1);
  return html("th", { scope: "row", "data-text": i + 1 }, button);
}

function cell(value, [i, j], scale) {
  const td = html("td", { "data-pair": `${i + 1} ${j + 1}` }, scale.written(value));
  if (i === j) {
    td.className = "itself";
    return td;
  }
  const place = share(value, scale);
  if (scale.kind === "difference") {
    td.className = place < 0.5 ? "less" : "more";
    td.style.setProperty("--share", Math.abs(2 * place - 1));
  } else {
    td.style.setProperty("--share", place);
  }
  return td;
}
