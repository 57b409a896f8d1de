// Notices: what went wrong, and what the page waits for, above the results and always in sight.

import { byId, html } from "./dom.js";

/**
 * Say what went wrong, with the ways out of it as buttons.
 * @param {string} sentence empty takes the notice away
 * @param {Record<string, () => void>} [ways] what a button says -> what it does
 */
export function complain(sentence, ways = {}) {
  const buttons = Object.entries(ways).map(([words, act]) => {
    const button = html("button", { type: "button", class: "quiet" }, words);
    button.addEventListener("click", act);
    return button;
  });
  byId("alert").replaceChildren(...(sentence ? [html("span", {}, sentence), ...buttons] : []));
}

/**
 * Say what the page waits for.
 * @param {string} sentence empty is nothing
 */
export function wait(sentence) {
  byId("waiting").textContent = sentence;
}

/**
 * A number and its noun.
 * @param {number} number
 * @param {string} noun in the singular, whose plural has an s
 */
export function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}
