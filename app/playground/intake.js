// How texts come into the page: written, as examples, as files, dropped or pasted.

import { Refusal } from "./api.js";
import * as asking from "./ask.js";
import * as controls from "./controls.js";
import { readFile, textOf } from "./documents.js";
import { byId, html } from "./dom.js";
import { EXAMPLES } from "./examples.js";

/**
 * Put an example into the form of Ask.
 * @param {import("./examples.js").Example} example
 */
export function takeExample({ question, documents, answer }) {
  byId("question").value = question;
  byId("documents-text").value = documents;
  byId("by").value = "sentence";
  asking.choice.marked = { question, text: answer, chunk: 0 };
}

/** Documents of the user's own: nobody knows yet which chunk answers. */
function takeDocuments(text) {
  byId("documents-text").value = text;
  asking.choice.marked = { question: "", text: "", chunk: 0 };
  asking.write(true);
  asking.count();
}

async function read(files) {
  try {
    return (await Promise.all([...files].map(readFile))).flat();
  } catch (error) {
    throw new Refusal(error.message);
  }
}

/**
 * What the page does with what came in.
 * @typedef {object} Page
 * @property {() => void} run asks the service
 * @property {() => void} refresh brings what is shown in line
 * @property {(act: () => Promise<void>) => Promise<void>} attempt does what may fail
 * @property {() => "ask" | "compare"} view
 */

/**
 * Listen for texts.
 * @param {Page} page
 */
export function listenToIntake(page) {
  const on = (id, kind, act) => byId(id).addEventListener(kind, act);
  const take = (files) => page.attempt(() => takeFiles(files, page));
  const options = EXAMPLES.map(({ title, lang }, i) => html("option", { value: i, lang }, title));
  const hint = html("option", { value: "", disabled: "", selected: "" }, "Examples …");
  byId("examples").append(hint, ...options);
  on("examples", "change", () => {
    takeExample(EXAMPLES[byId("examples").value]);
    byId("examples").value = "";
    page.run();
  });
  on("choose", "click", () => byId("files").click());
  on("files", "change", async () => {
    await take(byId("files").files);
    byId("files").value = "";
  });
  for (const kind of ["input", "change"]) {
    on("writing", kind, () => {
      asking.count();
      page.refresh();
    });
  }
  on("documents-text", "keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      page.run();
    }
  });
  listenToWindow(page, take);
}

async function takeFiles(files, { view, run }) {
  const documents = await read(files);
  if (view() === "compare") {
    controls.write(documents.map(({ text }) => text));
    run();
    return;
  }
  takeDocuments(textOf(documents));
  if ([...files].every(({ name }) => name.toLowerCase().endsWith(".md"))) {
    byId("by").value = "markdown";
  }
  byId("question").select();
}

/** Files may be dropped anywhere, and text pasted wherever no box has the focus. */
function listenToWindow({ view, refresh }, take) {
  const body = document.body;
  const carriesFiles = (event) => event.dataTransfer.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (carriesFiles(event)) {
      event.preventDefault();
      body.classList.add("dropping");
    }
  });
  addEventListener("dragleave", (event) => {
    body.classList.toggle("dropping", event.relatedTarget !== null);
  });
  addEventListener("drop", (event) => {
    body.classList.remove("dropping");
    if (carriesFiles(event)) {
      event.preventDefault();
      take(event.dataTransfer.files);
    }
  });
  addEventListener("paste", (event) => {
    const text = event.clipboardData.getData("text");
    if (view() === "ask" && text && !event.target.closest("input, textarea")) {
      event.preventDefault();
      takeDocuments(text);
      byId("question").select();
      refresh();
    }
  });
}
