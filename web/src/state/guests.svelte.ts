import { SvelteMap } from "svelte/reactivity";
import { json, path } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import type { Guest, GuestUsage, SkepEvent } from "../api/types";
import { live } from "./live.svelte";

const PAUSE = 150;
/** Above this many changed guests at once, the list is read instead of each. */
const ONE_BY_ONE = 12;

/** All guests, kept as events tell: nothing is asked for twice. */
class Guests {
  all = new SvelteMap<string, Guest>();
  usage = new SvelteMap<string, GuestUsage>();
  loaded = $state(false);
  problem = $state.raw<Problem | null>(null);
  #changed = new Set<string>();
  #timer = 0;
  #users = 0;
  #stops: (() => void)[] = [];

  /** Keep the list while a page shows it. Returns how to stop. */
  use(): () => void {
    if (this.#users++ === 0) {
      this.#stops = [live.on((event) => this.#hear(event)), live.onOpen(() => void this.load())];
      if (live.line !== "open") void this.load();
    }
    return () => {
      if (--this.#users === 0) for (const stop of this.#stops.splice(0)) stop();
    };
  }

  async load(): Promise<void> {
    this.#changed.clear();
    try {
      const found = await json<Guest[]>(path("guests"));
      const names = new Set(found.map((guest) => guest.name));
      for (const name of this.all.keys()) if (!names.has(name)) this.all.delete(name);
      for (const guest of found) this.#keep(guest);
      this.problem = null;
      this.loaded = true;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** Read one guest now. */
  async read(name: string): Promise<void> {
    try {
      this.#keep(await json<Guest>(path("guests", name)));
    } catch (error) {
      if (asProblem(error).status === 404) this.all.delete(name);
      else throw error;
    }
  }

  #keep(guest: Guest): void {
    const before = this.all.get(guest.name);
    if (before && JSON.stringify(before) === JSON.stringify(guest)) return;
    this.all.set(guest.name, guest);
  }

  #hear(event: SkepEvent): void {
    if (event.kind === "metrics") {
      this.#measure((event.data["guests"] ?? {}) as Record<string, GuestUsage>);
      return;
    }
    const [kind, name] = event.ref.split("/", 2);
    if (kind === "guest" && name) this.#changed.add(name);
    else if (kind === "port" && name) this.#changed.add(name.split(".")[0] ?? "");
    else if (event.kind === "operation.ended") for (const guest of this.all.keys()) this.#touch(event, guest);
    else return;
    window.clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#refresh(), PAUSE);
  }

  /** An operation may have changed snapshots or disks of the guest that its title names. */
  #touch(event: SkepEvent, guest: string): void {
    if (String(event.data["title"] ?? "").split(/[^A-Za-z0-9-]+/).includes(guest)) this.#changed.add(guest);
  }

  async #refresh(): Promise<void> {
    const names = [...this.#changed].filter(Boolean);
    this.#changed.clear();
    if (names.length > ONE_BY_ONE) return this.load();
    await Promise.all(names.map((name) => this.read(name).catch(() => undefined)));
  }

  #measure(usage: Record<string, GuestUsage>): void {
    for (const name of this.usage.keys()) if (!(name in usage)) this.usage.delete(name);
    for (const [name, one] of Object.entries(usage)) this.usage.set(name, one);
  }
}

export const guests = new Guests();
