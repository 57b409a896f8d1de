// Elements. Children go in as text nodes, never as HTML: texts are a stranger's.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element by its id, which index.html has.
 * @param {string} id
 * @returns {HTMLElement}
 */
export const byId = (id) => document.getElementById(id);

/**
 * A new HTML element.
 * @param {string} name
 * @param {Record<string, string | number>} [attributes]
 * @param {...(Node | string | number)} children
 * @returns {HTMLElement}
 */
export function html(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/**
 * A new SVG element.
 * @param {string} name
 * @param {Record<string, string | number>} [attributes]
 * @param {...(Node | string | number)} children
 * @returns {SVGElement}
 */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/**
 * Elements as one tab stop: an arrow key goes from the one that has the focus to its neighbour.
 * @param {KeyboardEvent} event
 * @param {HTMLElement[]} elements
 */
export function walk(event, elements) {
  const from = elements.indexOf(event.target);
  const last = elements.length - 1;
  const [back, on] = [Math.max(from - 1, 0), Math.min(from + 1, last)];
  const to = { ArrowLeft: back, ArrowUp: back, ArrowRight: on, ArrowDown: on, Home: 0, End: last };
  const goal = elements[to[event.key]];
  if (goal) {
    event.preventDefault();
    elements[from].setAttribute("tabindex", -1);
    goal.setAttribute("tabindex", 0);
    goal.focus();
  }
}
