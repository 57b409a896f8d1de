// The API, as this page uses it. Paths are relative to the page, so that it also works behind a
// proxy that adds a prefix.

/**
 * The body of POST /v1/embeddings.
 * @typedef {object} EmbeddingsRequest
 * @property {string} model
 * @property {string} [task] absent is the base model, where the service reads it so
 * @property {number} dimensions
 * @property {boolean} late_chunking
 * @property {string[]} input
 */

/**
 * @typedef {object} Embedded
 * @property {number[][]} vectors in the order of the inputs
 * @property {number} ms from sending to having read the answer, in this browser
 * @property {number} processingMs what the service says it took
 */

/** A request that has no answer; the message is a sentence to show. */
export class Refusal extends Error {}

/** The service asks for a key, or does not know the one it was sent. */
export class KeyRefusal extends Refusal {}

/** What requests are sent with; empty is none. */
let key = "";

/**
 * Send requests with a key from now on.
 * @param {string} given empty sends none
 */
export function useKey(given) {
  key = given;
}

/**
 * What is served: GET /info, and the description of the first name from GET /v1/models.
 * @param {AbortSignal} signal
 * @returns {Promise<object>}
 */
export async function fetchInfo(signal) {
  const [info, models] = await Promise.all([
    ask("info", { signal }),
    ask("v1/models", { signal }),
  ]);
  const name = info.body.served_names[0];
  const { description } = models.body.data.find((model) => model.id === name);
  return { ...info.body, name, description };
}

/**
 * A vector for each input.
 * @param {EmbeddingsRequest} request
 * @param {AbortSignal} signal
 * @returns {Promise<Embedded>}
 */
export async function embed(request, signal) {
  const { body, headers, ms } = await ask("v1/embeddings", posted(request, signal));
  return {
    vectors: body.data.map(({ embedding }) => embedding),
    ms,
    processingMs: Number(headers.get("openai-processing-ms")),
  };
}

/**
 * Token counts of the inputs, in their order, and their total.
 * @param {EmbeddingsRequest} request
 * @param {AbortSignal} signal
 * @returns {Promise<{counts: number[], total: number}>}
 */
export async function countTokens({ model, task, input }, signal) {
  const counting = { model, task, input, counts_only: true };
  const { body } = await ask("tokenize", posted(counting, signal));
  return { counts: body.inputs.map(({ tokens }) => tokens), total: body.total_tokens };
}

function posted(body, signal) {
  const headers = { "content-type": "application/json" };
  return { method: "POST", headers, body: JSON.stringify(body), signal };
}

async function ask(path, options) {
  const began = performance.now();
  const headers = { ...options.headers, ...(key && { authorization: `Bearer ${key}` }) };
  const { response, text } = await reach(path, { ...options, headers });
  const ms = performance.now() - began;
  const body = parsed(text);
  if (!response.ok) {
    const Kind = response.status === 401 ? KeyRefusal : Refusal;
    throw new Kind(sentence(body, response.status));
  }
  if (body === undefined) {
    throw new Refusal(`The answer of ${path} is no JSON: is something between here and Quintet?`);
  }
  return { body, headers: response.headers, ms };
}

async function reach(path, options) {
  try {
    const response = await fetch(path, options);
    return { response, text: await response.text() };
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    throw new Refusal("The service cannot be reached: is it still running?");
  }
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
  return place ? `${body.detail} Here that is text ${Number(place[1]) + 1}.` : body.detail;
}
