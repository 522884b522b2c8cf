// Where messages stand so that they are above no control: the lowest free place. Geometry only; toast.js asks.

export const MARGIN = 12;
const GAP = 4;
const OPERATED = "a[href], button, input, select, textarea, summary, [role='tab']";
const LARGEST_PANE = 120;

/** The boxes of all that can be operated in the window, but for what is inside `own`. */
export function controls(own) {
  return [...document.querySelectorAll(`${OPERATED}, [tabindex='0']`)]
    .filter((node) => !own.contains(node))
    .map((node) => [node, node.getBoundingClientRect()])
    .filter(([, rect]) => rect.width > 0 && rect.height > 0 && rect.bottom > 0 && rect.top < innerHeight)
    // A pane that is scrolled by keyboard may be as large as the page: it is no button that one would miss.
    .filter(([node, rect]) => rect.height < LARGEST_PANE || node.matches(OPERATED))
    .map(([, rect]) => rect);
}

/** True when `box` is inside the window and above none of `busy`. */
export function isFree(box, busy) {
  if (box.top < 0 || box.left < 0 || box.bottom > innerHeight || box.right > innerWidth) return false;
  return busy.every(
    (rect) => rect.bottom + GAP <= box.top || rect.top - GAP >= box.bottom || rect.right + GAP <= box.left || rect.left - GAP >= box.right,
  );
}

/** The lowest free place for something of this size, {left, bottom} as CSS counts them; null where there is none. */
export function lowestPlace(width, height, busy) {
  const most = innerWidth - width - MARGIN;
  const beside = busy.flatMap((rect) => [rect.right + GAP, rect.left - GAP - width]);
  const lefts = [...new Set([MARGIN, most, ...beside])].filter((left) => left >= MARGIN && left <= Math.max(most, MARGIN));
  const floors = [innerHeight - MARGIN, ...busy.map((rect) => rect.top - GAP)]
    .filter((floor) => floor <= innerHeight - MARGIN && floor - height >= MARGIN)
    .sort((one, other) => other - one);
  for (const bottom of floors) {
    const row = busy.filter((rect) => rect.bottom + GAP > bottom - height && rect.top - GAP < bottom);
    for (const left of lefts) {
      const box = { left, right: left + width, top: bottom - height, bottom };
      if (isFree(box, row)) return { left, bottom: innerHeight - bottom };
    }
  }
  return null;
}
