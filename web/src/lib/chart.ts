// Scales and paths of charts, without a DOM.

export type Values = (number | null)[];

/** A round number at or above the highest value, and the lines between it and zero. */
export function ticks(highest: number, binary: boolean, wanted = 4): number[] {
  if (!(highest > 0)) return [0, 1];
  const base = binary ? 1024 ** Math.floor(Math.log(highest) / Math.log(1024)) : 1;
  const raw = highest / base / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw - 1e-9) ?? 10) * power * base;
  const count = Math.ceil(highest / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, number) => number * step);
}

const SECONDS = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 345600, 604800];

/** Moments for the axis of time: whole minutes, hours or days of the reader's clock. */
export function moments(start: number, end: number, most: number): number[] {
  const step = SECONDS.find((seconds) => (end - start) / seconds <= most) ?? 1_209_600;
  const offset = new Date(start * 1000).getTimezoneOffset() * 60;
  const found: number[] = [];
  for (let at = Math.ceil((start - offset) / step) * step + offset; at <= end; at += step) found.push(at);
  return found;
}

/** An SVG path through the values; a gap where there is none. */
export function line(values: Values, x: (index: number) => number, y: (value: number) => number): string {
  let path = "";
  let pen = false;
  values.forEach((value, index) => {
    if (value === null) {
      pen = false;
      return;
    }
    path += `${pen ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    if (!pen && (values[index + 1] ?? null) === null) path += "h.01"; // a value alone is a dot
    pen = true;
  });
  return path;
}

/** The area below the values, gaps left open. */
export function area(values: Values, x: (index: number) => number, y: (value: number) => number): string {
  let path = "";
  let from = -1;
  for (let index = 0; index <= values.length; index++) {
    const there = (values[index] ?? null) !== null;
    if (there && from < 0) from = index;
    if (!there && from >= 0) {
      const run = values.slice(from, index) as number[];
      const first = from;
      path += `M${x(first).toFixed(1)} ${y(0).toFixed(1)}`;
      run.forEach((value, number) => (path += `L${x(first + number).toFixed(1)} ${y(value).toFixed(1)}`));
      path += `L${x(index - 1).toFixed(1)} ${y(0).toFixed(1)}Z`;
      from = -1;
    }
  }
  return path;
}

export function summary(values: Values): { highest: number; mean: number; latest: number } | null {
  const there = values.filter((value): value is number => value !== null);
  const latest = there.at(-1);
  if (latest === undefined) return null;
  return { highest: Math.max(...there), mean: there.reduce((sum, value) => sum + value, 0) / there.length, latest };
}
