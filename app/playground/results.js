// What an Ask shows: the documents with their chunks tinted, and the two ranked lists.
//
// A chunk is the same one everywhere by its data-chunk. Each is a button: pressed, it is the
// answer.

import { html, walk } from "./dom.js";
import { written } from "./heatmap.js";

/** How many rows a list begins with. */
export const FIRST = 5;
/** More rows than this are not read, and would make the page slow. */
export const MOST_ROWS = 200;

/**
 * The documents, each chunk as dark as it is similar.
 * @param {import("./ask.js").Result} result
 * @param {import("./ranking.js").Ranking} ranking
 * @param {number | null} answer
 * @returns {HTMLElement[]}
 */
export function tintedDocuments({ documents, chunks }, { scores, ranks }, answer) {
  const [low, high] = [least(scores), -least(scores.map((score) => -score))];
  const tinted = (chunk, i) => {
    const span = html("span", { ...buttonOf(i, answer), class: "chunk" }, chunk.text);
    span.title = `rank ${ranks[i]}, similarity ${written(scores[i])} with late chunking`;
    span.tabIndex = i === 0 ? 0 : -1;
    span.style.setProperty("--share", high > low ? (scores[i] - low) / (high - low) : 1);
    return span;
  };
  return documents.flatMap(({ name, text }, d) => {
    const parts = [];
    let at = 0;
    chunks.forEach((chunk, i) => {
      if (chunk.document === d) {
        parts.push(text.slice(at, Math.max(at, chunk.start)), tinted(chunk, i));
        at = chunk.end;
      }
    });
    const body = html("p", { class: "tinted", dir: "auto" }, ...parts, text.slice(at));
    return [html("h3", { dir: "auto" }, name), body];
  });
}

function least(values) {
  return values.reduce((one, two) => Math.min(one, two), Infinity);
}

function buttonOf(chunk, answer) {
  return { role: "button", "data-chunk": chunk, "aria-pressed": chunk === answer };
}

/**
 * A ranked list of chunks: the first five and the answer, or as many as are shown at most.
 * @param {import("./ask.js").Result} result
 * @param {import("./ranking.js").Ranking} ranking
 * @param {object} shown
 * @param {import("./ranking.js").Ranking} [shown.before] with it, rows say how far they moved
 * @param {number | null} shown.answer
 * @param {boolean} shown.all
 * @returns {HTMLElement}
 */
export function rankedList(result, ranking, { before, answer, all }) {
  const first = ranking.order.slice(0, all ? MOST_ROWS : FIRST);
  const rows = first.map((chunk) => row(result, ranking, chunk, { before, answer }));
  if (answer !== null && !first.includes(answer)) {
    rows.push(html("li", { class: "gap", "aria-hidden": "true" }, "⋯"));
    rows.push(row(result, ranking, answer, { before, answer }));
  }
  return html("ol", { class: "ranked" }, ...rows);
}

function row({ documents, chunks }, { scores, ranks }, chunk, { before, answer }) {
  const bar = html("span", { class: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", Math.max(scores[chunk], 0));
  const words = html(
    "span",
    { class: "words", dir: "auto" },
    html("b", {}, documents[chunks[chunk].document].name),
    ` ${chunks[chunk].text.replaceAll(/\s+/g, " ")}`,
  );
  const parts = [
    html("span", { class: "rank" }, ranks[chunk]),
    words,
    bar,
    html("span", { class: "score" }, written(scores[chunk])),
    ...(before ? [moved(before.ranks[chunk], ranks[chunk])] : []),
  ];
  const button = html("button", { ...buttonOf(chunk, answer), type: "button", class: "hit" });
  button.removeAttribute("role");
  if (chunk === answer) {
    words.append(html("span", { class: "mark" }, "the answer"));
  }
  button.append(...parts);
  return html("li", { value: ranks[chunk] }, button);
}

function moved(before, after) {
  const by = before - after;
  if (by === 0) {
    return html("span", { class: "moved" }, html("span", { class: "unseen" }, "same rank"));
  }
  const words = `${by > 0 ? "up" : "down"} from rank ${before}`;
  return html(
    "span",
    { class: `moved ${by > 0 ? "up" : "down"}`, title: words },
    html("span", { "aria-hidden": "true" }, `${by > 0 ? "▲" : "▼"}${Math.abs(by)}`),
    html("span", { class: "unseen" }, words),
  );
}

/**
 * The chunk under the pointer or the focus is marked everywhere; a click or Enter makes it the
 * answer, or no longer; arrow keys go through the chunks of the documents.
 * @param {HTMLElement} place which holds documents and lists
 * @param {(chunk: number) => void} choose
 */
export function linkChunks(place, choose) {
  const chunkOf = (event) => event.target.closest("[data-chunk]");
  const link = (event) => {
    const chunk = chunkOf(event)?.dataset.chunk;
    place.querySelectorAll(".linked").forEach((element) => element.classList.remove("linked"));
    const same = place.querySelectorAll(`[data-chunk="${chunk}"]`);
    same.forEach((element) => element.classList.add("linked"));
  };
  for (const kind of ["pointerover", "pointerleave", "focusin"]) {
    place.addEventListener(kind, link);
  }
  const press = (event) => {
    const element = chunkOf(event);
    // Who selects text with the pointer chooses nothing; a key (detail 0) is meant.
    if (element && (event.detail === 0 || getSelection().isCollapsed)) {
      choose(Number(element.dataset.chunk));
    }
  };
  place.addEventListener("click", press);
  place.addEventListener("keydown", (event) => {
    if (!event.target.matches(".chunk")) {
      return;
    }
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      press(event);
    } else {
      walk(event, [...place.querySelectorAll(".chunk")]);
    }
  });
}
