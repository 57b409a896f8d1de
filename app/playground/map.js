// The map: the texts' vectors on their two principal axes, as SVG.

import { html, svg, walk } from "./dom.js";
import { labelOffsets } from "./labels.js";

const WIDTH = 360;
const HEIGHT = 270;
const MARGIN = 24;
// More numbers than this cannot be told apart.
const MOST_LABELS = 40;

/**
 * The map of the vectors, with the text of a point under it on hover and focus. The points are one
 * tab stop; arrow keys go from one to the next.
 * @param {{points: [number, number][], shares: [number, number]}} axes of at least 2 texts
 * @param {string[]} texts
 * @returns {HTMLElement}
 */
export function textMap({ points, shares }, texts) {
  const places = placed(points);
  const named = texts.length <= MOST_LABELS;
  const offsets = named ? labelOffsets(places, [WIDTH, HEIGHT]) : [];
  const marks = places.map((place, i) => mark(place, offsets[i], `${i + 1}: ${texts[i]}`, i));
  const axes = `M0 ${HEIGHT / 2}H${WIDTH}M${WIDTH / 2} 0V${HEIGHT}`;
  const chart = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-labelledby": "map-title" },
    svg("path", { class: "axes", d: axes }),
    ...marks,
  );
  const reading = html("p", { class: "reading", dir: "auto" });
  reading.textContent = "Point at a dot, or move with the arrow keys, to read its text.";
  const [first, second] = shares.map((share) => `${Math.round(share * 100)}%`);
  const caption =
    `Near dots are similar texts. Principal components: of what sets the vectors apart, ${first} ` +
    `lies across and ${second} up and down. The rest is not shown.`;
  const figure = html("figure", { class: "map" }, chart, reading, html("figcaption", {}, caption));
  makeReadable(figure, marks, (i) => {
    reading.textContent = `${i + 1}  ${texts[i]}`;
    reading.title = texts[i];
  });
  return figure;
}

/** One scale for both axes, so that distances can be compared in every direction. */
function placed(points) {
  const widest = (axis) => Math.max(...points.map((point) => Math.abs(point[axis])));
  const reach = Math.max(widest(0) / (WIDTH / 2 - MARGIN), widest(1) / (HEIGHT / 2 - MARGIN)) || 1;
  return points.map(([x, y]) => [WIDTH / 2 + x / reach, HEIGHT / 2 - y / reach]);
}

function mark([x, y], offset, name, i) {
  const attributes = {
    class: offset ? "point" : "point small",
    transform: `translate(${x} ${y})`,
    role: "img",
    "aria-label": name,
    tabindex: i === 0 ? 0 : -1,
    "data-text": i + 1,
  };
  if (!offset) {
    return svg("g", attributes, svg("circle", { r: 2.5 }));
  }
  const [right, down] = offset;
  const leader = `M0 0L${right} ${down}`;
  return svg(
    "g",
    attributes,
    svg("path", { d: leader, class: "reach" }),
    svg("path", { d: leader }),
    svg("circle", { r: 4.5 }),
    svg("text", { x: right, y: down }, i + 1),
  );
}

/** Listens at the figure: an <svg> that listens to the focus becomes a tab stop in Chromium. */
function makeReadable(figure, marks, read) {
  const onPoint = (event) => {
    const index = marks.indexOf(event.target.closest(".point"));
    if (index >= 0) {
      read(index);
    }
  };
  figure.addEventListener("pointerover", onPoint);
  figure.addEventListener("focusin", onPoint);
  figure.addEventListener("keydown", (event) => {
    if (event.target.matches(".point")) {
      walk(event, marks);
    }
  });
}
