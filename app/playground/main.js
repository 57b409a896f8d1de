// The page: what is served, the key, the two views, files, and the code below them.

import * as asking from "./ask.js";
import { fetchInfo, KeyRefusal, keyed, Refusal, useKey, whenWaiting } from "./api.js";
import { listenToCode, writeProgram } from "./code.js";
import * as comparing from "./compare.js";
import * as controls from "./controls.js";
import { byId } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { listenToIntake, takeExample } from "./intake.js";
import { LAUNCH_POST } from "./launchpost.js";
import { listenToJobs, showJobs } from "./jobs.js";
import { restore } from "./link.js";
import { complain, wait } from "./notices.js";
import { sizesOf } from "./ranking.js";
import { linkChunks } from "./results.js";

const PAUSE_MS = 350;

/** What is served, once it is known. */
let info = null;
let view = "ask";
let timer = 0;

/** Do something that may fail, and say so where everyone sees it. */
async function attempt(act) {
  complain("");
  try {
    await act();
  } catch (error) {
    if (error.name !== "AbortError") {
      fail(error);
    }
  }
  refresh();
}

function fail(error) {
  wait("");
  if (error instanceof KeyRefusal) {
    byId("key-card").hidden = false;
    byId("views").hidden = true;
    byId("ask-form").hidden = true;
    byId("inner").hidden = true;
    complain(keyed() ? error.message : "");
    byId("key").focus();
    return;
  }
  const known = error instanceof Refusal;
  const sentence = known ? error.message : `The page failed: ${error.message}`;
  complain(sentence, waysOut(sentence, error.passing));
}

/** What an error advises, as buttons. */
function waysOut(sentence, passing) {
  const ways = passing ? { "Try again": run } : {};
  const advised = (id, words) => {
    if (view === "compare" && !byId(id).checked) {
      ways[words] = () => {
        byId(id).checked = true;
        run();
      };
    }
  };
  if (sentence.includes('"truncate"')) {
    advised("truncate", "Cut what is too long");
  }
  if (sentence.includes("late_chunking_overlap")) {
    advised("overlap", "Read in windows");
  }
  return ways;
}

/** Bring what is shown in line with the controls. */
function run() {
  if (!info) {
    return start();
  }
  return attempt(() => (view === "ask" ? asking.ask(info) : comparing.compare(info)));
}

/** The same once nothing has changed for a moment; until then the view says data-soon. */
function runSoon() {
  clearTimeout(timer);
  byId("compare").dataset.soon = "";
  timer = setTimeout(() => {
    const running = run();
    delete byId("compare").dataset.soon;
    return running;
  }, PAUSE_MS);
}

/** Bring all that asks nothing of the service in line with the controls. */
function refresh() {
  if (!info) {
    return;
  }
  controls.showSize();
  writeProgram({ view, info });
  byId("ask").classList.toggle("earlier", asking.outdated(info));
  if (!asking.result) {
    asking.count();
  }
}

function show(name) {
  view = name === "compare" ? "compare" : "ask";
  for (const place of document.querySelectorAll("[data-is]")) {
    place.hidden = place.dataset.is !== view;
  }
  for (const link of document.querySelectorAll("[data-view]")) {
    link.setAttribute("aria-current", link.dataset.view === view ? "page" : "false");
  }
  byId("ask-form").hidden = view !== "ask";
}

/** What the address says, or the first example. */
function follow() {
  const said = restore(location.hash);
  show(said.get("view") ?? view);
  if (said.has("docs")) {
    const [text, chunk] = [said.get("answer") ?? "", Number(said.get("at"))];
    asking.choice.marked = { question: byId("question").value.trim(), text, chunk };
  }
  const size = Number(said.get("size"));
  if (said.has("docs") && info.sizes.includes(size)) {
    asking.choice.size = size;
  }
  if (said.has("texts")) {
    controls.choose({ task: said.get("task"), size });
  }
  if (said.has("order")) {
    comparing.keepOrder();
  }
}

/** Learn what is served, and show it. What the user has written stays. */
async function start() {
  complain("");
  const first = info === null;
  try {
    const learnt = await fetchInfo();
    info = { ...learnt, sizes: sizesOf(learnt) };
  } catch (error) {
    fail(error);
    return;
  }
  byId("key-card").hidden = true;
  byId("views").hidden = false;
  byId("inner").hidden = false;
  if (first) {
    introduce();
    follow();
  }
  show(view);
  showJobs();
  await run();
}

function introduce() {
  const workers = info.workers.map(({ device, dtype }) => `${device}, ${dtype}`);
  byId("served").textContent = [info.name, ...workers, `Quintet ${info.version}`].join(" · ");
  byId("note").textContent = info.description;
  const demo = /small/.test(info.description);
  byId("model").textContent = demo ? `demo · ${info.name}` : info.name;
  byId("model").classList.toggle("demo", demo);
  byId("model").hidden = false;
  asking.choice.size = info.width;
  controls.offer(info);
  takeExample(EXAMPLES[0]);
  controls.write(LAUNCH_POST);
  asking.write(false);
}

/** Mark a chunk as the answer; the focus stays on it, although all is drawn anew. */
function markAnswer(chunk) {
  const place = document.activeElement.closest("#reading, #alone, #late");
  asking.mark(chunk);
  asking.draw(info);
  place?.querySelector(`[data-chunk="${chunk}"]`)?.focus();
  refresh();
}

const on = (id, kind, act) => byId(id).addEventListener(kind, act);

function listenToForms() {
  const submits = (id, act) =>
    on(id, "submit", (event) => {
      event.preventDefault();
      act();
    });
  submits("ask-form", run);
  submits("controls", run);
  submits("key-card", () => {
    useKey(byId("key").value);
    start();
  });
  on("question", "input", refresh);
  on("controls", "input", () => {
    refresh();
    runSoon();
  });
  on("launch-post", "click", () => {
    controls.write(LAUNCH_POST);
    run();
  });
}

function listenToResults() {
  on("edit", "click", () => {
    const writing = byId("writing").hidden;
    if (!writing && asking.outdated(info)) {
      run();
      return;
    }
    asking.write(writing);
    byId(writing ? "documents-text" : "edit").focus();
  });
  on("all", "click", () => asking.toggleAll(info));
  on("try-tasks", "click", () => attempt(() => asking.tryTasks(info)));
  on("sizes", "change", (event) => {
    asking.choice.size = Number(event.target.value);
    asking.draw(info);
    byId("sizes").querySelector(":checked").focus();
    refresh();
  });
  linkChunks(byId("results"), markAnswer);
  comparing.linkTexts();
}

function listen() {
  listenToForms();
  listenToResults();
  listenToIntake({ run, refresh, attempt, view: () => view });
  listenToCode(() => ({ view, info }));
  listenToJobs(attempt);
  whenWaiting(wait);
  addEventListener("hashchange", () => {
    if (!info) {
      return;
    }
    follow();
    const current = view === "ask" && asking.result && !asking.outdated(info);
    attempt(() => (current ? asking.draw(info) : run()));
  });
}

listen();
start();
