// What travels about who may do what: accounts, sessions, tokens, the audit log.
import type { Role } from "./types";

export interface Passkey {
  id: string;
  name: string;
  place: string;
  created: number;
  used: number;
}

export interface User {
  name: string;
  role: Role;
  created: number;
  password: boolean;
  /** Seconds for which its password is not taken. */
  locked: number;
  passkeys: Passkey[];
}

export interface SessionView {
  id: string;
  user: string;
  role: Role;
  created: number;
  seen: number;
  peer: string;
  agent: string;
  current: boolean;
}

export interface Token {
  id: string;
  name: string;
  role: Role;
  created: number;
  secret?: string;
}

export interface AuditRecord {
  number: number;
  time: number;
  who: string;
  via: string;
  peer: string;
  action: string;
  ref: string;
  outcome: string;
}
