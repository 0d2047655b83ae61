import { json, onSignedOut, path } from "../api/client";
import { Problem } from "../api/problem";
import { type Caller, type Role, ROLES } from "../api/types";
import { router } from "./router.svelte";

class Session {
  caller = $state<Caller | null>(null);
  /** Whether the server was asked who we are. */
  known = $state(false);
  /** Set when a session ended without our doing, for the sign-in page to say so. */
  expired = $state(false);

  async load(): Promise<void> {
    try {
      this.caller = await json<Caller>(path("users", "me"));
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 401) throw error;
      this.caller = null;
    } finally {
      this.known = true;
    }
  }

  begin(caller: Caller): void {
    this.caller = caller;
    this.expired = false;
    this.known = true;
  }

  async end(): Promise<void> {
    await json<void>(path("sessions", "current"), { method: "DELETE" });
    this.caller = null;
    router.go("/login");
  }

  /** Whether the caller may do what needs this role. */
  may(role: Role): boolean {
    return this.caller !== null && ROLES.indexOf(this.caller.role) >= ROLES.indexOf(role);
  }
}

export const session = new Session();

onSignedOut(() => {
  if (session.caller !== null) session.expired = true;
  session.caller = null;
});
