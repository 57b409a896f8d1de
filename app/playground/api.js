// The API, as this page uses it. Paths are relative to the page, so that it also works behind a
// proxy that adds a prefix. Vectors travel as base64, which is a third of the numbers written out.

/**
 * @typedef {object} Embedded
 * @property {Float32Array[]} vectors in the order of the inputs, at full width
 * @property {number} tokens that were charged
 * @property {number} ms from sending to having read the answer, in this browser
 * @property {number[]} truncated the inputs that were cut at the limit, as far as they are named
 * @property {number} more how many others were cut
 */

/**
 * @typedef {object} Chunk
 * @property {number} document
 * @property {number} start in UTF-16 units of its document, as JavaScript counts
 * @property {number} end
 * @property {Float32Array} vector at full width
 */

/** A request that has no answer; the message is a sentence to show. */
export class Refusal extends Error {
  /** Whether the same request may succeed later. */
  passing = false;
}

/** The service asks for a key, or does not know the one it was sent. */
export class KeyRefusal extends Refusal {}

const BUSY = new Set([429, 503]);
const MOST_ATTEMPTS = 60;
const LONGEST_PAUSE_S = 60;

/** What requests are sent with; empty is none. */
let key = "";

/** Told what the page waits for, and told "" when it waits no more. */
let tell = () => {};

/**
 * Send requests with a key from now on.
 * @param {string} given
 */
export function useKey(given) {
  key = given.replaceAll(/[^\x21-\x7e]/g, "");
}

/** Whether requests are sent with a key. */
export const keyed = () => key !== "";

/**
 * Have said what the page waits for: a model that loads, a full queue, a limit.
 * @param {(sentence: string) => void} teller
 */
export function whenWaiting(teller) {
  tell = teller;
}

/**
 * What is served: GET /info, and the description of the first name from GET /v1/models.
 * @param {AbortSignal} [signal]
 * @returns {Promise<object>}
 */
export async function fetchInfo(signal) {
  const [info, models] = await Promise.all([ask("info", { signal }), ask("v1/models", { signal })]);
  const name = info.body.served_names[0];
  const { description } = models.body.data.find((model) => model.id === name);
  return { ...info.body, name, description };
}

/**
 * A vector for each input.
 * @param {object} request the body of POST /v1/embeddings
 * @param {AbortSignal} signal
 * @returns {Promise<Embedded>}
 */
export async function embed(request, signal) {
  const { body, headers, ms } = await post("v1/embeddings", request, signal);
  return {
    vectors: body.data.map(({ embedding }) => decoded(embedding)),
    tokens: body.usage.total_tokens,
    ms,
    ...cutInputs(headers.get("x-truncated-inputs") ?? ""),
  };
}

/**
 * The chunks of documents, in order.
 * @param {object} request the body of POST /v1/documents
 * @param {AbortSignal} signal
 * @returns {Promise<{chunks: Chunk[], tokens: number, ms: number}>}
 */
export async function embedDocuments(request, signal) {
  const lean = { offsets: "utf16", return_text: false, document_embedding: false };
  const { body, ms } = await post("v1/documents", { ...request, ...lean }, signal);
  const chunks = body.data.flatMap((document) =>
    document.chunks.map(({ start, end, embedding }) => {
      return { document: document.index, start, end, vector: decoded(embedding) };
    }),
  );
  return { chunks, tokens: body.usage.total_tokens, ms };
}

/**
 * What the service has computed since it started, by its metrics; null where it does not say.
 * @param {AbortSignal} signal
 * @returns {Promise<{passes: number, tokens: number} | null>}
 */
export async function fetchWork(signal) {
  try {
    const { content: text } = await reach("metrics", { signal });
    const sum = (series) => {
      const found = [...text.matchAll(series)].map(([, value]) => Number(value));
      return found.reduce((total, value) => total + value, 0);
    };
    const passes = sum(/^quintet_stage_seconds_count\{.*stage="forward".*\} (\S+)$/gm);
    return passes ? { passes, tokens: sum(/^quintet_tokens_total\{.*\} (\S+)$/gm) } : null;
  } catch (error) {
    if (error instanceof Refusal) {
      return null;
    }
    throw error;
  }
}

/**
 * The newest batch jobs; empty where there are none, null where the service does not say just now.
 * @returns {Promise<object[] | null>}
 */
export async function fetchJobs() {
  try {
    const { response, content } = await reach("v1/batches?limit=5", {});
    const none = response.status === 404 || response.status === 401;
    return response.ok ? (parsed(content)?.data ?? null) : none ? [] : null;
  } catch (error) {
    if (error instanceof Refusal) {
      return null;
    }
    throw error;
  }
}

/** Where the content of a file of a batch job is. */
export const addressOf = (fileId) => `v1/files/${fileId}/content`;

/**
 * The content of a file of a batch job, for which a link cannot ask where a key is needed.
 * @param {string} fileId
 * @returns {Promise<Blob>}
 */
export async function fetchFile(fileId) {
  const { response, content } = await reach(addressOf(fileId), {}, "blob");
  if (!response.ok) {
    throw new Refusal(sentence(parsed(await content.text()), response.status));
  }
  return content;
}

function post(path, body, signal) {
  const headers = { "content-type": "application/json" };
  const sent = JSON.stringify({ ...body, embedding_type: "base64" });
  return ask(path, { method: "POST", headers, body: sent, signal });
}

/** Little-endian float32, which every browser's own order is. */
function decoded(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

/** The header names the first inputs only: "0, 1, ..., 19, and 80 more". */
function cutInputs(header) {
  const truncated = header.match(/\d+(?=,|$)/g) ?? [];
  const [, more] = header.match(/and (\d+) more$/) ?? [];
  return { truncated: truncated.map(Number), more: Number(more ?? 0) };
}

/** One request. While the service says "later" it is sent again, when the service says. */
async function ask(path, options) {
  for (let attempt = 1; ; attempt += 1) {
    const { response, content, ms } = await reach(path, options);
    const body = parsed(content);
    if (response.ok) {
      if (body === undefined) {
        throw new Refusal(
          `The answer of ${path} is no JSON: is something between here and Quintet?`,
        );
      }
      return { body, headers: response.headers, ms };
    }
    const Kind = response.status === 401 ? KeyRefusal : Refusal;
    const refusal = new Kind(sentence(body, response.status));
    refusal.passing = response.status === 429 || response.status >= 500;
    const pause = Number(response.headers.get("retry-after"));
    const later = BUSY.has(response.status) && pause > 0 && pause <= LONGEST_PAUSE_S;
    if (!later || attempt === MOST_ATTEMPTS) {
      throw refusal;
    }
    tell(`Waiting: ${refusal.message} Trying again in ${pause} s.`);
    try {
      await delay(pause * 1000, options.signal);
    } finally {
      tell("");
    }
  }
}

async function reach(path, options, form = "text") {
  const began = performance.now();
  const headers = { ...options.headers, ...(key && { authorization: `Bearer ${key}` }) };
  try {
    const response = await fetch(path, { ...options, headers });
    const content = await response[form]();
    return { response, content, ms: performance.now() - began };
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    const refusal = new Refusal("The service cannot be reached: is it still running?");
    refusal.passing = true;
    throw refusal;
  }
}

function delay(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The error's own sentence. It counts inputs from 0, as the API does; the page counts from 1. */
function sentence(body, status) {
  if (typeof body?.detail !== "string") {
    return `The service answered ${status} without saying why.`;
  }
  const place = body.detail.match(/^input\[(\d+)\]/);
  return place ? `${body.detail} Here that is number ${Number(place[1]) + 1}.` : body.detail;
}
