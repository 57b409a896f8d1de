// What vectors have to do with each other: cosines and principal axes. N texts have vectors of `size`
// dimensions, as rows of one flat array. Sums are float64.

const BLOCK = 16;
const ROUNDS = 24;
const SWEEPS = 60;
const NEGLIGIBLE = 1e-26;

/**
 * Rows cut to a size and scaled to length 1; one without a direction stays 0.
 * @param {Float32Array[]} vectors
 * @param {number} size
 * @returns {Float64Array} (N * size)
 */
export function unitRows(vectors, size) {
  const rows = new Float64Array(vectors.length * size);
  vectors.forEach((vector, i) => {
    let square = 0;
    for (let d = 0; d < size; d += 1) {
      square += vector[d] * vector[d];
    }
    const length = Math.sqrt(square) || 1;
    for (let d = 0; d < size; d += 1) {
      rows[i * size + d] = vector[d] / length;
    }
  });
  return rows;
}

/**
 * The cosine of each pair: c[i * N + j] = rows[i] . rows[j].
 * @param {Float64Array} rows
 * @param {number} size
 * @returns {Float32Array} (N * N)
 */
export function cosines(rows, size) {
  const n = rows.length / size;
  const matrix = new Float32Array(n * n);
  for (let i = 0; i < n; i += 1) {
    for (let j = i; j < n; j += 1) {
      matrix[i * n + j] = product(rows, i * size, rows, j * size, size);
      matrix[j * n + i] = matrix[i * n + j];
    }
  }
  return matrix;
}

function product(one, from, two, at, size) {
  let sum = 0;
  for (let d = 0; d < size; d += 1) {
    sum += one[from + d] * two[at + d];
  }
  return sum;
}

/**
 * Each row on the two axes along which rows differ most (PCA), and the share of the variance that
 * each axis has. Distances are those of the rows, as far as two axes hold them.
 *
 * By subspace iteration on the N x N matrix of centred products, which is never written down, with
 * a Rayleigh-Ritz step at the end (Golub and Van Loan, 8.2.4): exact to rounding for up to BLOCK
 * rows, and good to what a picture shows beyond.
 * @param {Float64Array} rows
 * @param {number} size
 * @returns {{points: [number, number][], shares: [number, number]}}
 */
export function principalAxes(rows, size) {
  const n = rows.length / size;
  const centred = centre(rows, n, size);
  let basis = orthonormal(Array.from({ length: Math.min(n, BLOCK) }, (_, b) => wave(n, b)));
  for (let round = 0; n > BLOCK && round < ROUNDS; round += 1) {
    basis = orthonormal(basis.map((column) => products(centred, column, size)));
  }
  const images = basis.map((column) => products(centred, column, size));
  const small = basis.map((one) => images.map((two) => product(one, 0, two, 0, n)));
  const { values, columns } = eigen(small);
  const order = [...values.keys()].sort((i, j) => values[j] - values[i]).slice(0, 2);
  const variance = product(centred, 0, centred, 0, centred.length) || 1;
  const axes = order.map((k) => {
    const length = Math.sqrt(Math.max(values[k], 0));
    return (i) => length * basis.reduce((sum, column, b) => sum + columns[k][b] * column[i], 0);
  });
  return {
    points: Array.from({ length: n }, (_, i) => [axes[0](i), axes[1](i)]),
    shares: order.map((k) => Math.max(values[k], 0) / variance),
  };
}

function centre(rows, n, size) {
  const centred = rows.slice();
  for (let d = 0; d < size; d += 1) {
    let sum = 0;
    for (let i = 0; i < n; i += 1) {
      sum += rows[i * size + d];
    }
    for (let i = 0; i < n; i += 1) {
      centred[i * size + d] -= sum / n;
    }
  }
  return centred;
}

/** A start that is the same each time and in no special direction. */
function wave(n, b) {
  return Float64Array.from({ length: n }, (_, i) => Math.sin((i + 1) * (b + 1) * 1.618) + 1e-3 * i);
}

/** X X^T column, for X (N, size). */
function products(rows, column, size) {
  const folded = new Float64Array(size);
  column.forEach((weight, i) => {
    for (let d = 0; d < size; d += 1) {
      folded[d] += weight * rows[i * size + d];
    }
  });
  return column.map((_, i) => product(rows, i * size, folded, 0, size));
}

/** Gram and Schmidt, twice, which is enough. */
function orthonormal(columns) {
  const done = [];
  for (const column of columns) {
    const before = Math.sqrt(product(column, 0, column, 0, column.length));
    for (let time = 0; time < 2; time += 1) {
      for (const other of done) {
        const shared = product(column, 0, other, 0, column.length);
        column.forEach((_, i) => (column[i] -= shared * other[i]));
      }
    }
    const length = Math.sqrt(product(column, 0, column, 0, column.length));
    // What is left of a column that the others span is rounding, no direction.
    done.push(column.map((value) => (length > 1e-12 * before ? value / length : 0)));
  }
  return done;
}

/** Eigenvalues and unit eigenvectors of a small symmetric matrix, by Jacobi's rotations. */
function eigen(symmetric) {
  const rows = symmetric.map((row) => [...row]);
  const columns = rows.map((_, i) => rows.map((__, j) => Number(i === j)));
  const total = rows.flat().reduce((sum, value) => sum + value * value, 0);
  for (let sweep = 0; sweep < SWEEPS && beside(rows) > NEGLIGIBLE * total; sweep += 1) {
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
  const square = (row) => row.reduce((sum, value) => sum + value * value, 0);
  return rows.reduce((sum, row, i) => sum + square(row) - row[i] * row[i], 0);
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
