// The verdict: one sentence that says what late chunking did, computed from the two rankings.

const QUOTED = 60;
const SHORTEST = 3;

/**
 * @typedef {object} Verdict
 * @property {"better" | "worse" | "same" | "open"} kind
 * @property {string} sentence what happened
 * @property {string} why what can be read off the result about it, or what to do next
 */

/**
 * @param {object} result
 * @param {string} result.question
 * @param {string[]} result.texts of the documents
 * @param {{document: number, text: string}[]} result.chunks
 * @param {import("./ranking.js").Ranking} alone
 * @param {import("./ranking.js").Ranking} late
 * @param {number | null} answer the chunk that is marked as the answer
 * @returns {Verdict}
 */
export function verdict(result, alone, late, answer) {
  if (result.chunks.length < 2) {
    return open("There is one chunk only, so nothing to rank.", "Add more text.");
  }
  if (answer === null) {
    return undecided(result, alone, late);
  }
  const [before, after] = [alone.ranks[answer], late.ranks[answer]];
  const way = `from rank ${before} to rank ${after}`;
  if (after < before) {
    const sentence = `Late chunking helps here: the answer rises ${way}.`;
    return { kind: "better", sentence, why: whyBetter(result, answer) };
  }
  if (after > before) {
    const sentence = `Late chunking hurts here: the answer falls ${way}.`;
    return { kind: "worse", sentence, why: whyWorse(result, alone, late, answer) };
  }
  const sentence =
    after === 1
      ? "Late chunking is not needed here: the answer is first either way."
      : `Late chunking does not help here: the answer stays at rank ${after}.`;
  return { kind: "same", sentence, why: margins(alone, late, answer) };
}

function open(sentence, why) {
  return { kind: "open", sentence, why };
}

function undecided({ chunks }, alone, late) {
  const why = "Mark the chunk that answers your question: click it in a list or in a document.";
  if (alone.order[0] !== late.order[0]) {
    const [one, two] = [alone.order[0], late.order[0]].map((chunk) => quoted(chunks[chunk].text));
    return open(`Read alone, ${one} comes first; with late chunking ${two} does.`, why);
  }
  const moved = alone.ranks.filter((rank, chunk) => rank !== late.ranks[chunk]).length;
  const rest = moved
    ? `${moved} of ${chunks.length} chunks have another rank`
    : "no chunk has another rank";
  return open(`The same chunk comes first either way; ${rest}.`, why);
}

function whyBetter(result, answer) {
  const word = missingWord(result, answer);
  return word
    ? `The answer itself never says ${isolated(word)}. Its document does, and late chunking has ` +
        "read it."
    : "Its vector now also knows the rest of its document.";
}

function whyWorse({ chunks }, alone, late, answer) {
  const overtook = late.order
    .slice(0, late.ranks[answer] - 1)
    .find((chunk) => alone.ranks[chunk] > alone.ranks[answer]);
  return (
    `${quoted(chunks[overtook].text)} has overtaken it. Context is no help where a document is ` +
    "about many things, or where the answer says everything itself."
  );
}

function margins(alone, late, answer) {
  const [before, after] = [alone, late].map(({ scores }) => {
    const others = scores.filter((_, chunk) => chunk !== answer);
    return scores[answer] - others.reduce((most, score) => Math.max(most, score), -1);
  });
  const kind =
    late.ranks[answer] === 1 ? "lead over the next chunk" : "distance to the first chunk";
  const [from, to] = [before, after].map((margin) => Math.abs(margin).toFixed(2));
  return `Its ${kind} in similarity is ${to} with late chunking and ${from} without.`;
}

/**
 * A word of the question that the answer lacks, its document has, and few chunks have: what the
 * answer could not be found by.
 */
function missingWord({ question, texts, chunks }, answer) {
  const own = chunks[answer].text.toLowerCase();
  const document = texts[chunks[answer].document].toLowerCase();
  const rare = (word) =>
    chunks.filter(({ text }) => text.toLowerCase().includes(word)).length <= chunks.length / 4;
  const fits = (word) => {
    const lower = word.toLowerCase();
    const short = /^[a-z\u00c0-\u024f]*$/.test(lower) && lower.length < SHORTEST;
    return !short && !own.includes(lower) && document.includes(lower) && rare(lower);
  };
  return words(question)
    .filter(fits)
    .sort((one, two) => two.length - one.length)[0];
}

function words(text) {
  const segments = new Intl.Segmenter(undefined, { granularity: "word" }).segment(text);
  return [...segments].filter((part) => part.isWordLike).map((part) => part.segment);
}

function quoted(text) {
  const line = text.replaceAll(/\s+/g, " ");
  return isolated(line.length > QUOTED ? `${line.slice(0, QUOTED).trimEnd()}…` : line);
}

/** In quotes and in a direction of its own: its full stop stays at its end in Arabic, too. */
function isolated(text) {
  return `“\u2068${text}\u2069”`;
}
