import { SvelteMap } from "svelte/reactivity";
import { json, path } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import type { Operation, SkepEvent } from "../api/types";
import { ENDED } from "./changes.svelte";
import { live } from "./live.svelte";

const LIMIT = 200;
const PAUSE = 200;
/** How often a step that counts bytes is asked how far it is: no event tells that. */
const BYTES = 1500;
/** Above this many changed operations at once, the list is read instead of each. */
const ONE_BY_ONE = 8;

/** The operations of this host, newest first, kept as events tell. */
class Operations {
  all = new SvelteMap<string, Operation>();
  loaded = $state(false);
  problem = $state.raw<Problem | null>(null);
  /** How many are asked for. */
  limit = $state(LIMIT);
  readonly sorted = $derived([...this.all.values()].sort((left, right) => (left.id < right.id ? 1 : -1)));
  readonly running = $derived(this.sorted.filter((operation) => !ENDED.has(operation.state)));
  readonly confirming = $derived(this.sorted.filter((operation) => operation.state === "confirming"));
  #changed = new Set<string>();
  #timer = 0;
  #stops: (() => void)[] = [];

  /** From sign-in to sign-out. Returns how to stop. */
  use(): () => void {
    this.#stops = [live.on((event) => this.#hear(event)), live.onOpen(() => void this.load())];
    return () => {
      window.clearTimeout(this.#timer);
      for (const stop of this.#stops.splice(0)) stop();
      this.all.clear();
      this.loaded = false;
    };
  }

  async load(): Promise<void> {
    try {
      const found = await json<Operation[]>(path("operations"), { query: { limit: this.limit } });
      const known = new Set(found.map((operation) => operation.id));
      for (const id of this.all.keys()) if (!known.has(id)) this.all.delete(id);
      for (const operation of found) this.#keep(operation);
      this.problem = null;
      this.loaded = true;
      this.#watchBytes();
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  async more(): Promise<void> {
    this.limit *= 2;
    await this.load();
  }

  async read(id: string): Promise<Operation> {
    const found = await json<Operation>(path("operations", id));
    this.#keep(found);
    return found;
  }

  #keep(operation: Operation): void {
    const before = this.all.get(operation.id);
    if (!before || JSON.stringify(before) !== JSON.stringify(operation)) this.all.set(operation.id, operation);
  }

  #hear(event: SkepEvent): void {
    if (!event.ref.startsWith("operation/")) return;
    this.#changed.add(event.ref.slice("operation/".length));
    this.#later(PAUSE);
  }

  #later(pause: number): void {
    window.clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#refresh(), pause);
  }

  async #refresh(): Promise<void> {
    const changed = [...this.#changed];
    this.#changed.clear();
    if (changed.length > ONE_BY_ONE) return this.load();
    await Promise.all(changed.map((id) => this.read(id).catch(() => undefined)));
    this.#watchBytes();
  }

  #watchBytes(): void {
    const counting = this.running.filter((one) => one.steps.some((step) => step.state === "running"));
    if (!counting.length || !this.#stops.length) return;
    for (const operation of counting) this.#changed.add(operation.id);
    this.#later(BYTES);
  }
}

export const operations = new Operations();
