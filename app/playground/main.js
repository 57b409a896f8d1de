// The page's one journey: controls -> request -> answers -> views.
//
// 1. A newer request supersedes an older one, which is aborted and never shown.
// 2. Earlier answers stay until newer ones come, and say so when they no longer fit the controls.
// 3. What goes wrong is a sentence beside the button.

import { linkViews, show } from "./answers.js";
import { KeyRefusal, Refusal, countTokens, embed, fetchInfo, useKey } from "./api.js";
import * as controls from "./controls.js";
import { byId } from "./dom.js";
import { LAUNCH_POST } from "./example.js";
import { copy, curl, python } from "./snippets.js";

// The heat map of more texts than this is no longer something to read.
const MOST_TEXTS = 100;

const API_BASE = new URL("v1", document.baseURI).href;

/** What is served, once it is known. */
let info = null;

/** The request in flight. */
let flight = new AbortController();

/** The request whose answers are shown, as JSON. */
let shown = "";

const say = (sentence) => (byId("status").textContent = sentence);
const complain = (sentence) => (byId("alert").textContent = sentence);

async function embedNow() {
  flight.abort();
  flight = new AbortController();
  const { signal } = flight;
  complain("");
  try {
    checkTexts();
    useKey(controls.key());
    byId("answers").setAttribute("aria-busy", "true");
    say(`Embedding ${counted(controls.texts().length)} \u2026`);
    await learn(signal);
    const answers = await gather(controls.request(info.name), signal);
    if (!signal.aborted) {
      render(answers);
    }
  } catch (error) {
    if (!signal.aborted) {
      flight.abort();
      fail(error);
    }
  } finally {
    if (signal === flight.signal) {
      byId("answers").removeAttribute("aria-busy");
    }
  }
}

function checkTexts() {
  const number = controls.texts().length;
  if (number === 0) {
    throw new Refusal("There is no text yet: write at least one line, or take the example.");
  }
  if (number > MOST_TEXTS) {
    throw new Refusal(`The playground compares at most ${MOST_TEXTS} texts; here are ${number}.`);
  }
}

/** Ask what is served, unless that is known: at first, and again if the service was not there. */
async function learn(signal) {
  if (info) {
    return;
  }
  const learnt = await fetchInfo(signal);
  signal.throwIfAborted();
  info = learnt;
  controls.offer(info);
  const workers = info.workers.map(({ device, dtype }) => `${device}, ${dtype}`);
  byId("model").textContent = [info.name, ...workers, `Quintet ${info.version}`].join(" \u00b7 ");
  byId("note").textContent = info.description;
  refresh();
}

/**
 * One request after the other, so that each one's time is its own.
 * @returns {Promise<import("./answers.js").Answers>}
 */
async function gather(request, signal) {
  const tokens = await countTokens(request, signal);
  const plain = await embed({ ...request, late_chunking: false }, signal);
  const late = request.late_chunking ? await embed(request, signal) : null;
  return { request, plain, late, tokens };
}

function render(answers) {
  show(answers);
  shown = JSON.stringify(answers.request);
  say(`Embedded ${counted(answers.request.input.length)}.`);
  refresh();
}

function fail(error) {
  say("");
  const sentence = error instanceof Refusal ? error.message : `The page failed: ${error.message}`;
  complain(sentence);
  if (error instanceof KeyRefusal) {
    controls.askForKey();
  }
  if (shown) {
    outdate(true);
  }
}

/** Bring all that only depends on the controls in line with them. */
function refresh() {
  byId("counted").textContent = counted(controls.texts().length);
  if (!info) {
    return;
  }
  controls.showSize();
  const request = controls.request(info.name);
  const keyed = controls.key() !== "";
  byId("curl").textContent = curl(request, API_BASE, keyed);
  byId("python").textContent = python(request, API_BASE, keyed);
  outdate(shown !== "" && shown !== JSON.stringify(request));
}

function outdate(outdated) {
  byId("outdated").hidden = !outdated;
  byId("answers").classList.toggle("earlier", outdated);
}

function counted(number) {
  return number === 1 ? "1 text" : `${number} texts`;
}

function start() {
  byId("controls").addEventListener("input", refresh);
  byId("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    embedNow();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      embedNow();
    }
  });
  byId("example").addEventListener("click", () => {
    controls.write(LAUNCH_POST);
    refresh();
    embedNow();
  });
  for (const button of document.querySelectorAll("[data-copies]")) {
    button.addEventListener("click", () => copy(byId(button.dataset.copies), button, say));
  }
  linkViews(byId("answers"));
  controls.write(LAUNCH_POST);
  refresh();
  embedNow();
}

start();
