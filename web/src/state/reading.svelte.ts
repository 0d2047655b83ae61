import { json } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import type { SkepEvent } from "../api/types";
import { live } from "./live.svelte";


/** Something that is read from the server, and again when an event says that it may have changed. */
export class Reading<T> {
  value = $state.raw<T | null>(null);
  problem = $state.raw<Problem | null>(null);
  readonly #where: string;
  readonly #concerns: (event: SkepEvent) => boolean;
  readonly #pause: number;
  #timer = 0;
  #users = 0;
  #asking = false;
  #again = false;
  #stops: (() => void)[] = [];

  /** pause: milliseconds in which many events count as one. */
  constructor(where: string, concerns: (event: SkepEvent) => boolean = () => false, pause = 300) {
    this.#where = where;
    this.#concerns = concerns;
    this.#pause = pause;
  }

  /** Keep it while a page shows it; for an $effect. Returns how to stop. */
  use(): () => void {
    if (this.#users++ === 0) {
      this.#stops = [live.on((event) => this.#concerns(event) && this.#soon()), live.onOpen(() => void this.load())];
      if (live.line !== "open") void this.load();
    }
    return () => {
      if (--this.#users > 0) return;
      window.clearTimeout(this.#timer);
      this.#timer = 0;
      for (const stop of this.#stops.splice(0)) stop();
    };
  }

  /** Read it now; what is asked for meanwhile is read once more afterwards. */
  async load(): Promise<void> {
    if (this.#asking) {
      this.#again = true;
      return;
    }
    this.#asking = true;
    try {
      do {
        this.#again = false;
        this.value = await json<T>(this.#where);
        this.problem = null;
      } while (this.#again);
    } catch (error) {
      this.problem = asProblem(error);
    } finally {
      this.#asking = false;
    }
  }

  #soon(): void {
    this.#timer ||= window.setTimeout(() => {
      this.#timer = 0;
      void this.load();
    }, this.#pause);
  }
}

/** Whether an event is about objects of these kinds, or about work that may have changed them. */
export function about(...kinds: string[]): (event: SkepEvent) => boolean {
  return (event) => event.kind === "operation.ended" || kinds.includes(event.ref.split("/", 1)[0] ?? "");
}
