// What takes a moment for 2,048 texts is computed beside the page, which never stands still.

import { clusterOrder } from "./clusters.js";
import { cosines, principalAxes, unitRows } from "./vectors.js";

/**
 * @typedef {object} Computed
 * @property {Float32Array[]} matrices (N * N) cosines of each set of vectors
 * @property {number[]} order similar texts next to each other
 * @property {[number, number][]} points of the last set
 * @property {[number, number]} shares
 */

addEventListener("message", ({ data: { sets, size } }) => {
  const rows = sets.map((vectors) => unitRows(vectors, size));
  const matrices = rows.map((each) => cosines(each, size));
  const order = clusterOrder(matrices.at(-1), sets[0].length);
  postMessage({ matrices, order, ...principalAxes(rows.at(-1), size) });
});
