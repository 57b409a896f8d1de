// Ask: a question and documents -> two ranked lists, one of chunks read alone, one with late
// chunking, in one go.
//
// 1. A newer ask supersedes an older one, which is aborted and never shown.
// 2. Vectors come at full width; everything about sizes is computed from them, without a request.
// 3. Which chunk is the answer is the user's to say; without it nothing is called better or worse.

import { embed, embedDocuments, Refusal } from "./api.js";
import { sizeCards, taskCards } from "./cards.js";
import { documentsOf } from "./documents.js";
import { byId } from "./dom.js";
import { counted } from "./notices.js";
import { ranking } from "./ranking.js";
import { FIRST, MOST_ROWS, rankedList, tintedDocuments } from "./results.js";
import { askEveryTask, taskPairs } from "./tasks.js";
import { verdict } from "./verdict.js";

/**
 * @typedef {object} Result
 * @property {string} question
 * @property {import("./documents.js").Document[]} documents
 * @property {{document: number, start: number, end: number, text: string}[]} chunks
 * @property {Float32Array[]} alone vectors of chunks read alone
 * @property {Float32Array[]} late vectors with late chunking
 * @property {Float32Array} query
 * @property {{documents: object, question: object}} sent the bodies of the requests
 */

// More than this is sent to try all tasks only when the user says so.
const FREE_TOKENS = 6000;

/** @type {Result | null} */
export let result = null;

let flight = new AbortController();
/** What the other tasks made of the result, retrieval first. */
let read = [];
let all = false;

/**
 * What is chosen beside the form. `marked` is the answer of a question: how it begins, and which
 * chunk it is, where several begin so.
 */
export const choice = { size: 0, marked: { question: "", text: "", chunk: 0 } };

/** The documents in the box. */
export const documents = () => documentsOf(byId("documents-text").value, byId("blank").checked);

/** How chunks are cut, as the API says it. */
function chunking() {
  const [by, most] = [byId("by").value, byId("most").valueAsNumber];
  const size = Number.isNaN(most) ? {} : { max_tokens: most };
  return by === "sentence" ? { by: "sentences", ...size, min_tokens: 1 } : { by, ...size };
}

/**
 * The bodies of the form's requests: POST /v1/documents and POST /v1/embeddings.
 * @param {string} model
 */
export function requests(model) {
  const [tasks] = taskPairs([]);
  const input = documents().map(({ name, text }) => ({ id: name, text }));
  return {
    documents: { model, input, task: tasks.documents, chunking: chunking(), late_chunking: true },
    question: { model, input: [byId("question").value.trim()], task: tasks.question },
  };
}

/**
 * Ask, and show what comes.
 * @param {object} info what is served
 */
export async function ask(info) {
  flight.abort();
  flight = new AbortController();
  const { signal } = flight;
  try {
    const sent = requests(info.name);
    check(sent);
    byId("ask").setAttribute("aria-busy", "true");
    byId("counted").textContent = `Reading ${counted(sent.documents.input.length, "document")} …`;
    const began = performance.now();
    const [alone, late, query] = await Promise.all([
      embedDocuments({ ...sent.documents, late_chunking: false }, signal),
      embedDocuments(sent.documents, signal),
      embed(sent.question, signal),
    ]);
    signal.throwIfAborted();
    keep(sent, alone, late, query);
    const tokens = alone.tokens + late.tokens + query.tokens;
    show(info, { tokens, ms: performance.now() - began });
    byId("ask").removeAttribute("aria-busy");
    await offerTasks(info, late.tokens);
  } catch (error) {
    if (!signal.aborted) {
      flight.abort();
      count();
      throw error;
    }
  } finally {
    if (signal === flight.signal) {
      byId("ask").removeAttribute("aria-busy");
    }
  }
}

function check({ documents: { input }, question }) {
  if (input.length === 0) {
    throw new Refusal("There is no document yet: paste some text, open a file or take an example.");
  }
  if (question.input[0] === "") {
    throw new Refusal("There is no question yet: write one above the documents.");
  }
}

function keep(sent, alone, late, query) {
  const texts = sent.documents.input.map(({ text }) => text);
  const cut = ({ document, start, end }) => ({
    document,
    start,
    end,
    text: texts[document].slice(start, end),
  });
  result = {
    question: sent.question.input[0],
    documents: sent.documents.input.map(({ id, text }) => ({ name: id, text })),
    chunks: late.chunks.map(cut),
    alone: alone.chunks.map(({ vector }) => vector),
    late: late.chunks.map(({ vector }) => vector),
    query: query.vectors[0],
    sent,
  };
  read = [{ name: "retrieval", query: result.query, late: result.late }];
  all = false;
}

