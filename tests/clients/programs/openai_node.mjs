// openai for Node: change baseURL; other fields go beside the known ones.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout } from "node:timers/promises";

const { default: OpenAI, toFile } = createRequire(`${process.env.NODE_HOME}/`)("openai");
const [url, texts] = [process.argv[2], JSON.parse(readFileSync(0, "utf8"))];
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
const ask = async (fields) => {
  const answer = await client.embeddings.create({ model: "quintet-mini", input: texts, ...fields });
  return { request: fields, vectors: answer.data.map((each) => each.embedding) };
};
const told = [await ask({}), await ask({ task: "separation", dimensions: 64 })];

const lines = texts.map((input, n) => ({
  custom_id: `c${n}`,
  method: "POST",
  url: "/v1/embeddings",
  body: { input },
}));
const content = lines.map((line) => JSON.stringify(line)).join("\n");
const file = await client.files.create({
  file: await toFile(Buffer.from(content), "in.jsonl"),
  purpose: "batch",
});
let job = await client.batches.create({
  input_file_id: file.id,
  endpoint: "/v1/embeddings",
  completion_window: "24h",
});
while (!["completed", "failed", "expired", "cancelled"].includes(job.status)) {
  await setTimeout(100);
  job = await client.batches.retrieve(job.id);
}
if (job.request_counts.completed !== texts.length) throw new Error(JSON.stringify(job));
const page = await client.batches.list({ limit: 1 });
if (page.data[0].id !== job.id) throw new Error("the newest job is not the first one");
const output = await (await client.files.content(job.output_file_id)).text();
const answers = output.trim().split("\n").map((line) => JSON.parse(line).response.body);
told.push({ request: {}, vectors: answers.map((body) => body.data[0].embedding) });
try {
  await client.batches.cancel(job.id);
  throw new Error("a job that had ended was cancelled");
} catch (error) {
  if (error.status !== 409) throw error;
}
try {
  await ask({ task: "no-such-task" });
  throw new Error("an unknown task was answered");
} catch (error) {
  if (error.status !== 422 || !error.message.includes("unknown task")) throw error;
}
console.log(JSON.stringify(told));
