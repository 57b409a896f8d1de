// The form of "Compare texts": what the user has chosen.

import { byId, html } from "./dom.js";

const PURPOSES = {
  "retrieval.query": "search: questions",
  "retrieval.passage": "search: documents",
  separation: "clustering, reranking",
  classification: "features for a classifier",
  "text-matching": "similarity, duplicates",
};
const OVERLAP = 256;

let sizes = [];

/**
 * Offer what the service has.
 * @param {object} info what is served
 */
export function offer(info) {
  const choices = info.tasks.map((task) => choice(task, task, PURPOSES[task] ?? ""));
  if (info.default_task === null) {
    // The service reads a request without a task with the base model.
    choices.push(choice("", "none", "the base model, no adapter"));
  }
  byId("task-choices").replaceChildren(byId("task-choices").querySelector("legend"), ...choices);
  sizes = info.sizes;
  byId("dimensions").max = sizes.length - 1;
  byId("marks").replaceChildren(...sizes.map((size) => html("span", {}, size)));
  choose({ task: info.default_task ?? "", size: info.width });
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

/**
 * Set the task and the size, where the service has them.
 * @param {{task?: string, size?: number}} chosen
 */
export function choose({ task, size }) {
  const inputs = [...byId("controls").querySelectorAll("[name=task]")];
  const input = inputs.find(({ value }) => value === task);
  if (input) {
    input.checked = true;
  }
  if (sizes.includes(size)) {
    byId("dimensions").value = sizes.indexOf(size);
  }
  showSize();
}

/** Say beside the slider which size it stands at. */
export function showSize() {
  byId("size").textContent = size();
  byId("dimensions").setAttribute("aria-valuetext", `${size()} dimensions`);
}

/** The chosen size. */
export const size = () => sizes[byId("dimensions").value];

/** The chosen task; empty is the base model. */
export const task = () => new FormData(byId("controls")).get("task") ?? "";

/**
 * The texts: a line each or with blank lines between them, blank ones left out.
 * @returns {string[]}
 */
export function texts() {
  const value = byId("texts").value.replaceAll(/\r\n?/g, "\n");
  const parts = value.split(byId("split").value === "line" ? "\n" : /\n[^\S\n]*\n/);
  return parts.filter((text) => text.trim() !== "");
}

/**
 * Write texts into the form. Of several each stays one: without the blank lines in it, which would
 * end it. One alone may have texts between its blank lines.
 * @param {readonly string[]} given
 */
export function write(given) {
  const several = given.length > 1;
  const texts = given
    .map((text) => text.replaceAll(/\r\n?/g, "\n"))
    .map((text) => (several ? text.trim().replaceAll(/\n\s*\n/g, "\n") : text));
  const lines = texts.every((text) => !text.includes("\n"));
  byId("split").value = lines ? "line" : "blank";
  byId("texts").value = texts.join(lines ? "\n" : "\n\n");
}

/**
 * The request that the form describes.
 * @param {string} model
 * @returns {object} a body of POST /v1/embeddings
 */
export function request(model) {
  const late = byId("late-on").checked;
  return {
    model,
    ...(task() && { task: task() }),
    dimensions: size(),
    late_chunking: late,
    ...(late && byId("overlap").checked && { late_chunking_overlap: OVERLAP }),
    ...(byId("truncate").checked && { truncate: true }),
    input: texts(),
  };
}
