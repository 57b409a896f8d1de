// Cards: what shorter vectors, and other tasks, do to the rank of one chunk.

import { html } from "./dom.js";
import { overlap, ranking } from "./ranking.js";

const BEST = 5;
const FLOAT_BYTES = 4;
const PURPOSES = {
  retrieval: "for search",
  separation: "for clustering and reranking",
  classification: "features for a classifier",
  "text-matching": "for similarity and duplicates",
};

/**
 * The cards of "How small?": a radio button for each size.
 * @param {import("./ask.js").Result} result
 * @param {number[]} sizes the full width last
 * @param {number} chosen
 * @param {number | null} answer
 * @returns {HTMLElement[]}
 */
export function sizeCards({ query, late }, sizes, chosen, answer) {
  const full = ranking(query, late, sizes.at(-1));
  const [followed, name] = answer === null ? [full.order[0], "best chunk"] : [answer, "answer"];
  const best = Math.min(BEST, late.length);
  return sizes.map((size) => {
    const cut = ranking(query, late, size);
    const rank = cut.ranks[followed];
    const kept = overlap(full, cut, best);
    const input = html("input", { type: "radio", name: "size", value: size });
    input.checked = size === chosen;
    const same = size === sizes.at(-1) ? "full size" : `keeps ${kept} of the top ${best}`;
    return html(
      "label",
      { class: "small card" },
      input,
      html("span", { class: "name" }, size.toLocaleString("en")),
      html("span", { class: tone(rank, full.ranks[followed]) }, `${name} at rank ${rank}`),
      html("span", { class: "bytes" }, `${(size * FLOAT_BYTES).toLocaleString("en")} bytes`),
      html("span", { class: "bytes" }, same),
    );
  });
}

function tone(rank, usual) {
  return rank <= usual ? "good" : "poor";
}

/**
 * The cards of "Which task?".
 * @param {import("./tasks.js").Read[]} read by each task
 * @param {number} size
 * @param {number | null} answer
 * @returns {HTMLElement[]}
 */
export function taskCards(read, size, answer) {
  const rankings = read.map(({ query, late }) => ranking(query, late, size));
  const [followed, name] =
    answer === null ? [rankings[0].order[0], "best chunk"] : [answer, "answer"];
  return read.map(({ name: task }, i) => {
    const rank = rankings[i].ranks[followed];
    return html(
      "li",
      { class: i === 0 ? "small card own" : "small card" },
      html("span", { class: "name" }, task),
      html("span", { class: tone(rank, rankings[0].ranks[followed]) }, `${name} at rank ${rank}`),
      html("span", { class: "bytes" }, PURPOSES[task] ?? "a task of this model"),
    );
  });
}
