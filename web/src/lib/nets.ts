import type { Network, Rule } from "../api/types";
import { text } from "../text";

/** What kind of network it is, in a few words: "VLAN 10 on igb0". */
export function kindOf(network: Network): string {
  const words = text.networks.kinds;
  if (network.kind === "vlan") return words.vlan(network.vlan ?? 0, network.uplink ?? "");
  if (network.kind === "flat") return words.flat(network.uplink ?? "");
  if (network.kind === "vxlan") return words.vxlan(network.vni ?? 0);
  return network.kind === "nat" ? words.nat : words.isolated;
}

/** The same where the uplink is to be seen beside it. */
export function briefKindOf(network: Network): string {
  if (network.kind === "vlan") return text.networks.kinds.vlanShort(network.vlan ?? 0);
  return network.kind === "flat" ? text.networks.kinds.flatShort : kindOf(network);
}

export function prefixes(network: Network): string {
  return network.subnets.map((subnet) => subnet.prefix).join(", ");
}

/** Rules for people: those that differ in family, port or type alone stand in one line. */
export interface Flow {
  direction: "in" | "out";
  what: string;
  peer: string;
  group: string | null;
  families: string[];
}

export function flows(rules: Rule[]): Flow[] {
  const found = new Map<string, Flow & { ports: string[] }>();
  for (const rule of rules) {
    const ping = rule.protocol === "icmp" && (rule.icmp_type === 8 || rule.icmp_type === 128) && rule.icmp_code < 0;
    const type = rule.icmp_type >= 0 && !ping ? ` ${text.networks.rule.type(rule.icmp_type, rule.icmp_code)}` : "";
    const what = ping ? text.networks.rule.ping : rule.protocol ? protocol(rule.protocol) + type : text.networks.rule.any;
    const key = [rule.direction, what, rule.remote, rule.group, rule.stateless].join("|");
    const flow = found.get(key) ?? { direction: rule.direction, what, peer: rule.remote ?? "", group: rule.group, families: [], ports: [] };
    if (!flow.families.includes(rule.family)) flow.families.push(rule.family);
    if (rule.ports && !flow.ports.includes(rule.ports)) flow.ports.push(rule.ports);
    found.set(key, flow);
  }
  return [...found.values()].map(({ ports, ...flow }) => ({ ...flow, what: ports.length ? `${flow.what} ${ports.join(", ")}` : flow.what }));
}

function protocol(name: string): string {
  return /^[0-9]+$/.test(name) ? text.networks.rule.protocol(name) : name.toUpperCase();
}

/** A text as TOML writes it. */
export function quoted(value: string): string {
  return JSON.stringify(value);
}

export function list(values: string[]): string {
  return `[${values.map(quoted).join(", ")}]`;
}

/** "a, b  c" -> ["a", "b", "c"] */
export function words(written: string): string[] {
  return written.split(/[\s,;]+/).filter(Boolean);
}
