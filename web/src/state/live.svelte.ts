import { socketAddress } from "../api/client";
import type { SkepEvent } from "../api/types";

const PAUSES = [500, 1000, 2000, 4000, 8000, 15000];
const RECENT = 500;

/** connecting: for the first time; open; down: lost, trying again. */
type Line = "idle" | "connecting" | "open" | "down";
type Listener = (event: SkepEvent) => void;

/** The host's events over one WebSocket, for all stores. Comes back after a loss, from where it was. */
class Live {
  line = $state<Line>("idle");
  /** When the next attempt begins, in milliseconds since 1970. */
  retryAt = $state(0);
  /** The newest events, newest first; without metrics. */
  recent = $state.raw<SkepEvent[]>([]);
  #socket: WebSocket | null = null;
  #timer = 0;
  #attempt = 0;
  #last = -1;
  #listeners = new Set<Listener>();
  #opened = new Set<() => void>();

  /** Hear every event. Returns how to stop. */
  on(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Hear of every (new) connection: what was read before it may be old. */
  onOpen(listener: () => void): () => void {
    this.#opened.add(listener);
    if (this.line === "open") listener();
    return () => this.#opened.delete(listener);
  }

  start(): void {
    if (this.line !== "idle") return;
    this.line = "connecting";
    this.#connect();
  }

  stop(): void {
    window.clearTimeout(this.#timer);
    this.line = "idle";
    this.#last = -1;
    this.recent = [];
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  /** Try again now instead of after the pause. */
  retry(): void {
    if (this.line !== "down") return;
    window.clearTimeout(this.#timer);
    this.#connect();
  }

  #connect(): void {
    const socket = new WebSocket(socketAddress("/v1/events", { after: this.#last }));
    this.#socket = socket;
    socket.onopen = () => {
      if (this.#socket !== socket) return;
      this.#attempt = 0;
      this.line = "open";
      for (const listener of this.#opened) listener();
    };
    socket.onmessage = (message) => {
      if (this.#socket === socket && typeof message.data === "string") this.#take(JSON.parse(message.data) as SkepEvent);
    };
    socket.onclose = () => {
      if (this.#socket === socket) this.#lost();
    };
  }

  #lost(): void {
    const pause = PAUSES[Math.min(this.#attempt++, PAUSES.length - 1)] ?? 15000;
    this.line = "down";
    this.retryAt = Date.now() + pause;
    this.#timer = window.setTimeout(() => this.#connect(), pause);
  }

  #take(event: SkepEvent): void {
    if (event.number > this.#last) this.#last = event.number;
    if (event.kind !== "metrics") this.recent = [event, ...this.recent].slice(0, RECENT);
    for (const listener of this.#listeners) listener(event);
  }
}

export const live = new Live();
