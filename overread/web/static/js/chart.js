// A curve over rounds with its interval.

import { svg } from "./dom.js";

const HEIGHT = 280;
const EDGE = { left: 56, right: 56, top: 16, bottom: 44 };
/** Room that a label below the axis takes. */
const LABEL = 104;

/** A round number of steps from 0 to at least `most`. */
function ticksTo(most) {
  const rough = Math.max(most, 1) / 4;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * size).find((each) => each >= rough && each * 4 >= most);
  const whole = Math.max(Math.ceil(step), 1);
  return Array.from({ length: Math.ceil(most / whole) + 1 }, (_, i) => i * whole);
}

/** `points`: {round, reads, estimate, low, high}, of which those without an estimate are left out; `width` in pixels. */
export function curve(points, name, width) {
  const known = points.filter(({ estimate }) => estimate !== null);
  const ticks = ticksTo(Math.max(1, ...known.map(({ high, estimate }) => high ?? estimate)));
  const last = Math.max(known.length - 1, 1);
  const inside = Math.max(width - EDGE.left - EDGE.right, 1);
  const x = (i) => EDGE.left + inside * (known.length === 1 ? 0.5 : i / last);
  // Of many rounds every second, third, … is named, the last one always.
  const every = Math.ceil((last * LABEL) / inside);
  const y = (value) => HEIGHT - EDGE.bottom - ((HEIGHT - EDGE.top - EDGE.bottom) * value) / ticks.at(-1);
  const text = (content, attributes) => {
    const element = svg("text", attributes);
    element.textContent = content;
    return element;
  };
  const path = (values, begin = "M") => begin + values.map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`).join("L");
  const highs = known.map(({ high, estimate }, i) => [x(i), y(high ?? estimate)]);
  const lows = known.map(({ low, estimate }, i) => [x(i), y(low ?? estimate)]).reverse();
  const described = known.map(({ round, estimate, low, high }) =>
    `round ${round}: ${Math.round(estimate)} (${Math.round(low)} to ${Math.round(high)})`).join(", ");
  const box = { viewBox: `0 0 ${inside + EDGE.left + EDGE.right} ${HEIGHT}`, class: "chart", role: "img", "aria-label": `${name}: ${described}` };
  const below = (i, up) => ({ x: x(i), y: HEIGHT - up, "text-anchor": "middle" });
  return svg("svg", box,
    ticks.map((tick) => svg("g", {},
      svg("line", { class: "grid", x1: EDGE.left, x2: EDGE.left + inside, y1: y(tick), y2: y(tick) }),
      text(tick.toLocaleString("en"), { x: EDGE.left - 10, y: y(tick) + 4, "text-anchor": "end" }))),
    known.length > 1 ? svg("path", { class: "interval", d: `${path(highs)}${path(lows, "L")}Z` }) : [],
    known.length > 1 ? svg("path", { class: "line", d: path(known.map(({ estimate }, i) => [x(i), y(estimate)])) }) : [],
    known.map(({ round, reads, estimate }, i) => svg("g", {},
      svg("line", { class: "whisker", x1: x(i), x2: x(i), y1: highs[i][1], y2: lows[known.length - 1 - i][1] }),
      svg("circle", { cx: x(i), cy: y(estimate), r: 4.5 }),
      (known.length - 1 - i) % every ? []
        : [text(round === 0 ? "before reading" : `round ${round}`, below(i, 22)),
          text(round === 0 ? "" : `${reads.toLocaleString("en")} read`, below(i, 6))])));
}
