import { asProblem } from "../api/problem";

export interface Toast {
  id: number;
  kind: "ok" | "error" | "info";
  text: string;
  hint: string;
}

const LIFE = 6000;

class Toasts {
  all = $state<Toast[]>([]);
  #next = 1;

  ok(text: string, hint = ""): void {
    this.#add("ok", text, hint);
  }

  info(text: string, hint = ""): void {
    this.#add("info", text, hint);
  }

  /** Stays until it is closed. */
  error(error: unknown): void {
    const problem = asProblem(error);
    this.#add("error", problem.message, problem.hint);
  }

  close(id: number): void {
    this.all = this.all.filter((toast) => toast.id !== id);
  }

  #add(kind: Toast["kind"], text: string, hint: string): void {
    const id = this.#next++;
    this.all = [...this.all.slice(-4), { id, kind, text, hint }];
    if (kind !== "error") window.setTimeout(() => this.close(id), LIFE);
  }
}

export const toasts = new Toasts();
