// What the answers show: facts, heat maps, tokens, map.

import { byId, html } from "./dom.js";
import { differenceScale, heatMap, similarityScale } from "./heatmap.js";
import { textMap } from "./map.js";
import { cosines, minus } from "./vectors.js";

/**
 * All that one press of Embed brought in.
 * @typedef {object} Answers
 * @property {import("./api.js").EmbeddingsRequest} request
 * @property {import("./api.js").Embedded} plain without late chunking
 * @property {import("./api.js").Embedded | null} late with it, where it is switched on
 * @property {{counts: number[], total: number}} tokens
 */

/**
 * Show answers in place of earlier ones.
 * @param {Answers} answers
 */
export function show(answers) {
  const { request, plain, late, tokens } = answers;
  byId("facts").replaceChildren(...facts(answers));
  byId("tokens").replaceChildren(tokenTable(request.input, tokens));
  const alone = request.input.length === 1;
  byId("similarity-lead").textContent = alone
    ? "One text has nothing to be compared with: add a second line."
    : lead(late);
  byId("heat-maps").style.setProperty("--texts", request.input.length);
  byId("heat-maps").replaceChildren(...(alone ? [] : heatMaps(request.input, plain, late)));
  byId("map-title").textContent = late ? "Map, with late chunking" : "Map";
  byId("map").replaceChildren(
    alone
      ? html("p", { class: "lead" }, "No map: it takes two texts to have a distance.")
      : textMap((late ?? plain).vectors, request.input),
  );
  byId("answers").hidden = false;
}

function lead(late) {
  return late
    ? "Cosine of each pair of vectors, without late chunking, with it, and what it changed."
    : "Cosine of each pair of vectors. Colours run from the least similar pair to the most.";
}

function heatMaps(texts, plain, late) {
  const without = cosines(plain.vectors);
  if (!late) {
    return [heatMap("Cosine", without, texts, similarityScale(without))];
  }
  const joined = cosines(late.vectors);
  const change = minus(joined, without);
  const scale = similarityScale(without, joined);
  return [
    heatMap("Without", without, texts, scale),
    heatMap("With late chunking", joined, texts, scale),
    heatMap("Difference", change, texts, differenceScale(change)),
  ];
}

function facts({ request, plain, late, tokens }) {
  const { input, dimensions } = request;
  const times = late
    ? [time("Without late chunking", plain), time("With late chunking", late)]
    : [time("Answered in", plain)];
  return [
    fact("Task", request.task ?? "none"),
    fact("Vectors", `${input.length} \u00d7 ${dimensions}`),
    fact("Tokens", tokens.total.toLocaleString("en")),
    ...times,
  ];
}

function time(label, { ms, processingMs }) {
  return fact(label, `${Math.round(ms)} ms`, `${processingMs} ms in the service`);
}

function fact(label, value, aside = "") {
  const said = aside ? [value, html("small", {}, aside)] : [value];
  return html("div", {}, html("dt", {}, label), html("dd", {}, ...said));
}

function tokenTable(texts, { counts, total }) {
  const most = Math.max(...counts);
  const rows = texts.map((text, i) => {
    const count = html("td", { class: "count" }, counts[i].toLocaleString("en"));
    count.style.setProperty("--share", counts[i] / most);
    const excerpt = html("td", { class: "excerpt", title: text, dir: "auto" }, text);
    return html("tr", { "data-text": i + 1 }, html("th", { scope: "row" }, i + 1), excerpt, count);
  });
  const header = ["#", "Text", "Tokens"].map((name) => html("th", { scope: "col" }, name));
  const sum = html("td", { class: "count" }, total.toLocaleString("en"));
  const scroller = { class: "scroller", tabindex: 0, role: "region" };
  const table = html(
    "table",
    { class: "tokens", "aria-labelledby": "tokens-title" },
    html("thead", {}, html("tr", {}, ...header)),
    html("tbody", {}, ...rows),
    html("tfoot", {}, html("tr", {}, html("th", { scope: "row", colspan: 2 }, "Total"), sum)),
  );
  return html("div", { ...scroller, "aria-labelledby": "tokens-title" }, table);
}

/**
 * Whatever belongs to the text or pair under the pointer or the focus is marked in all views.
 * @param {HTMLElement} views
 */
export function linkViews(views) {
  const link = (event) => {
    const { text, pair } = event.target.closest("[data-text], [data-pair]")?.dataset ?? {};
    const numbers = (text ?? pair ?? "").split(" ");
    const marked = numbers.map((number) => `[data-text="${number}"]`).join();
    views.querySelectorAll(".linked").forEach((element) => element.classList.remove("linked"));
    views.querySelectorAll(marked).forEach((element) => element.classList.add("linked"));
  };
  views.addEventListener("pointerover", link);
  views.addEventListener("pointerleave", link);
  views.addEventListener("focusin", link);
}
