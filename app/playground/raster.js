// Heat maps of many texts: one pixel a pair on a canvas. The pair under the pointer, or where arrow
// keys have led, is read out beside it.

import { html } from "./dom.js";
import { caption, nameOf, share } from "./heatmap.js";

const SHADES = 256;
const COLORS = {
  similarity: ["--heat-low", "--heat-high"],
  difference: ["--heat-less", "--heat-none", "--heat-more"],
};

/**
 * A heat map without numbers.
 * @param {import("./heatmap.js").HeatMap} map
 * @param {(i: number, j: number) => void} read is told the texts of the pair
 * @param {(i: number) => void} choose is told the text of the row that was pressed
 * @returns {HTMLElement}
 */
export function heatRaster(map, read, choose) {
  const { title, texts, order, scale } = map;
  const n = texts.length;
  const name = nameOf(title);
  const canvas = html("canvas", { width: n, height: n, tabindex: 0, role: "img" });
  canvas.setAttribute(
    "aria-label",
    `${title}: ${n} times ${n} texts. Arrow keys go from pair to pair, Enter shows the nearest ` +
      "texts.",
  );
  const cursor = html("div", { class: "cursor", "aria-hidden": "true" });
  const frame = html("div", { class: "raster" }, canvas, cursor);
  paint(canvas, map);
  let [row, column] = [0, 0];
  const go = (i, j) => {
    [row, column] = [i, j].map((place) => Math.min(Math.max(place, 0), n - 1));
    frame.style.setProperty("--row", row / n);
    frame.style.setProperty("--column", column / n);
    frame.style.setProperty("--step", 1 / n);
    frame.style.setProperty("--shown", "block");
    read(order[row], order[column]);
  };
  canvas.addEventListener("pointermove", (event) => go(...pairAt(event, canvas, n)));
  canvas.addEventListener("pointerdown", (event) => go(...pairAt(event, canvas, n)));
  canvas.addEventListener("focus", () => go(row, column));
  canvas.addEventListener("click", () => choose(order[row]));
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const step = steps[event.key];
    if (step) {
      event.preventDefault();
      go(row + step[0], column + step[1]);
    } else if (event.key === "Enter") {
      choose(order[row]);
    }
  });
  return html("figure", { class: "heat-map" }, caption(name, scale), frame);
}

function pairAt(event, canvas, n) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  const place = (distance, length) => Math.floor((distance / length) * n);
  return [place(event.clientY - top, height), place(event.clientX - left, width)];
}

function paint(canvas, { matrix, order, scale }) {
  const n = order.length;
  const shades = palette(scale.kind);
  const image = new ImageData(n, n);
  const pixels = new Uint32Array(image.data.buffer);
  order.forEach((i, row) => {
    order.forEach((j, column) => {
      const place = Math.round(share(matrix[i * n + j], scale) * (SHADES - 1));
      pixels[row * n + column] = shades[place];
    });
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** The stylesheet's colours, mixed as the stylesheet mixes them. */
function palette(kind) {
  const style = getComputedStyle(document.documentElement);
  const colors = COLORS[kind].map((name) => style.getPropertyValue(name));
  const pen = new OffscreenCanvas(SHADES, 1).getContext("2d", { willReadFrequently: true });
  for (let shade = 0; shade < SHADES; shade += 1) {
    const place = (shade / (SHADES - 1)) * (colors.length - 1);
    const low = Math.min(Math.floor(place), colors.length - 2);
    const part = (place - low) * 100;
    pen.fillStyle = `color-mix(in oklab, ${colors[low + 1]} ${part}%, ${colors[low]})`;
    pen.fillRect(shade, 0, 1, 1);
  }
  return new Uint32Array(pen.getImageData(0, 0, SHADES, 1).data.buffer);
}
