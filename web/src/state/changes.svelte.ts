// Every change goes through here: its plan is shown first (PlanDialog), then it is carried out and followed.
import { carryOut, type Change, json, path, plan } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import type { Operation, Plan } from "../api/types";
import { text } from "../text";
import { live } from "./live.svelte";
import { toasts } from "./toasts.svelte";

/** What a dialog asks beside the plan. */
export interface Proposal {
  title: string;
  changes: Change[];
  /** What is lost or should be known, above the steps. */
  warning?: string;
  /** For what cannot be taken back: the button is red. */
  danger?: boolean;
  /** A word to be typed before the button works. */
  type?: string;
}

export type Outcome = "done" | "failed" | "cancelled" | "background";

interface Planned {
  change: Change;
  plan: Plan | null;
  problem: Problem | null;
}

export const ENDED = new Set(["done", "failed", "cancelled", "undone"]);

class Changes {
  proposal = $state.raw<Proposal | null>(null);
  phase = $state<"planning" | "asking" | "running" | "failed">("planning");
  plans = $state.raw<Planned[]>([]);
  /** The operations of the changes so far, newest state. */
  operations = $state.raw<Operation[]>([]);
  problems = $state.raw<Problem[]>([]);
  #answer: (outcome: Outcome) => void = () => undefined;
  #turn = 0;
  #unconfirmed = false;

  /** Show a plan and carry it out if that is wanted. */
  async propose(proposal: Proposal): Promise<Outcome> {
    this.#finish("cancelled");
    const turn = ++this.#turn;
    this.proposal = proposal;
    this.phase = "planning";
    this.plans = [];
    this.operations = [];
    this.problems = [];
    const outcome = new Promise<Outcome>((resolve) => (this.#answer = resolve));
    await this.#plan(proposal, turn);
    return outcome;
  }

  /** The objects belong to another manager, such as site.toml; the user wants to change them all the same. */
  async takeOver(): Promise<void> {
    const before = this.proposal;
    if (!before || this.phase !== "asking") return;
    const taken = before.changes.map((change) => ({ ...change, ask: { ...change.ask, query: { ...change.ask.query, take_over: true } } }));
    this.proposal = { ...before, changes: taken };
    this.phase = "planning";
    await this.#plan(this.proposal, this.#turn);
  }

  async #plan(proposal: Proposal, turn: number): Promise<void> {
    const plans = await Promise.all(proposal.changes.map(planned));
    if (turn !== this.#turn || !this.proposal) return;
    this.plans = plans;
    this.phase = "asking";
  }

  /** The user has seen the plan and wants it. */
  async apply(): Promise<void> {
    const proposal = this.proposal;
    if (!proposal || this.phase !== "asking") return;
    const turn = this.#turn;
    this.phase = "running";
    this.#unconfirmed = false;
    for (const change of proposal.changes) await this.#one(change, turn);
    if (turn !== this.#turn || !this.proposal) {
      this.#tell(proposal);
      return;
    }
    if (this.problems.length) {
      this.phase = "failed";
      return;
    }
    this.#done(proposal);
    this.#finish("done");
  }

  /** Close the dialog; work that has begun goes on. */
  close(): void {
    if (this.phase === "running") this.#finish("background");
    else this.#finish(this.phase === "failed" ? "failed" : "cancelled");
  }

  async #one(change: Change, turn: number): Promise<void> {
    const keep = (operation: Operation) => {
      if (turn === this.#turn) this.operations = [...this.operations.filter((one) => one.id !== operation.id), operation];
    };
    try {
      const ended = await follow(await carryOut(change), keep);
      this.#unconfirmed ||= ended.state === "confirming";
      if (ended.state === "done" || ended.state === "confirming") return;
      this.problems = [...this.problems, asProblem(new Error(`${ended.title}: ${ended.error || ended.state}`))];
    } catch (error) {
      this.problems = [...this.problems, asProblem(error)];
    }
  }

  #tell(proposal: Proposal): void {
    const problem = this.problems[0];
    if (problem) toasts.error(problem);
    else this.#done(proposal);
  }

  /** What waits for its confirmation is not done yet: the banner of all pages asks for it. */
  #done(proposal: Proposal): void {
    if (this.#unconfirmed) toasts.info(proposal.title, text.operations.states["confirming"]);
    else toasts.ok(proposal.title, text.plan.done);
  }

  #finish(outcome: Outcome): void {
    this.proposal = null;
    this.#turn++;
    const answer = this.#answer;
    this.#answer = () => undefined;
    answer(outcome);
  }
}

/** Whether a refusal means that somebody else manages the object, and may be told to let go of it. */
export function ownedByOther(problem: Problem | null): boolean {
  return problem !== null && problem.status === 409 && /take it over|take_over/.test(`${problem.message} ${problem.hint}`);
}

export const changes = new Changes();

async function planned(change: Change): Promise<Planned> {
  try {
    return { change, plan: await plan(change), problem: null };
  } catch (error) {
    return { change, plan: null, problem: asProblem(error) };
  }
}

/** Resolves when an operation has ended (or waits to be confirmed); hears of it by events, asks again after a loss. */
export function follow(operation: Operation, seen: (operation: Operation) => void = () => undefined): Promise<Operation> {
  seen(operation);
  if (ENDED.has(operation.state)) return Promise.resolve(operation);
  return new Promise((resolve, reject) => {
    let asking = false;
    let again = false;
    const stops: (() => void)[] = [];
    const end = (act: () => void) => {
      for (const stop of stops.splice(0)) stop();
      act();
    };
    const ask = async () => {
      if (asking) {
        again = true;
        return;
      }
      asking = true;
      try {
        do {
          again = false;
          const now = await json<Operation>(path("operations", operation.id));
          seen(now);
          if (ENDED.has(now.state) || now.state === "confirming") return end(() => resolve(now));
        } while (again);
      } catch (error) {
        if (asProblem(error).status > 0) return end(() => reject(asProblem(error)));
        // The server is away: the next connection asks again.
      } finally {
        asking = false;
      }
    };
    stops.push(live.on((event) => event.ref === `operation/${operation.id}` && void ask()));
    stops.push(live.onOpen(() => void ask()));
    if (live.line !== "open") void ask();
  });
}
