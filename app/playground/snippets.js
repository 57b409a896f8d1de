// The requests of a view as programs, written from the very bodies that the page sends. A key is
// never written: programs read it from the environment.

/**
 * What a view asks of the service.
 * @typedef {object} Asked
 * @property {object} [documents] a body of POST /v1/documents; then `embeddings` is the question
 * @property {object} embeddings a body of POST /v1/embeddings
 */

const KEY = "QUINTET_API_KEY";

/**
 * Programs by the name of their language; each takes what is asked, the API's address, ending in
 * /v1, and whether the service asks for a key.
 * @type {Record<string, (asked: Asked, base: string, keyed: boolean) => string>}
 */
export const PROGRAMS = { curl, python, javascript };

/** Commands for a POSIX shell. */
function curl({ documents, embeddings }, base, keyed) {
  const key = keyed ? `  -H "Authorization: Bearer $${KEY}" \\\n` : "";
  const command = (path, body) => {
    // Inside '...' a shell changes nothing; only the quote itself has to leave and come back.
    const quoted = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
    const headers = `${key}  -H 'Content-Type: application/json'`;
    return `curl ${base}/${path} \\\n${headers} \\\n  -d '${quoted}'`;
  };
  const question = command("embeddings", embeddings);
  if (!documents) {
    return question;
  }
  const chunks = command("documents", documents);
  return `# the chunks of the documents\n${chunks}\n\n# the question\n${question}`;
}

function python(asked, base, keyed) {
  return asked.documents ? pythonAsk(asked, base, keyed) : pythonCompare(asked, base, keyed);
}

function pythonAsk({ documents, embeddings }, base, keyed) {
  const [imported, key] = keyed
    ? ["import os\n\n", `, headers={"Authorization": f"Bearer {os.environ['${KEY}']}"}`]
    : ["", ""];
  return `${imported}import httpx

service = httpx.Client(base_url=${JSON.stringify(base)}, timeout=60${key})


def post(path, body):
    return service.post(path, json=body).raise_for_status().json()["data"]


documents = post("documents", ${literal(documents, "")})
question = post("embeddings", ${literal(embeddings, "")})[0]["embedding"]

found = [
    (sum(a * b for a, b in zip(chunk["embedding"], question)), chunk["text"])
    for document in documents
    for chunk in document["chunks"]
]
for similarity, text in sorted(found, reverse=True)[:5]:
    print(f"{similarity:.2f} {text}")
`;
}

/** With OpenAI's SDK, which knows `dimensions` but none of Jina's own fields. */
function pythonCompare({ embeddings }, base, keyed) {
  const { model, dimensions, input, ...own } = embeddings;
  const [imported, key] = keyed ? ["import os\n\n", `os.environ["${KEY}"]`] : ["", '"none"'];
  return `${imported}from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(base)}, api_key=${key})
answer = client.embeddings.create(
    model=${JSON.stringify(model)},
    dimensions=${dimensions},
    input=${literal(input, "    ")},
    extra_body=${literal(own, "    ")},
)
for vector in answer.data:
    print(vector.index, vector.embedding[:4])
`;
}

/** A value as Python writes it. What JSON writes as a string Python reads as the same string. */
function literal(value, indent) {
  if (typeof value === "boolean") {
    return value ? "True" : "False";
  }
  if (value === null || typeof value !== "object") {
    return JSON.stringify(value);
  }
  const list = Array.isArray(value);
  const parts = list
    ? value.map((each) => literal(each, `${indent}    `))
    : Object.entries(value).map(([name, each]) => {
        return `${JSON.stringify(name)}: ${literal(each, `${indent}    `)}`;
      });
  const [open, close] = list ? "[]" : "{}";
  return `${open}\n${parts.map((part) => `${indent}    ${part},\n`).join("")}${indent}${close}`;
}

/** A module for a browser, Node, Deno or Bun. */
function javascript({ documents, embeddings }, base, keyed) {
  const key = keyed ? `\n      authorization: \`Bearer \${process.env.${KEY}}\`,` : "";
  const post = `const post = async (path, body) => {
  const response = await fetch(\`${base}/\${path}\`, {
    method: "POST",
    headers: {
      "content-type": "application/json",${key}
    },
    body: JSON.stringify(body),
  });
  if (!response.ok) {
    throw new Error(await response.text());
  }
  return (await response.json()).data;
};
`;
  if (!documents) {
    return `${post}
const vectors = await post("embeddings", ${JSON.stringify(embeddings, null, 2)});
for (const { index, embedding } of vectors) {
  console.log(index, embedding.slice(0, 4));
}
`;
  }
  return `${post}
const [documents, [{ embedding: question }]] = await Promise.all([
  post("documents", ${inset(documents)}),
  post("embeddings", ${inset(embeddings)}),
]);
const similarity = (vector) => vector.reduce((sum, value, i) => sum + value * question[i], 0);
const found = documents
  .flatMap(({ chunks }) => chunks)
  .map(({ text, embedding }) => [similarity(embedding), text])
  .sort(([one], [two]) => two - one);
for (const [score, text] of found.slice(0, 5)) {
  console.log(score.toFixed(2), text);
}
`;
}

function inset(body) {
  return JSON.stringify(body, null, 2).replaceAll("\n", "\n  ");
}
