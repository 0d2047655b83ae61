import { text } from "../text";
import type { Place, ProblemBody } from "./types";

/** An answer other than success: what happened, to which object, what to do next (RFC 9457). */
export class Problem extends Error {
  readonly status: number;
  readonly hint: string;
  readonly places: Place[];
  /** Seconds to wait before the next attempt, if the server said so. */
  readonly retryAfter: number;

  constructor(status: number, detail: string, hint = "", places: Place[] = [], retryAfter = 0) {
    super(detail);
    this.name = "Problem";
    this.status = status;
    this.hint = hint;
    this.places = places;
    this.retryAfter = retryAfter;
  }
}

export async function problemOf(response: Response): Promise<Problem> {
  const retry = Number(response.headers.get("Retry-After") ?? 0) || 0;
  try {
    const body = (await response.json()) as ProblemBody;
    return new Problem(response.status, body.detail || body.title, body.hint ?? "", body.errors ?? [], retry);
  } catch {
    return new Problem(response.status, text.errors.status(response.status), "", [], retry);
  }
}

/** Any thrown thing as a problem that can be shown. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof TypeError) return new Problem(0, text.errors.unreachable, text.errors.unreachableHint);
  return new Problem(0, error instanceof Error ? error.message : String(error));
}
