// The code of a view: its requests as programs, its vectors as files, itself as a link.

import * as asking from "./ask.js";
import { keyed } from "./api.js";
import * as comparing from "./compare.js";
import * as controls from "./controls.js";
import { byId } from "./dom.js";
import { copy, jsonl, npy, save } from "./downloads.js";
import { fragment } from "./link.js";
import { shortened } from "./ranking.js";
import { PROGRAMS } from "./snippets.js";

const API_BASE = new URL("v1", document.baseURI).href;
const LONG = 8000;

/**
 * What is on the screen.
 * @typedef {{view: "ask" | "compare", info: object}} Screen
 */

/**
 * Write the program of a screen.
 * @param {Screen} screen
 */
export function writeProgram(screen) {
  const language = new FormData(byId("language-form")).get("language");
  byId("program").textContent = PROGRAMS[language](asked(screen), API_BASE, keyed());
}

/** The bodies of the requests of a view, as their code says them. */
function asked({ view, info }) {
  if (view === "compare") {
    return { embeddings: controls.request(info.name) };
  }
  const { documents, question } = asking.requests(info.name);
  const dimensions = asking.choice.size;
  return { documents: { ...documents, dimensions }, embeddings: { ...question, dimensions } };
}

/** The records of what is shown, with vectors of the chosen size. */
function records(view) {
  if (view === "ask") {
    const { result, choice } = asking;
    return result.chunks.map(({ document, start, end, text }, i) => ({
      document: result.documents[document].name,
      chunk: i,
      start,
      end,
      text,
      embedding: shortened(result.late[i], choice.size),
    }));
  }
  const { texts, plain, late } = comparing.result;
  return texts.map((text, index) => {
    return { index, text, embedding: shortened((late ?? plain)[index], controls.size()) };
  });
}

function download(kind, { view }) {
  if (!(view === "ask" ? asking : comparing).result) {
    byId("code-said").textContent = "There are no vectors yet.";
    return;
  }
  const rows = records(view);
  const plain = rows.map((row) => ({ ...row, embedding: [...row.embedding] }));
  const blob = kind === "npy" ? npy(rows.map(({ embedding }) => embedding)) : jsonl(plain);
  save(blob, `quintet-${view}.${kind}`);
}

async function copyLink({ view }) {
  const { size, marked } = asking.choice;
  const answered = marked.question === byId("question").value.trim();
  const answer = answered ? { answer: marked.text, at: marked.chunk } : {};
  const beside =
    view === "ask" ? { size, ...answer } : { size: controls.size(), task: controls.task() };
  history.replaceState(null, "", fragment(view, beside));
  const done = (await copy(location.href)) ? "is copied" : "stands in the address bar";
  const { length } = location.href;
  const long =
    length > LONG
      ? ` It has ${length.toLocaleString("en")} characters; some programs cut such.`
      : "";
  byId("code-said").textContent = `The link ${done}. It has the texts in it, and no key.${long}`;
}

async function copyProgram() {
  const copied = await copy(byId("program").textContent);
  byId("code-said").textContent = copied ? "Copied." : "This browser does not let pages copy.";
}

/**
 * Have the buttons of the code do what they say.
 * @param {() => Screen} screen
 */
export function listenToCode(screen) {
  const on = (id, kind, act) => byId(id).addEventListener(kind, act);
  on("language-form", "change", () => writeProgram(screen()));
  on("npy", "click", () => download("npy", screen()));
  on("jsonl", "click", () => download("jsonl", screen()));
  on("link", "click", () => copyLink(screen()));
  on("copy", "click", copyProgram);
  on("to-code", "click", (event) => {
    event.preventDefault();
    byId("code").scrollIntoView();
    byId("code").focus({ preventScroll: true });
  });
}
