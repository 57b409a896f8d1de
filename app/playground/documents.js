// Documents: the text of the page's box, and files, become documents.

/** @typedef {{name: string, text: string}} Document */

const TITLE = /^=== +(\S.*?) *(?:===)?$/;
// A line of a document that would begin another one has a backslash before it.
const BARE = /^(?=\\*=== +\S)/gm;
const QUOTED = /^\\(?=\\*=== +\S)/;
const MOST_BYTES = 4 * 2 ** 20;
const TEXT_NAMES = ["text", "content", "body", "document", "passage", "chunk", "description"];
const NAME_NAMES = ["title", "name", "id", "_id", "key"];

/**
 * The documents of a text. A line `=== Name` begins one; a text without such lines is cut at blank
 * lines, or is one document.
 * @param {string} text
 * @param {boolean} blank whether blank lines cut
 * @returns {Document[]}
 */
export function documentsOf(text, blank) {
  const lines = lined(text).split("\n");
  const titled = lines.some((line) => TITLE.test(line));
  const parts = [{ name: "", lines: [] }];
  for (const line of lines) {
    const title = line.match(TITLE);
    if (title || (!titled && blank && line.trim() === "")) {
      parts.push({ name: title ? title[1] : "", lines: [] });
    } else {
      parts.at(-1).lines.push(titled ? line.replace(QUOTED, "") : line);
    }
  }
  return parts
    .map(({ name, lines: own }) => ({ name, text: own.join("\n").trim() }))
    .filter((document) => document.text !== "")
    .map(({ name, text: own }, i) => ({ name: name || `Document ${i + 1}`, text: own }));
}

/**
 * Documents as a text from which `documentsOf` makes them again.
 * @param {Document[]} documents
 * @returns {string}
 */
export function textOf(documents) {
  const titleOf = (name) => name.replaceAll(/\s+/g, " ").trim() || "Document";
  return documents
    .map(({ name, text }) => `=== ${titleOf(name)}\n${lined(text).replaceAll(BARE, "\\")}`)
    .join("\n");
}

function lined(text) {
  return text.replaceAll(/\r\n?/g, "\n");
}

/**
 * The documents of a file: of .csv a record each, of .jsonl a line each, else the whole.
 * @param {File} file
 * @returns {Promise<Document[]>}
 * @throws {Error} with a sentence for the user
 */
export async function readFile(file) {
  if (file.size > MOST_BYTES) {
    const megabytes = (Math.ceil((file.size / 2 ** 20) * 10) / 10).toFixed(1);
    throw new Error(
      `${file.name} has ${megabytes} MB; this page reads files of up to 4 MB. ` +
        "For more there is quintet embed.",
    );
  }
  const text = decoded(await file.arrayBuffer(), file.name);
  const kind = file.name.split(".").at(-1).toLowerCase();
  const read = { csv: ofCsv, jsonl: ofJsonl, ndjson: ofJsonl }[kind] ?? ofWhole;
  const documents = read(text, file.name).filter((document) => document.text.trim() !== "");
  if (documents.length === 0) {
    throw new Error(`${file.name} has no text.`);
  }
  return documents;
}

/** In another encoding letters would become U+FFFD, without a word. */
function decoded(bytes, name) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error(
      `${name} is no text in UTF-8: save it as UTF-8. This page reads .txt, .md, .csv and .jsonl.`,
    );
  }
}

function ofWhole(text, name) {
  if (text.includes("\0")) {
    throw new Error(`${name} is no text file; this page reads .txt, .md, .csv and .jsonl.`);
  }
  return [{ name, text }];
}

function ofJsonl(text, file) {
  const lines = text.split(/\r?\n/);
  return lines.flatMap((line, i) => {
    if (line.trim() === "") {
      return [];
    }
    const place = `Line ${i + 1} of ${file}`;
    const record = parsed(line, place);
    const own = typeof record === "string" ? { text: record } : record;
    const field = TEXT_NAMES.find((name) => typeof own?.[name] === "string");
    if (field === undefined) {
      throw new Error(`${place} has no field "text".`);
    }
    return [{ name: nameOf(own) ?? `${file}:${i + 1}`, text: own[field] }];
  });
}

function parsed(line, place) {
  try {
    return JSON.parse(line);
  } catch {
    throw new Error(`${place} is no JSON.`);
  }
}

function nameOf(record) {
  const field = NAME_NAMES.find((name) => ["string", "number"].includes(typeof record[name]));
  return field && String(record[field]);
}

/** A first record with a known name for the text is a header; else the longest column is it. */
function ofCsv(text, file) {
  const rows = csvRows(text);
  const header = (rows[0] ?? []).map((cell) => cell.trim().toLowerCase());
  const known = TEXT_NAMES.map((name) => header.indexOf(name)).find((column) => column >= 0);
  const records = known === undefined ? rows : rows.slice(1);
  const column = known ?? longest(rows);
  const title = NAME_NAMES.map((name) => header.indexOf(name)).find((place) => place >= 0);
  return records.map((row, i) => ({
    name: (known !== undefined && row[title]) || `${file}:${i + 1}`,
    text: row[column] ?? "",
  }));
}

function longest(rows) {
  const sums = [];
  for (const row of rows) {
    row.forEach((cell, i) => (sums[i] = (sums[i] ?? 0) + cell.length));
  }
  return sums.indexOf(Math.max(...sums));
}

/**
 * Records of RFC 4180, whatever ends their lines, with commas or, where the first line has more of
 * them, semicolons.
 */
function csvRows(file) {
  const text = file.replace(/^\uFEFF/, "").replaceAll(/\r\n?/g, "\n");
  const first = text.split("\n", 1)[0];
  const comma = first.split(";").length > first.split(",").length ? ";" : ",";
  const cell = new RegExp(`(?:"((?:[^"]|"")*)"|([^${comma}\\n]*))(${comma}|\\n|$)`, "gy");
  const rows = [[]];
  for (const [whole, quoted, plain, end] of text.matchAll(cell)) {
    rows.at(-1).push(quoted?.replaceAll('""', '"') ?? plain);
    if (end === "" || whole === "") {
      break;
    }
    if (end !== comma) {
      rows.push([]);
    }
  }
  return rows.filter((row) => row.some((value) => value.trim() !== ""));
}
