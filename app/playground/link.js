// A view as the fragment of its address, which a browser keeps to itself. A key is never in it.

import { byId } from "./dom.js";

// Controls by their names in a link.
const ASK = { q: "question", docs: "documents-text", blank: "blank", by: "by", most: "most" };
const COMPARE = {
  texts: "texts",
  split: "split",
  late: "late-on",
  cut: "truncate",
  overlap: "overlap",
  order: "clusters",
};

/**
 * The fragment of a view.
 * @param {string} view
 * @param {Record<string, string | number>} beside what is chosen beside the controls
 * @returns {string} begins with #
 */
export function fragment(view, beside) {
  const parameters = new URLSearchParams({ view });
  for (const [name, id] of Object.entries(view === "ask" ? ASK : COMPARE)) {
    const control = byId(id);
    parameters.set(name, control.type === "checkbox" ? Number(control.checked) : control.value);
  }
  for (const [name, value] of Object.entries(beside)) {
    parameters.set(name, value);
  }
  return `#${parameters}`;
}

/** Whether a control has that value: a list is left without any by one that it does not have. */
function takes(control, value) {
  return control.type !== "select-one" || [...control.options].some((each) => each.value === value);
}

/**
 * Set the controls that a fragment names.
 * @param {string} hash
 * @returns {URLSearchParams} all that it says
 */
export function restore(hash) {
  const parameters = new URLSearchParams(hash.slice(1));
  for (const [name, id] of Object.entries({ ...ASK, ...COMPARE })) {
    const [control, value] = [byId(id), parameters.get(name)];
    if (value !== null && control.type === "checkbox") {
      control.checked = value === "1";
    } else if (value !== null && takes(control, value)) {
      control.value = value;
    }
  }
  return parameters;
}
