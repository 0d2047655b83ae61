// What the pages know about guests: tones of their states, and the changes that can be made to them.
import { type Change, path } from "../api/client";
import type { Guest, GuestState } from "../api/types";
import type { Tone } from "../components/Badge.svelte";
import { text } from "../text";

export const ALIVE = new Set<GuestState>(["running", "paused", "stopping", "starting"]);

export function isAlive(guest: Guest): boolean {
  return ALIVE.has(guest.status.state);
}

/** Crashed, or not as its definition says it should be. */
export function inTrouble(guest: Guest): boolean {
  return guest.status.state === "crashed" || (guest.power === "on" && guest.status.state === "stopped");
}

export function tone(state: GuestState): Tone {
  if (state === "running") return "good";
  if (state === "crashed") return "bad";
  return state === "stopped" ? "idle" : "warn";
}

export function stateLabel(state: GuestState): string {
  return text.guestStates[state] ?? state;
}

export type Action = "start" | "stop" | "restart" | "reset" | "pause" | "resume";

export function action(name: string, verb: Action, body: Record<string, unknown> = {}): Change {
  return { title: text.guests.did[verb](name), where: path("guests", name, "actions", verb), ask: { method: "POST", body } };
}

export function fits(guest: Guest, words: string): boolean {
  const all = [guest.name, guest.description, guest.profile, ...guest.status.addresses, ...guest.status.networks];
  const haystack = all.join(" ").toLowerCase();
  return words.toLowerCase().split(/\s+/).every((word) => haystack.includes(word));
}

export function cpuCount(guest: Guest): number {
  return guest.cpus.sockets * guest.cpus.cores * guest.cpus.threads;
}

export const PROFILES = ["linux", "freebsd", "openbsd", "windows"] as const;
