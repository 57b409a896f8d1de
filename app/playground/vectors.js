// N texts have N vectors of D dimensions. All numbers are float64, computed from the API's.

const SWEEPS = 60;
const NEGLIGIBLE = 1e-26;

/**
 * The cosine of each pair: c[i][j] = v[i] . v[j] / (|v[i]| |v[j]|).
 * @param {number[][]} vectors (N, D)
 * @returns {number[][]} (N, N)
 */
export function cosines(vectors) {
  // A zero vector has no direction: its cosines are 0.
  const norms = vectors.map((vector) => Math.sqrt(dot(vector, vector)) || 1);
  return vectors.map((one, i) => vectors.map((two, j) => dot(one, two) / (norms[i] * norms[j])));
}

/**
 * Entry by entry, one matrix minus another.
 * @param {number[][]} one
 * @param {number[][]} two
 * @returns {number[][]}
 */
export function minus(one, two) {
  return one.map((row, i) => row.map((value, j) => value - two[i][j]));
}

/**
 * Each vector on the two axes along which the vectors differ most (PCA), and the share of the
 * variance that each axis has. Distances are those of the vectors, as far as two axes hold them.
 *
 * From the N x N matrix of centred products rather than the D x D covariance: texts here are
 * fewer than dimensions, and its eigenvectors times sqrt(eigenvalue) are the coordinates.
 * @param {number[][]} vectors (N, D), N at least 2
 * @returns {{points: [number, number][], shares: [number, number]}}
 */
export function principalAxes(vectors) {
  const middle = vectors[0].map((_, d) => mean(vectors.map((vector) => vector[d])));
  const centred = vectors.map((vector) => vector.map((value, d) => value - middle[d]));
  const products = centred.map((one) => centred.map((two) => dot(one, two)));
  const { values, columns } = eigen(products);
  const order = [...values.keys()].sort((i, j) => values[j] - values[i]).slice(0, 2);
  const variance = values.reduce((sum, value) => sum + value, 0) || 1;
  const axes = order.map((k) => {
    const length = Math.sqrt(Math.max(values[k], 0));
    return columns[k].map((value) => value * length);
  });
  return {
    points: vectors.map((_, i) => [axes[0][i], axes[1][i]]),
    shares: order.map((k) => Math.max(values[k], 0) / variance),
  };
}

function dot(one, two) {
  let sum = 0;
  for (let d = 0; d < one.length; d += 1) {
    sum += one[d] * two[d];
  }
  return sum;
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/**
 * Eigenvalues and unit eigenvectors of a symmetric matrix, by Jacobi's rotations: slow for large
 * matrices, short, and exact to rounding for any.
 */
function eigen(symmetric) {
  const rows = symmetric.map((row) => [...row]);
  const columns = rows.map((_, i) => rows.map((__, j) => Number(i === j)));
  const size = dot(rows.flat(), rows.flat());
  for (let sweep = 0; sweep < SWEEPS && beside(rows) > NEGLIGIBLE * size; sweep += 1) {
    for (let p = 0; p < rows.length; p += 1) {
      for (let q = p + 1; q < rows.length; q += 1) {
        rotate(rows, columns, p, q);
      }
    }
  }
  return { values: rows.map((row, i) => row[i]), columns };
}

/** The sum of squares beside the diagonal. */
function beside(rows) {
  return rows.reduce((sum, row, i) => sum + dot(row, row) - row[i] * row[i], 0);
}

/** Turn the plane of p and q so that rows[p][q] becomes 0 (Golub and Van Loan, 8.5.2). */
function rotate(rows, columns, p, q) {
  if (rows[p][q] === 0) {
    return;
  }
  const tau = (rows[q][q] - rows[p][p]) / (2 * rows[p][q]);
  const tangent = (tau < 0 ? -1 : 1) / (Math.abs(tau) + Math.hypot(1, tau));
  const cosine = 1 / Math.hypot(1, tangent);
  const sine = tangent * cosine;
  const turned = (one, two) => [cosine * one - sine * two, sine * one + cosine * two];
  for (let k = 0; k < rows.length; k += 1) {
    [rows[k][p], rows[k][q]] = turned(rows[k][p], rows[k][q]);
  }
  for (let k = 0; k < rows.length; k += 1) {
    [rows[p][k], rows[q][k]] = turned(rows[p][k], rows[q][k]);
    [columns[p][k], columns[q][k]] = turned(columns[p][k], columns[q][k]);
  }
}
