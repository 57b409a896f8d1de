// The form: what the caller has chosen.

import { byId, html } from "./dom.js";

const PURPOSES = {
  "retrieval.query": "search: questions",
  "retrieval.passage": "search: documents",
  separation: "clustering, reranking",
  classification: "features for a classifier",
  "text-matching": "similarity, duplicates",
};

/** Matryoshka sizes of the served model, its width last; the slider stands at an index of it. */
let sizes = [];

/**
 * Offer what the service has. Called again it starts anew.
 * @param {object} info the answer of GET /info
 */
export function offer(info) {
  offerTasks(info.tasks, info.default_task);
  sizes = [...new Set([...info.matryoshka_dimensions, info.width])].sort((a, b) => a - b);
  const slider = byId("dimensions");
  slider.max = sizes.length - 1;
  slider.value = sizes.length - 1;
  byId("sizes").replaceChildren(...sizes.map((size) => html("span", {}, size)));
  showSize();
}

function offerTasks(tasks, standard) {
  const choices = tasks.map((task) => choice(task, task, PURPOSES[task] ?? ""));
  if (standard === null) {
    // The service reads a request without a task with the base model.
    choices.push(choice("", "none", "the base model, no adapter"));
  }
  byId("tasks").replaceChildren(byId("tasks").querySelector("legend"), ...choices);
  const chosen = choices.map((label) => label.querySelector("input"));
  chosen.find((input) => input.value === (standard ?? "")).checked = true;
}

function choice(value, name, purpose) {
  return html(
    "label",
    { class: "choice" },
    html("input", { type: "radio", name: "task", value }),
    html("span", { class: "name" }, name),
    html("span", { class: "purpose" }, purpose),
  );
}

/** Say beside the slider which size it stands at. */
export function showSize() {
  const size = sizes[byId("dimensions").value];
  byId("size").textContent = size;
  byId("dimensions").setAttribute("aria-valuetext", `${size} dimensions`);
}

/**
 * The texts: a line each, blank lines left out.
 * @returns {string[]}
 */
export function texts() {
  return byId("texts").value.split(/\r?\n/).filter((line) => line.trim() !== "");
}

/**
 * The key, as it may stand in a header.
 * @returns {string}
 */
export function key() {
  return byId("key").value.replaceAll(/[^\x21-\x7e]/g, "");
}

/** Offer a field for a key, which most services do not need. */
export function askForKey() {
  byId("key-field").hidden = false;
  byId("key").focus();
}

/**
 * Write texts into the form.
 * @param {readonly string[]} lines
 */
export function write(lines) {
  byId("texts").value = lines.join("\n");
}

/**
 * The request that the controls describe.
 * @param {string} model
 * @returns {import("./api.js").EmbeddingsRequest}
 */
export function request(model) {
  const task = new FormData(byId("controls")).get("task");
  return {
    model,
    ...(task && { task }),
    dimensions: sizes[byId("dimensions").value],
    late_chunking: byId("late").checked,
    input: texts(),
  };
}
