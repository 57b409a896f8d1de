// Heat maps: tables of N x N numbers, coloured. The stylesheet mixes the colours from --share, so
// that light and dark need nothing here.

import { html } from "./dom.js";

/**
 * @typedef {object} Scale
 * @property {string} kind names the colours: "similarity" or "difference"
 * @property {number} low
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

/**
 * Colours over the range of all pairs of different texts. A text with itself is always 1 and would
 * press everything else into one shade. Maps that are to be compared share one scale.
 * @param {...number[][]} matrices
 * @returns {Scale}
 */
export function similarityScale(...matrices) {
  const values = matrices.flatMap(pairs);
  return { kind: "similarity", low: Math.min(...values), high: Math.max(...values), written };
}

/**
 * Diverging colours, as far up as down, so that 0 is always the neutral one.
 * @param {number[][]} matrix
 * @returns {Scale}
 */
export function differenceScale(matrix) {
  const most = Math.max(...pairs(matrix).map(Math.abs));
  return { kind: "difference", low: -most, high: most, written: writtenChange };
}

function pairs(matrix) {
  return matrix.flatMap((row, i) => row.filter((_, j) => j !== i));
}

/**
 * One heat map.
 * @param {string} title
 * @param {number[][]} matrix
 * @param {string[]} texts
 * @param {Scale} scale
 * @returns {HTMLElement}
 */
export function heatMap(title, matrix, texts, scale) {
  const label = html("span", { id: `heat-map-${title.toLowerCase().replaceAll(" ", "-")}` }, title);
  const headers = texts.map((text, j) => columnHeader(text, j));
  const rows = matrix.map((row, i) => {
    const cells = row.map((value, j) => cell(value, [i, j], scale));
    return html("tr", {}, rowHeader(texts[i], i), ...cells);
  });
  const table = html(
    "table",
    { class: scale.kind, "aria-labelledby": label.id },
    html("thead", {}, html("tr", {}, html("td"), ...headers)),
    html("tbody", {}, ...rows),
  );
  const frame = { class: "scroller", tabindex: 0, role: "region", "aria-labelledby": label.id };
  const caption = html("figcaption", {}, label, legend(scale));
  return html("figure", { class: "heat-map" }, caption, html("div", frame, table));
}

function columnHeader(text, j) {
  return html("th", { scope: "col", title: text, "data-text": j + 1 }, j + 1);
}

function rowHeader(text, i) {
  return html(
    "th",
    { scope: "row", title: text, "data-text": i + 1 },
    html("span", { class: "number" }, i + 1),
    html("span", { class: "excerpt", dir: "auto" }, text),
  );
}

function cell(value, [i, j], { kind, low, high, written: write }) {
  const td = html("td", { title: value, "data-pair": `${i + 1} ${j + 1}` }, write(value));
  if (i === j) {
    td.className = "itself";
    return td;
  }
  const share = high > low ? (value - low) / (high - low) : 0.5;
  if (kind === "difference") {
    td.className = share < 0.5 ? "less" : "more";
    td.style.setProperty("--share", Math.abs(2 * share - 1));
  } else {
    td.style.setProperty("--share", share);
  }
  return td;
}

function legend({ kind, low, high, written: write }) {
  const bar = html("span", { class: `bar ${kind}`, "aria-hidden": "true" });
  return html("span", { class: "legend" }, write(low), bar, write(high));
}
