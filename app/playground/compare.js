// Compare texts: heat maps, a map and nearest texts, which follow every change.
//
// 1. A change supersedes what is under way, which is aborted and never shown.
// 2. Vectors come at full width; another size or order asks the service nothing.

import { embed, Refusal } from "./api.js";
import * as controls from "./controls.js";
import { byId, html } from "./dom.js";
import { DIFFERENCE, heatTable, SIMILARITY, written } from "./heatmap.js";
import { textMap } from "./map.js";
import { counted } from "./notices.js";
import { heatRaster } from "./raster.js";

// Up to so many texts cells have their numbers; more are pixels.
const MOST_CELLS = 7;
const NEAREST = 5;

/**
 * @typedef {object} Result
 * @property {string[]} texts
 * @property {Float32Array[]} plain
 * @property {Float32Array[] | null} late where late chunking is on
 * @property {string} note what it took
 */

/** @type {Result | null} */
export let result = null;

let flight = new AbortController();
let worker = null;
/** The vectors that are here, and the request that they answer, without its size. */
let gathered = null;
let asked = "";
let computed = null;
/** Whether the order of the texts is the user's to say from now on. */
let ordered = false;

const wide = ({ dimensions: _, ...request }) => JSON.stringify(request);

/**
 * Show what the form says, with new vectors where it needs them.
 * @param {object} info what is served
 */
export async function compare(info) {
  flight.abort();
  flight = new AbortController();
  const { signal } = flight;
  const request = controls.request(info.name);
  byId("texts-counted").textContent = counted(request.input.length, "text");
  try {
    check(request, info);
    byId("compare").setAttribute("aria-busy", "true");
    if (wide(request) !== asked) {
      const answered = await gather(request, signal);
      signal.throwIfAborted();
      [gathered, asked] = [answered, wide(request)];
    }
    const sets = [gathered.plain, ...(gathered.late ? [gathered.late] : [])];
    const found = await compute(sets, request.dimensions, signal);
    // Together: until then what is shown, and is pointed at, is of before.
    [result, computed] = [gathered, found];
    if (!ordered) {
      byId("clusters").checked = result.texts.length > MOST_CELLS;
    }
    draw();
  } catch (error) {
    if (!signal.aborted) {
      flight.abort();
      byId("compare").classList.add("earlier");
      throw error;
    }
  } finally {
    if (signal === flight.signal) {
      byId("compare").removeAttribute("aria-busy");
    }
  }
}

function check({ input }, info) {
  if (input.length < 2) {
    throw new Refusal("It takes two texts to compare: write one a line, or take the example.");
  }
  if (input.length > info.max_inputs) {
    const [most, here] = [info.max_inputs, input.length].map((each) => each.toLocaleString("en"));
    throw new Refusal(`The service takes ${most} texts at once; here are ${here}.`);
  }
}

async function gather({ dimensions: _, late_chunking_overlap: overlap, ...request }, signal) {
  const late = request.late_chunking;
  const [plain, joined] = await Promise.all([
    embed({ ...request, late_chunking: false }, signal),
    late && embed({ ...request, ...(overlap && { late_chunking_overlap: overlap }) }, signal),
  ]);
  const answers = late ? [plain, joined] : [plain];
  return {
    texts: request.input,
    plain: plain.vectors,
    late: late ? joined.vectors : null,
    note: noteOf(answers),
  };
}

/** What answers took, and what was cut. */
function noteOf(answers) {
  const tokens = answers.reduce((sum, answer) => sum + answer.tokens, 0);
  const ms = Math.round(Math.max(...answers.map((answer) => answer.ms)));
  const named = new Set(answers.flatMap(({ truncated }) => truncated));
  const counts = answers.map(({ truncated, more }) => truncated.length + more);
  const cut = Math.max(named.size, ...counts);
  // With late chunking others may be cut than without, and the rest has no numbers.
  const least = answers.length > 1 && answers.some(({ more }) => more > 0) ? " or more" : "";
  const said = cut ? ` ${counted(cut, "text")}${least} cut at the limit.` : "";
  return `${counted(tokens, "token")}, ${ms} ms.${said}`;
}

