// The time as the host has it, so that countdowns are right on a computer whose own clock is wrong.
import { createSubscriber } from "svelte/reactivity";

/** A Date header tells whole seconds: less than this is no difference. */
const NOISE = 2500;

class Clock {
  #ahead = 0;
  #tick = createSubscriber((update) => {
    const timer = window.setInterval(update, 1000);
    return () => window.clearInterval(timer);
  });

  /** Seconds since 1970; what reads it is shown anew each second. */
  get now(): number {
    this.#tick();
    return (Date.now() + this.#ahead) / 1000;
  }

  /** The Date of an answer; each server that it came through may have added its own. */
  heard(date: string | null): void {
    const told = Date.parse(/[^,]+,[^,]+/.exec(date ?? "")?.[0] ?? "");
    if (Number.isNaN(told)) return;
    const ahead = told - Date.now();
    if (Math.abs(ahead - this.#ahead) > NOISE) this.#ahead = Math.abs(ahead) > NOISE ? ahead : 0;
  }
}

export const clock = new Clock();
