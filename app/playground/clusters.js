// An order in which similar texts are neighbours.

/**
 * The leaves of a hierarchical clustering with average linkage, by chains of nearest neighbours
 * (Murtagh 1983), in O(N^2). Two clusters are put together at their most similar ends.
 * @param {Float32Array} cosines (N * N)
 * @param {number} n
 * @returns {number[]} (N) each text once
 */
export function clusterOrder(cosines, n) {
  const similar = cosines.slice();
  const clusters = Array.from({ length: n }, (_, i) => [i]);
  const alive = new Set(clusters.keys());
  const chain = [];
  while (alive.size > 1) {
    if (chain.length === 0) {
      chain.push(alive.values().next().value);
    }
    const [last, before] = [chain.at(-1), chain.at(-2)];
    const next = nearest(similar, n, alive, last, before);
    if (next !== before) {
      chain.push(next);
      continue;
    }
    chain.length -= 2;
    merge(similar, n, alive, [last, next], clusters);
    clusters[last] = joined(clusters[last], clusters[next], (i, j) => cosines[i * n + j]);
    alive.delete(next);
  }
  return clusters[alive.values().next().value] ?? [];
}

/** The most similar cluster; at a tie the one before in the chain, so that chains end. */
function nearest(similar, n, alive, cluster, before) {
  let [best, most] = [before, before === undefined ? -Infinity : similar[cluster * n + before]];
  for (const other of alive) {
    if (other !== cluster && similar[cluster * n + other] > most) {
      [best, most] = [other, similar[cluster * n + other]];
    }
  }
  return best;
}

function merge(similar, n, alive, [one, two], clusters) {
  const [first, second] = [clusters[one].length, clusters[two].length];
  for (const other of alive) {
    const mean =
      (first * similar[one * n + other] + second * similar[two * n + other]) / (first + second);
    similar[one * n + other] = mean;
    similar[other * n + one] = mean;
  }
}

function joined(one, two, similarity) {
  const ways = [
    [one, two],
    [one, two.toReversed()],
    [one.toReversed(), two],
    [one.toReversed(), two.toReversed()],
  ];
  const fit = ([left, right]) => similarity(left.at(-1), right[0]);
  return ways.reduce((best, way) => (fit(way) > fit(best) ? way : best)).flat();
}