/** @returns {Promise<import("./worker.js").Computed>} */
function compute(sets, size, signal) {
  worker?.terminate();
  const own = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker = own;
  return new Promise((resolve, reject) => {
    own.addEventListener("message", ({ data }) => resolve(data));
    own.addEventListener("error", (event) => reject(new Error(event.message)));
    signal.addEventListener("abort", () => {
      own.terminate();
      reject(signal.reason);
    });
    own.postMessage({ sets, size });
  });
}

/** Draw what was computed; the order and the colours may have changed. */
export function draw() {
  if (!computed) {
    return;
  }
  const { texts, late, note } = result;
  byId("compare").classList.remove("earlier");
  const order = byId("clusters").checked ? computed.order : [...texts.keys()];
  const few = texts.length <= MOST_CELLS;
  const maps = heatMaps(late !== null).map((map) => ({ ...map, order, texts }));
  byId("heat-maps").replaceChildren(
    ...maps.map((map) => (few ? heatTable(map) : heatRaster(map, readPair, showNearest))),
  );
  byId("maps").classList.toggle("one", maps.length === 1);
  byId("lead").textContent =
    "How alike two texts are: 1 is the same, 0 or less is unrelated. A colour means the same " +
    `number in every map. ${note}`;
  byId("pair").textContent = "Point at a pair to read it; click it for the nearest texts.";
  byId("map-title").textContent = late ? "Map, with late chunking" : "Map";
  byId("map").replaceChildren(textMap(computed, texts));
  showNearest(0);
}

function heatMaps(late) {
  const [plain, joined] = computed.matrices;
  if (!late) {
    return [{ title: "Cosine", matrix: plain, scale: SIMILARITY }];
  }
  const change = joined.map((value, i) => value - plain[i]);
  return [
    { title: "Without", matrix: plain, scale: SIMILARITY },
    { title: "With late chunking", matrix: joined, scale: SIMILARITY },
    { title: "Difference", matrix: change, scale: DIFFERENCE },
  ];
}

function readPair(i, j) {
  const { texts } = result;
  const value = computed.matrices.at(-1)[i * texts.length + j];
  const name = (text) =>
    html("span", { class: "excerpt", dir: "auto" }, `${text + 1}  ${texts[text]}`);
  byId("pair").replaceChildren(html("b", {}, written(value)), name(i), name(j));
}

/** Keep the order of the texts as it is chosen, whatever their number. */
export function keepOrder() {
  ordered = true;
}

/** Say which texts are nearest to one. */
function showNearest(text) {
  const { texts } = result;
  const row = computed.matrices.at(-1).subarray(text * texts.length, (text + 1) * texts.length);
  const others = [...texts.keys()].filter((other) => other !== text);
  const near = others.sort((one, two) => row[two] - row[one]).slice(0, NEAREST);
  const items = near.map((other) => {
    const excerpt = html(
      "span",
      { class: "excerpt", dir: "auto" },
      `${other + 1}  ${texts[other]}`,
    );
    return html("li", { "data-text": other + 1 }, html("b", {}, written(row[other])), excerpt);
  });
  const own = html("p", { class: "excerpt", dir: "auto" }, `${text + 1}  ${texts[text]}`);
  byId("near").replaceChildren(own, html("ol", {}, ...items));
}

/** What is pointed at is marked in all views and read out; a click shows the nearest texts. */
export function linkTexts() {
  const views = byId("compared");
  const link = (event) => {
    const { text, pair } = event.target.closest("[data-text], [data-pair]")?.dataset ?? {};
    const numbers = (text ?? pair ?? "").split(" ");
    const marked = numbers.map((number) => `[data-text="${number}"]`).join();
    views.querySelectorAll(".linked").forEach((element) => element.classList.remove("linked"));
    views.querySelectorAll(marked).forEach((element) => element.classList.add("linked"));
    if (pair) {
      readPair(...numbers.map((number) => number - 1));
    }
  };
  for (const kind of ["pointerover", "pointerleave", "focusin"]) {
    views.addEventListener(kind, link);
  }
  views.addEventListener("click", (event) => {
    const { near, text, pair } =
      event.target.closest("[data-near], [data-pair], [data-text]")?.dataset ?? {};
    if (near ?? text ?? pair) {
      showNearest(near === undefined ? Number((text ?? pair).split(" ")[0]) - 1 : Number(near));
    }
  });
  byId("clusters").addEventListener("change", () => {
    keepOrder();
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
