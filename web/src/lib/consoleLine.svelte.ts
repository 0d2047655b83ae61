// A console's line: a ticket for each attempt, and what happened said in words. Used by serial line and screen.
import { json, path, socketAddress } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import { session } from "../state/session.svelte";
import { text } from "../text";

export type Kind = "serial" | "screen";
export type Phase = "connecting" | "open" | "waiting" | "stopped" | "failed";

export interface Watcher {
  kind: Kind;
  user: string;
  writes: boolean;
  since: number;
  peer: string;
}

interface Hooks {
  /** A socket that is about to open: attach to it. */
  attach: (socket: WebSocket) => void;
  /** Further keys of the address, such as where to go on. */
  query?: () => Record<string, number | undefined>;
}

const PAUSES = [1, 1, 2, 4, 8, 15];
const TAKEN = 4001;
const SESSION_ENDED = 4002;
const GUEST_STOPPED = 4003;
const FAULT = 1011;
const RESTARTS = 1012;

export class ConsoleLine {
  phase = $state<Phase>("connecting");
  /** Who has the keyboard; null: nobody. */
  writer = $state<string | null>(null);
  mine = $state(false);
  /** What happened last, in words. */
  note = $state("");
  problem = $state.raw<Problem | null>(null);
  watchers = $state.raw<Watcher[]>([]);
  retryIn = $state(0);
  #guest: string;
  #kind: Kind;
  #hooks: Hooks;
  #socket: WebSocket | null = null;
  #attempt = 0;
  #timer = 0;
  #turn = 0;
  #lost = false;
  #wants = session.may("operator");

  constructor(guest: string, kind: Kind, hooks: Hooks) {
    [this.#guest, this.#kind, this.#hooks] = [guest, kind, hooks];
  }

  /** Connect, now. take: the keyboard, from whoever has it. */
  async connect(take = false): Promise<void> {
    const turn = ++this.#turn;
    window.clearInterval(this.#timer);
    this.#drop();
    this.phase = "connecting";
    this.problem = null;
    try {
      const ticket = await this.#ticket(take);
      if (turn === this.#turn) this.#open(ticket, turn);
    } catch (error) {
      if (turn === this.#turn) this.#refused(asProblem(error));
    }
  }

  /** Give the keyboard away, and watch. */
  watchOnly(): Promise<void> {
    this.#wants = false;
    return this.connect();
  }

  take(): Promise<void> {
    this.#wants = true;
    return this.connect(true);
  }

  send(data: Uint8Array<ArrayBuffer>): void {
    if (this.#socket?.readyState === WebSocket.OPEN && this.mine) this.#socket.send(data);
  }

  close(): void {
    this.#turn++;
    window.clearInterval(this.#timer);
    this.#drop();
  }

  /** What the server says about the line, as text frames. */
  hear(said: Record<string, unknown>): void {
    if ("read_only" in said) this.mine = this.mine && !said["read_only"];
    if ("writer" in said) this.writer = typeof said["writer"] === "string" ? said["writer"] : null;
    if (said["event"] === "writer") void this.#look();
  }

  async #ticket(take: boolean): Promise<string> {
    const ask = async (write: boolean, force: boolean) => {
      const body = { kind: this.#kind, write, take: force };
      return (await json<{ ticket: string }>(path("guests", this.#guest, "tickets"), { method: "POST", body })).ticket;
    };
    this.mine = this.#wants;
    if (!this.#wants) return ask(false, false);
    try {
      return await ask(true, take);
    } catch (error) {
      const problem = asProblem(error);
      if (problem.status !== 409 || take) throw error;
      this.mine = false; // somebody else types: watch, until asked to take over
      return ask(false, false);
    }
  }

  #open(ticket: string, turn: number): void {
    const where = path("guests", this.#guest, this.#kind === "serial" ? "console" : "screen");
    const socket = new WebSocket(socketAddress(where, { ticket, ...this.#hooks.query?.() }));
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.addEventListener("open", () => {
      if (turn !== this.#turn) return;
      this.phase = "open";
      this.#attempt = 0;
      if (this.#lost) this.note = `${this.note} ${text.console.what.back()}`.trim();
      this.#lost = false;
      void this.#look();
    });
    socket.addEventListener("close", (event) => {
      if (turn === this.#turn) this.#closed(event.code, event.reason);
    });
    this.#hooks.attach(socket);
  }

  #closed(code: number, reason: string): void {
    const what = text.console.what;
    this.#lost = true;
    if (code === TAKEN) {
      this.note = what[TAKEN](/^(\S+) has taken/.exec(reason)?.[1] ?? "");
      this.#wants = false;
      this.#lost = false;
      void this.connect();
    } else if (code === SESSION_ENDED) {
      this.note = what[SESSION_ENDED]();
      this.phase = "failed";
      session.load().catch(() => undefined);
    } else if (code === GUEST_STOPPED) {
      this.note = what[GUEST_STOPPED]();
      this.phase = "stopped";
    } else {
      this.note = code === RESTARTS ? what[RESTARTS]() : code === FAULT ? what[FAULT](reason) : what.lost();
      this.#wait();
    }
  }

  #refused(problem: Problem): void {
    const away = problem.status === 0 || problem.status >= 500;
    if (away) {
      this.#lost = true;
      this.note ||= text.console.what.lost();
      this.#wait();
    } else if (problem.status === 409 || problem.status === 422) {
      this.phase = "stopped";
      this.problem = problem;
    } else {
      this.phase = "failed";
      this.problem = problem;
    }
  }

  #wait(): void {
    this.phase = "waiting";
    this.retryIn = PAUSES[Math.min(this.#attempt++, PAUSES.length - 1)] ?? 15;
    window.clearInterval(this.#timer);
    this.#timer = window.setInterval(() => {
      if (--this.retryIn <= 0) void this.connect();
    }, 1000);
  }

  async #look(): Promise<void> {
    try {
      const all = await json<Watcher[]>(path("guests", this.#guest, "consoles"));
      this.watchers = all.filter((one) => one.kind === this.#kind);
      this.writer = this.watchers.find((one) => one.writes)?.user ?? null;
    } catch {
      this.watchers = []; // who else is here is a courtesy; the line works without
    }
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }
}
