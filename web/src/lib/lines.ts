// Which lines of a text are others than before: the least edit script (Myers), without a DOM.

/** Above this many edits, everything between the first and the last is shown as replaced. */
const MOST = 1000;

export interface Line {
  kind: "same" | "added" | "removed";
  text: string;
  /** Number in the new text, or in the old one for a line that is gone. */
  number: number;
}

export function difference(before: string, after: string): Line[] {
  const left = before.split("\n");
  const right = after.split("\n");
  let start = 0;
  while (start < left.length && start < right.length && left[start] === right[start]) start++;
  let end = 0;
  while (end < left.length - start && end < right.length - start && left.at(-1 - end) === right.at(-1 - end)) end++;
  const lines: Line[] = right.slice(0, start).map((text, number) => ({ kind: "same", text, number: number + 1 }));
  lines.push(...middle(left.slice(start, left.length - end), right.slice(start, right.length - end), start));
  const rest = right.length - end;
  for (const [number, text] of right.slice(rest).entries()) lines.push({ kind: "same", text, number: rest + number + 1 });
  return lines;
}

/** Only what differs, with some lines around it; null stands for what was left out. */
export function excerpt(lines: Line[], around = 3): (Line | null)[] {
  const near = lines.map((_, index) =>
    lines.slice(Math.max(0, index - around), index + around + 1).some((line) => line.kind !== "same"),
  );
  const found: (Line | null)[] = [];
  lines.forEach((line, index) => {
    if (near[index]) found.push(line);
    else if (found.at(-1) !== null) found.push(null);
  });
  return found.some((line) => line !== null) ? found : [];
}

function middle(left: string[], right: string[], offset: number): Line[] {
  const total = left.length + right.length;
  const furthest = new Map<number, number>([[1, 0]]);
  const trail: Map<number, number>[] = [];
  for (let edits = 0; edits <= Math.min(total, MOST); edits++) {
    trail.push(new Map(furthest));
    for (let diagonal = -edits; diagonal <= edits; diagonal += 2) {
      let x = step(furthest, diagonal, edits);
      while (x < left.length && x - diagonal < right.length && left[x] === right[x - diagonal]) x++;
      furthest.set(diagonal, x);
      if (x >= left.length && x - diagonal >= right.length) return back(trail, left, right, offset);
    }
  }
  const removed = left.map((text, number): Line => ({ kind: "removed", text, number: offset + number + 1 }));
  return [...removed, ...right.map((text, number): Line => ({ kind: "added", text, number: offset + number + 1 }))];
}

function step(furthest: Map<number, number>, diagonal: number, edits: number): number {
  const below = furthest.get(diagonal - 1) ?? -1;
  const above = furthest.get(diagonal + 1) ?? -1;
  return diagonal === -edits || (diagonal !== edits && below < above) ? above : below + 1;
}

function back(trail: Map<number, number>[], left: string[], right: string[], offset: number): Line[] {
  const lines: Line[] = [];
  let [x, y] = [left.length, right.length];
  for (let edits = trail.length - 1; edits >= 0; edits--) {
    const furthest = trail[edits] ?? new Map<number, number>();
    const diagonal = x - y;
    const down = diagonal === -edits || (diagonal !== edits && (furthest.get(diagonal - 1) ?? -1) < (furthest.get(diagonal + 1) ?? -1));
    const from = down ? diagonal + 1 : diagonal - 1;
    const fromX = edits === 0 ? 0 : (furthest.get(from) ?? 0);
    const fromY = edits === 0 ? 0 : fromX - from;
    while (x > fromX && y > fromY) {
      x--;
      y--;
      lines.push({ kind: "same", text: right[y] ?? "", number: offset + y + 1 });
    }
    if (edits === 0) break;
    if (down) lines.push({ kind: "added", text: right[--y] ?? "", number: offset + y + 1 });
    else lines.push({ kind: "removed", text: left[--x] ?? "", number: offset + x + 1 });
  }
  return lines.reverse();
}
