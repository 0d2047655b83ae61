// The drawing of a host's networks: where what stands, and which lines join it. Same input, same drawing. Lengths are in rem.

export interface Lines {
  uplinks: string[];
  networks: { name: string; kind: string; uplink: string | null; vlan: number | null }[];
  routers: { name: string; networks: string[] }[];
  guests: { name: string; trouble: boolean; networks: string[] }[];
}

/** What networks lead to: an uplink of the host, the host itself (nat), or other hosts (vxlan). */
export interface Outside {
  id: string;
  kind: "uplink" | "nat" | "vxlan";
  name: string;
}

/** Guests on the same networks, or a router. */
export interface Box {
  id: string;
  kind: "guests" | "router";
  name: string;
  networks: string[];
  guests: string[];
  /** Guests that are not shown until the group is opened. */
  folded: number;
}

export interface Frame {
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface Path {
  d: string;
  network: string;
  /** What it leads to. */
  id: string;
}

export interface Drawing {
  width: number;
  height: number;
  outsides: (Outside & Frame)[];
  networks: ({ name: string; color: number } & Frame)[];
  boxes: (Box & Frame & { columns: number })[];
  paths: Path[];
}

export const NARROW = 50;
const COLORS = 4;
const OUTSIDE = { w: 10.5, h: 2.8 };
const NETWORK = { w: 14.5, h: 3.9 };
const ROUTER = { w: 14.5, h: 3.2 };
const CHIP = { w: 9.2, least: 7, h: 2.15, gap: 0.4 };
const BOX = { head: 2, pad: 0.7 };
const GAP = { row: 1, column: 4.5 };
const RAIL = { first: 0.7, step: 0.85, most: 9 };
/** Chips that a folded group shows; a group with a few more is not worth folding. */
const FOLDED = 11;
const WORTH = 14;

export function draw(lines: Lines, width: number, open: ReadonlySet<string>): Drawing {
  const parts = sort(lines, open);
  return width < NARROW ? rails(parts, width) : columns(parts, width);
}

interface Parts {
  outsides: Outside[];
  networks: { name: string; color: number; outside: string | null }[];
  boxes: Box[];
}

function sort(lines: Lines, open: ReadonlySet<string>): Parts {
  const outside = (network: Lines["networks"][number]): string | null => {
    if (network.uplink) return `uplink/${network.uplink}`;
    return network.kind === "nat" || network.kind === "vxlan" ? network.kind : null;
  };
  const found = new Map<string, Outside>();
  for (const name of [...lines.uplinks].sort()) found.set(`uplink/${name}`, { id: `uplink/${name}`, kind: "uplink", name });
  for (const network of [...lines.networks].sort(byName)) {
    const id = outside(network);
    if (id?.startsWith("uplink/")) found.set(id, { id, kind: "uplink", name: id.slice(7) });
    else if (id === "nat" || id === "vxlan") found.set(id, { id, kind: id, name: "" });
  }
  const outsides = [...found.values()];
  const place = new Map(outsides.map((one, index) => [one.id, index]));
  const rank = (network: Lines["networks"][number]) => place.get(outside(network) ?? "") ?? outsides.length;
  const networks = [...lines.networks]
    .sort((a, b) => rank(a) - rank(b) || (a.vlan ?? 0) - (b.vlan ?? 0) || byName(a, b))
    .map((network, index) => ({ name: network.name, color: (index % COLORS) + 1, outside: outside(network) }));
  return { outsides, networks, boxes: boxes(lines, networks.map((network) => network.name), open) };
}

function boxes(lines: Lines, order: string[], open: ReadonlySet<string>): Box[] {
  const index = new Map(order.map((name, number) => [name, number]));
  const known = (names: string[]) => [...new Set(names)].filter((name) => index.has(name)).sort((a, b) => (index.get(a) ?? 0) - (index.get(b) ?? 0));
  const groups = new Map<string, { networks: string[]; guests: Lines["guests"] }>();
  for (const guest of lines.guests) {
    const networks = known(guest.networks);
    const key = networks.join("+");
    const group = groups.get(key) ?? { networks, guests: [] };
    group.guests.push(guest);
    groups.set(key, group);
  }
  const found: Box[] = [...groups].map(([key, group]) => {
    const id = `guests/${key}`;
    const guests = group.guests.sort((a, b) => Number(b.trouble) - Number(a.trouble) || byName(a, b)).map((guest) => guest.name);
    const shown = open.has(id) || guests.length <= WORTH ? guests.length : FOLDED;
    return { id, kind: "guests", name: "", networks: group.networks, guests: guests.slice(0, shown), folded: guests.length - shown };
  });
  for (const router of lines.routers)
    found.push({ id: `router/${router.name}`, kind: "router", name: router.name, networks: known(router.networks), guests: [], folded: 0 });
  // Beside its first network; those with legs further down come later, so that few lines cross.
  const first = (box: Box) => index.get(box.networks[0] ?? "") ?? order.length;
  const last = (box: Box) => index.get(box.networks.at(-1) ?? "") ?? order.length;
  return found.sort((a, b) => first(a) - first(b) || last(a) - last(b) || a.networks.length - b.networks.length || (a.id < b.id ? -1 : 1));
}

// --- side by side: outsides, networks, boxes -----------------------------------------------------------------------

function columns(parts: Parts, width: number): Drawing {
  const left = parts.outsides.length ? OUTSIDE.w + GAP.column : 0;
  const start = left + NETWORK.w + GAP.column;
  const placed = stack(parts.boxes, start, width - start);
  const networks = spread(
    parts.networks.map((network) => ({ ...network, x: left, y: 0, ...NETWORK })),
    (network) => {
      const own = placed.filter((box) => box.networks[0] === network.name);
      return own.length ? own : placed.filter((box) => box.networks.includes(network.name));
    },
  );
  const outsides = spread(
    parts.outsides.map((one) => ({ ...one, x: 0, y: 0, ...OUTSIDE })),
    (one) => networks.filter((network) => network.outside === one.id),
  );
  const top = new Map(networks.map((network) => [network.name, network]));
  const paths: Path[] = [];
  for (const network of networks) {
    const from = outsides.find((one) => one.id === network.outside);
    if (from) paths.push({ d: curve(from.x + from.w, centre(from), network.x, centre(network)), network: network.name, id: from.id });
  }
  for (const box of placed)
    box.networks.forEach((name, number) => {
      const network = top.get(name);
      if (!network) return;
      const y = box.y + Math.min(box.h / 2, 1.6) + number * Math.min(0.7, (box.h - 2) / Math.max(1, box.networks.length));
      paths.push({ d: curve(network.x + network.w, centre(network), box.x, y), network: name, id: box.id });
    });
  const bottom = Math.max(...[...outsides, ...networks, ...placed].map((one) => one.y + one.h), 0);
  return { width, height: bottom, outsides, networks, boxes: placed, paths };
}

function stack(boxes: Box[], x: number, width: number): Drawing["boxes"] {
  let y = 0;
  return boxes.map((box) => {
    const size = measure(box, width);
    const placed = { ...box, x, y, ...size };
    y += size.h + GAP.row;
    return placed;
  });
}

/** narrow: the box takes all the room, and its chips share it. */
function measure(box: Box, width: number, narrow = false): { w: number; h: number; columns: number } {
  if (box.kind === "router") return { w: narrow ? width : Math.min(ROUTER.w, width), h: ROUTER.h, columns: 0 };
  const chip = narrow ? CHIP.least : CHIP.w;
  const fit = Math.max(1, Math.floor((width - 2 * BOX.pad + CHIP.gap) / (chip + CHIP.gap)));
  const chips = box.guests.length + (box.folded ? 1 : 0);
  const columns = Math.min(fit, narrow ? fit : Math.max(2, chips <= 4 ? chips : Math.ceil(Math.sqrt(chips * 2))));
  const rows = Math.ceil(chips / columns);
  const w = narrow ? width : Math.min(width, columns * (CHIP.w + CHIP.gap) - CHIP.gap + 2 * BOX.pad);
  return { w, h: BOX.head + rows * (CHIP.h + CHIP.gap) - CHIP.gap + BOX.pad, columns };
}

/** Put each beside the middle of what it is joined to, in the given order, without overlap. */
function spread<T extends Frame>(items: T[], joined: (item: T) => Frame[]): T[] {
  const wanted = items.map((item) => {
    const others = joined(item);
    return others.length ? others.reduce((sum, one) => sum + centre(one), 0) / others.length - item.h / 2 : null;
  });
  let y = 0;
  const placed = items.map((item, index) => {
    y = Math.max(y, wanted[index] ?? y);
    const here = { ...item, y };
    y += item.h + GAP.row;
    return here;
  });
  // What was pushed down moves up again as far as there is room, so that the drawing stays in balance.
  for (let index = placed.length - 1; index >= 0; index--) {
    const [item, goal] = [placed[index], wanted[index]];
    const before = placed[index - 1];
    if (!item || goal === null || goal === undefined) continue;
    item.y = Math.max(before ? before.y + before.h + GAP.row : 0, Math.min(item.y, Math.max(0, goal)));
  }
  return placed;
}

const centre = (frame: Frame): number => frame.y + frame.h / 2;

function curve(x1: number, y1: number, x2: number, y2: number): string {
  const half = (x2 - x1) / 2;
  return `M${r(x1)} ${r(y1)}C${r(x1 + half)} ${r(y1)} ${r(x2 - half)} ${r(y2)} ${r(x2)} ${r(y2)}`;
}

const r = (value: number): number => Math.round(value * 100) / 100;

// --- one below the other, with a rail at the left for each network -------------------------------------------------

function rails(parts: Parts, width: number): Drawing {
  const count = parts.networks.length;
  const step = count > RAIL.most ? (RAIL.step * RAIL.most) / count : RAIL.step;
  const left = RAIL.first + count * step + 0.4;
  const rail = new Map(parts.networks.map((network, index) => [network.name, RAIL.first + index * step]));
  const span = new Map<string, { from: number; to: number }>();
  const paths: Path[] = [];
  const room = width - left;
  let y = 0;

  const join = (name: string, at: number, id: string) => {
    const known = span.get(name);
    span.set(name, known ? { from: known.from, to: at } : { from: at, to: at });
    const x = rail.get(name) ?? 0;
    paths.push({ d: `M${r(x)} ${r(at)}H${r(left)}`, network: name, id });
  };
  const put = <T extends { id: string }>(item: T, size: { w: number; h: number }, names: string[]) => {
    const placed = { ...item, x: left, y, ...size };
    const each = Math.min(0.6, (size.h - 1) / Math.max(1, names.length));
    names.forEach((name, number) => join(name, y + Math.min(1.4, size.h / 2) + number * each, item.id));
    y += size.h + GAP.row;
    return placed;
  };

  const outsides: Drawing["outsides"] = [];
  const networks: Drawing["networks"] = [];
  for (const one of [...parts.outsides, null]) {
    const its = parts.networks.filter((network) => network.outside === (one?.id ?? null));
    if (one) outsides.push(put(one, { w: room, h: OUTSIDE.h }, its.map((network) => network.name)));
    for (const network of its) networks.push(put({ ...network, id: `network/${network.name}` }, { w: room, h: NETWORK.h }, [network.name]));
  }
  const boxes = parts.boxes.map((box) => {
    const size = measure(box, room, true);
    return { ...put(box, size, box.networks), columns: size.columns };
  });
  for (const [name, { from, to }] of span) {
    const x = rail.get(name) ?? 0;
    if (to > from) paths.push({ d: `M${r(x)} ${r(from)}V${r(to)}`, network: name, id: "" });
  }
  return { width, height: Math.max(0, y - GAP.row), outsides, networks, boxes, paths };
}

function byName(a: { name: string }, b: { name: string }): number {
  return a.name.localeCompare(b.name, "en", { numeric: true });
}
