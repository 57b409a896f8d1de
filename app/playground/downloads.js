// What leaves the page: vectors as files, text to the clipboard.

/**
 * Vectors as NumPy's .npy, version 1.0: float32, little-endian, C order.
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 * @param {Float32Array[]} vectors (N, D), N at least 1
 * @returns {Blob}
 */
export function npy(vectors) {
  const shape = `(${vectors.length}, ${vectors[0].length})`;
  const header = `{'descr': '<f4', 'fortran_order': False, 'shape': ${shape}, }`;
  const padded = `${header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11)}\n`;
  const length = [padded.length % 256, padded.length >> 8];
  const start = Uint8Array.from([
    0x93,
    ...[..."NUMPY"].map((c) => c.charCodeAt(0)),
    1,
    0,
    ...length,
  ]);
  return new Blob([start, padded, ...vectors], { type: "application/octet-stream" });
}

/**
 * Records as JSON, one a line.
 * @param {object[]} records
 * @returns {Blob}
 */
export function jsonl(records) {
  const lines = records.map((record) => `${JSON.stringify(record)}\n`);
  return new Blob(lines, { type: "application/jsonl" });
}

/**
 * Have the browser save a file.
 * @param {Blob} blob
 * @param {string} name
 */
export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/**
 * Copy a text. Browsers give pages without TLS no clipboard, and Quintet mostly runs without: then
 * a selection is copied, from a box that is there for that moment only.
 * @param {string} text
 * @returns {Promise<boolean>} whether that worked
 */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const [box, focused] = [document.createElement("textarea"), document.activeElement];
    box.value = text;
    box.className = "unseen";
    document.body.append(box);
    box.select();
    const copied = document.execCommand("copy");
    box.remove();
    focused?.focus();
    return copied;
  }
}