/** The chunk that is marked as the answer of the result's question, or null. */
export function answer() {
  const { question, text, chunk } = choice.marked;
  if (text === "" || question !== result.question) {
    return null;
  }
  if (result.chunks[chunk]?.text.startsWith(text)) {
    return chunk;
  }
  const first = result.chunks.findIndex((each) => each.text.startsWith(text));
  return first < 0 ? null : first;
}

/** Mark a chunk as the answer, or no longer. */
export function mark(chunk) {
  const again = chunk === answer();
  const { text } = result.chunks[chunk];
  choice.marked = { question: result.question, text: again ? "" : text, chunk };
}

function show(info, { tokens, ms }) {
  const { documents: own, chunks } = result;
  const numbers = [counted(own.length, "document"), counted(chunks.length, "chunk")];
  const cost = `${counted(tokens, "token")} · ${Math.round(ms)} ms`;
  byId("counted").textContent = [...numbers, cost].join(" · ");
  write(false);
  draw(info);
}

/** Draw the result as what is chosen says. */
export function draw(info) {
  const { query, alone, late } = result;
  const [plain, joined] = [alone, late].map((vectors) => ranking(query, vectors, choice.size));
  const chunk = answer();
  const texts = result.documents.map(({ text }) => text);
  const said = verdict({ ...result, texts }, plain, joined, chunk);
  byId("sentence").textContent = said.sentence;
  byId("why").textContent = said.why;
  byId("verdict").className = `verdict ${said.kind}`;
  byId("verdict").hidden = false;
  byId("reading").replaceChildren(...tintedDocuments(result, joined, chunk));
  byId("alone").replaceChildren(rankedList(result, plain, { answer: chunk, all }));
  byId("late").replaceChildren(rankedList(result, joined, { before: plain, answer: chunk, all }));
  byId("questions").hidden = false;
  byId("below").hidden = false;
  const { length } = result.chunks;
  const most = length > MOST_ROWS ? `the first ${MOST_ROWS} of ${length}` : `all ${length}`;
  byId("all").hidden = length <= FIRST;
  byId("all").textContent = all ? `Show the first ${FIRST}` : `Show ${most} chunks`;
  byId("sizes").replaceChildren(...sizeCards(result, info.sizes, choice.size, chunk));
  byId("tasks").replaceChildren(...taskCards(read, choice.size, chunk));
}

/** Show all rows, or the first. */
export function toggleAll(info) {
  all = !all;
  draw(info);
}

/** Whether the result is of something else than what stands in the form. */
export const outdated = (info) =>
  result !== null && JSON.stringify(result.sent) !== JSON.stringify(requests(info.name));

/** Say how many documents the form has. */
export function count() {
  byId("counted").textContent = counted(documents().length, "document");
}

/**
 * Show the box to write in, or the documents with their chunks.
 * @param {boolean} on
 */
export function write(on) {
  byId("writing").hidden = !on;
  byId("reading").hidden = on;
  byId("edit").textContent = on ? "Done" : "Edit";
  byId("edit").hidden = result === null;
}

/** Try all tasks, where that costs little; else offer to. */
async function offerTasks(info, tokens) {
  const pairs = taskPairs(info.tasks);
  const free = tokens * pairs.length <= FREE_TOKENS;
  byId("try-tasks").hidden = free;
  byId("try-tasks").textContent =
    `Try every task (about ${counted(tokens * pairs.length, "token")})`;
  byId("task-lead").textContent = "";
  if (free) {
    await tryTasks(info);
  }
}

/** Ask the same of every task, all at once; where that fails, offer it again. */
export async function tryTasks(info) {
  if (flight.signal.aborted) {
    flight = new AbortController(); // an ask after the shown one has failed
  }
  const { signal } = flight;
  byId("try-tasks").hidden = true;
  byId("task-lead").textContent = "Asking every adapter …";
  try {
    const answers = await askEveryTask(info.tasks, result.sent, signal);
    signal.throwIfAborted();
    read = answers.read;
    byId("task-lead").textContent = answers.sentence;
  } catch (error) {
    if (signal === flight.signal) {
      byId("try-tasks").hidden = false;
      byId("task-lead").textContent = "";
    }
    throw error;
  }
  draw(info);
}
