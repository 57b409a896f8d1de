// openai for Node: change baseURL; other fields go beside the known ones.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const OpenAI = createRequire(`${process.env.NODE_HOME}/`)("openai").default;
const [url, texts] = [process.argv[2], JSON.parse(readFileSync(0, "utf8"))];
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
const ask = async (fields) => {
  const answer = await client.embeddings.create({ model: "quintet-mini", input: texts, ...fields });
  return { request: fields, vectors: answer.data.map((each) => each.embedding) };
};
const told = [await ask({}), await ask({ task: "separation", dimensions: 64 })];
try {
  await ask({ task: "no-such-task" });
  throw new Error("an unknown task was answered");
} catch (error) {
  if (error.status !== 422 || !error.message.includes("unknown task")) throw error;
}
console.log(JSON.stringify(told));
