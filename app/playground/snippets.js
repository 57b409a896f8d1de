// The request as programs. Both are written from the very object that the page sends. A key is never
// written: they read it from the environment.

/** @typedef {import("./api.js").EmbeddingsRequest} EmbeddingsRequest */

/**
 * A curl command for a POSIX shell.
 * @param {EmbeddingsRequest} request
 * @param {string} base the API's address, ending in /v1
 * @param {boolean} keyed whether the service asks for a key
 * @returns {string}
 */
export function curl(request, base, keyed) {
  // Inside '...' a shell changes nothing; only the quote itself has to leave and come back.
  const body = JSON.stringify(request, null, 2).replaceAll("'", "'\\''");
  const key = keyed ? `  -H "Authorization: Bearer $QUINTET_API_KEY" \\\n` : "";
  return `curl ${base}/embeddings \\
${key}  -H 'Content-Type: application/json' \\
  -d '${body}'`;
}

/**
 * A program with OpenAI's SDK, which knows `dimensions` but neither `task` nor `late_chunking`.
 * @param {EmbeddingsRequest} request
 * @param {string} base the API's address, ending in /v1
 * @param {boolean} keyed whether the service asks for a key
 * @returns {string}
 */
export function python(request, base, keyed) {
  const { model, task, dimensions, late_chunking: late, input } = request;
  // What JSON writes as a string Python reads as the same string.
  const texts = input.map((text) => `        ${JSON.stringify(text)},\n`).join("");
  const own = task ? `"task": ${JSON.stringify(task)}, ` : "";
  const [imported, key] = keyed
    ? ["import os\n\n", 'os.environ["QUINTET_API_KEY"]']
    : ["", '"none"'];
  return `${imported}from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(base)}, api_key=${key})
answer = client.embeddings.create(
    model=${JSON.stringify(model)},
    dimensions=${dimensions},
    input=[
${texts}    ],
    extra_body={${own}"late_chunking": ${late ? "True" : "False"}},
)
for vector in answer.data:
    print(vector.index, vector.embedding[:4])
`;
}

/**
 * Copy an element's text and say so on the button.
 * @param {HTMLElement} source
 * @param {HTMLElement} button
 * @param {(sentence: string) => void} say
 */
export async function copy(source, button, say) {
  const copied = await toClipboard(source);
  const word = button.firstChild;
  word.textContent = copied ? "Copied" : "Press Ctrl+C";
  button.addEventListener("blur", () => (word.textContent = "Copy"), { once: true });
  say(copied ? "Copied to the clipboard." : "Selected; press Ctrl+C to copy.");
}

/** Browsers give pages without TLS no clipboard, and Quintet mostly runs without: select then. */
async function toClipboard(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
}
