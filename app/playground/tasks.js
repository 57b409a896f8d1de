// Every task asked the same: each has an adapter, and the service mixes them in its batches.

import { embed, embedDocuments, fetchWork } from "./api.js";
import { counted } from "./notices.js";

/**
 * What a task made of an ask.
 * @typedef {object} Read
 * @property {string} name
 * @property {Float32Array} query
 * @property {Float32Array[]} late vectors of the chunks, with late chunking
 */

/**
 * The pairs of tasks to try: what reads the documents, and what the question.
 * @param {string[]} tasks of the service
 * @returns {{name: string, documents: string, question: string}[]} retrieval first
 */
export function taskPairs(tasks) {
  const own = tasks.filter((task) => !task.startsWith("retrieval."));
  return [
    { name: "retrieval", documents: "retrieval.passage", question: "retrieval.query" },
    ...own.map((task) => ({ name: task, documents: task, question: task })),
  ];
}

/**
 * Send an ask with every task, all at once.
 * @param {string[]} tasks of the service
 * @param {{documents: object, question: object}} sent the bodies of the ask
 * @param {AbortSignal} signal
 * @returns {Promise<{read: Read[], sentence: string}>} retrieval first, and what was sent
 */
export async function askEveryTask(tasks, sent, signal) {
  const pairs = taskPairs(tasks);
  const before = await fetchWork(signal);
  const read = await Promise.all(
    pairs.map(async ({ name, documents: task, question }) => {
      const [late, query] = await Promise.all([
        embedDocuments({ ...sent.documents, task }, signal),
        embed({ ...sent.question, task: question }, signal),
      ]);
      const vectors = late.chunks.map(({ vector }) => vector);
      return { name, query: query.vectors[0], late: vectors, tokens: late.tokens + query.tokens };
    }),
  );
  const tokens = read.reduce((sum, answer) => sum + answer.tokens, 0);
  const batches = shared(before, await fetchWork(signal), tokens);
  const sentence =
    "Each task has an adapter, a small part of the model that is taught for it. The same " +
    `question to every adapter, ${2 * pairs.length} requests at once${batches}.`;
  return { read, sentence };
}

/** In how many batches it was computed, if nobody else asked for anything meanwhile. */
function shared(before, after, tokens) {
  if (!before || !after || after.tokens - before.tokens !== tokens) {
    return "";
  }
  const passes = after.passes - before.passes;
  if (passes === 0) {
    return ", all of it computed before";
  }
  return `, computed in ${passes} ${passes === 1 ? "batch" : "batches"}`;
}
