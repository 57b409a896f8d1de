// Labels beside points, moved apart until all can be read; the points themselves never move.

const DISTANCE = 13;
const ROOM = { x: 17, y: 13 };
const ROUNDS = 120;

/**
 * Where the label of each point stands, seen from its point.
 * @param {[number, number][]} points
 * @param {[number, number]} size of the frame that labels keep within
 * @returns {[number, number][]}
 */
export function labelOffsets(points, size) {
  const labels = points.map((point) => outward(point, size));
  for (let round = 0; round < ROUNDS; round += 1) {
    labels.forEach((label, i) => {
      labels.slice(i + 1).forEach((other) => part(label, other));
      points.forEach((point) => leave(label, point));
      keepWithin(label, size);
    });
  }
  return labels.map(([x, y], i) => [x - points[i][0], y - points[i][1]]);
}

/** Away from the middle of the frame there is most room. */
function outward([x, y], [width, height]) {
  const angle = Math.atan2(y - height / 2, x - width / 2);
  return [x + DISTANCE * Math.cos(angle), y + DISTANCE * Math.sin(angle)];
}

function part(one, two) {
  const [x, y] = [two[0] - one[0], two[1] - one[1]];
  const lacking = { x: ROOM.x - Math.abs(x), y: ROOM.y - Math.abs(y) };
  if (lacking.x <= 0 || lacking.y <= 0) {
    return;
  }
  const axis = lacking.x < lacking.y ? 0 : 1;
  const step = (Math.min(lacking.x, lacking.y) / 2) * ([x, y][axis] < 0 ? -1 : 1);
  one[axis] -= step;
  two[axis] += step;
}

function leave(label, point) {
  const [x, y] = [label[0] - point[0], label[1] - point[1]];
  const distance = Math.hypot(x, y);
  if (distance >= DISTANCE) {
    return;
  }
  // A label right on a point has no direction to leave in: up.
  const [right, down] = distance > 0 ? [x / distance, y / distance] : [0, -1];
  label[0] = point[0] + DISTANCE * right;
  label[1] = point[1] + DISTANCE * down;
}

function keepWithin(label, [width, height]) {
  label[0] = Math.min(Math.max(label[0], ROOM.x / 2), width - ROOM.x / 2);
  label[1] = Math.min(Math.max(label[1], ROOM.y / 2), height - ROOM.y / 2);
}
