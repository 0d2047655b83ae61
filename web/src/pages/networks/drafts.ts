// From what a form says to the text of a definition.
import { list, quoted, words } from "../../lib/nets";

export interface NetworkDraft {
  kind: string;
  subnets: string;
  dhcp: boolean;
  uplink: string;
  vlan: string;
  vni: string;
  local: string;
  remotes: string;
}

export interface FilterDraft {
  description: string;
  rules: string;
}

export interface PortDraft {
  network: string;
  guest: string;
  addresses: string;
  filters: string[];
  guard: boolean;
}

export function networkText(draft: NetworkDraft): string {
  const lines = [`kind = ${quoted(draft.kind)}`];
  if (draft.kind === "flat" || draft.kind === "vlan") lines.push(`uplink = ${quoted(draft.uplink)}`);
  if (draft.kind === "vlan") lines.push(`vlan = ${number(draft.vlan)}`);
  if (draft.kind === "vxlan") lines.push(`vni = ${number(draft.vni)}`, `local = ${quoted(draft.local.trim())}`, `remotes = ${list(words(draft.remotes))}`);
  for (const prefix of words(draft.subnets)) {
    lines.push("", "[[subnet]]", `prefix = ${quoted(prefix)}`);
    const own = ownAddress(prefix);
    if (draft.dhcp && own) lines.push(`own = ${quoted(own)}`);
    if (draft.kind === "nat" && own) lines.push(...(draft.dhcp ? [] : [`own = ${quoted(own)}`]), `gateway = ${quoted(own)}`);
    if (!draft.dhcp) lines.push("dhcp = false");
  }
  return lines.join("\n") + "\n";
}

export function filterText(draft: FilterDraft): string {
  const rules = draft.rules.split("\n").map((line) => line.trim()).filter(Boolean);
  return [
    ...(draft.description.trim() ? [`description = ${quoted(draft.description.trim())}`] : []),
    "rules = [",
    ...rules.map((rule) => `    ${quoted(rule)},`),
    "]",
    "",
  ].join("\n");
}

export function portText(draft: PortDraft): string {
  return [
    `network = ${quoted(draft.network)}`,
    ...(draft.guest ? [`guest = ${quoted(draft.guest)}`] : []),
    ...(words(draft.addresses).length ? [`addresses = ${list(words(draft.addresses))}`] : []),
    ...(draft.filters.length ? [`filters = ${list(draft.filters)}`] : []),
    ...(draft.guard ? [] : ["guard = false"]),
    "",
  ].join("\n");
}

export const ROUTER_TEXT = `[[leg]]
network = ""
addresses = ""

[[leg]]
network = ""
addresses = ""
`;

/** The first address of a prefix: 10.78.0.0/24 -> 10.78.0.1; empty for what is no prefix. */
export function ownAddress(prefix: string): string {
  const four = /^(\d+\.\d+\.\d+)\.(\d+)\/\d+$/.exec(prefix);
  if (four) return `${four[1]}.${Number(four[2]) + 1}`;
  const six = /^([0-9a-f:]*::)\/\d+$/i.exec(prefix);
  return six ? `${six[1]}1` : "";
}

/** What is no number is left as it is written: the server says what is wrong with it, and in which line. */
function number(written: string): string {
  const trimmed = written.trim();
  return /^[0-9]+$/.test(trimmed) ? String(Number(trimmed)) : quoted(trimmed);
}
