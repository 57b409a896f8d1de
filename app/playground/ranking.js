// Ranking: vectors -> similarities, ranks, and what shorter vectors do to them.
//
// C chunks, D dimensions. A size d <= D means: the first d numbers of each vector, which is what
// the service's `dimensions` does; lengths do not matter to a cosine.

/**
 * The cosine of two vectors cut to a size; 0 where one has no direction.
 * @param {ArrayLike<number>} one
 * @param {ArrayLike<number>} two
 * @param {number} size
 * @returns {number}
 */
export function cosine(one, two, size) {
  let [product, left, right] = [0, 0, 0];
  for (let d = 0; d < size; d += 1) {
    product += one[d] * two[d];
    left += one[d] * one[d];
    right += two[d] * two[d];
  }
  return left && right ? product / Math.sqrt(left * right) : 0;
}

/**
 * Chunks in the order of their similarity to a question.
 * @typedef {object} Ranking
 * @property {number[]} scores (C) cosine of each chunk
 * @property {number[]} order (C) chunks, most similar first
 * @property {number[]} ranks (C) of each chunk, from 1
 */

/**
 * @param {Float32Array} question
 * @param {Float32Array[]} vectors (C, D)
 * @param {number} size
 * @returns {Ranking}
 */
export function ranking(question, vectors, size) {
  const scores = vectors.map((vector) => cosine(question, vector, size));
  const order = [...scores.keys()].sort((i, j) => scores[j] - scores[i]);
  const ranks = [];
  order.forEach((chunk, i) => (ranks[chunk] = i + 1));
  return { scores, order, ranks };
}

/**
 * How many of the best chunks two rankings have in common.
 * @param {Ranking} one
 * @param {Ranking} two
 * @param {number} best
 */
export function overlap(one, two, best) {
  const seen = new Set(one.order.slice(0, best));
  return two.order.slice(0, best).filter((chunk) => seen.has(chunk)).length;
}

/**
 * A vector cut to a size and scaled to length 1, as the service gives it.
 * @param {Float32Array} vector
 * @param {number} size
 * @returns {Float32Array}
 */
export function shortened(vector, size) {
  const cut = vector.slice(0, size);
  const length = Math.hypot(...cut) || 1;
  return cut.map((value) => value / length);
}

/**
 * Matryoshka sizes of the served model, its width last.
 * @param {object} info the answer of GET /info
 * @returns {number[]}
 */
export function sizesOf(info) {
  return [...new Set([...info.matryoshka_dimensions, info.width])].sort((a, b) => a - b);
}
