import type { Change } from "../api/client";

/** Definitions without their names in a path: several at once, planned and carried out as one. */
export interface Definitions {
  guests?: object[];
  ports?: object[];
}

/** `fresh`: none of the objects may exist already. */
export function definitions(title: string, body: Definitions, fresh = false): Change {
  return { title, where: "/v1/definitions", ask: { method: "POST", body, ...(fresh ? { etag: "*" } : {}) } };
}

/** A name for one more port of a guest: GUEST.N. */
export function freePort(guest: string, taken: string[]): string {
  for (let number = 0; ; number++) if (!taken.includes(`${guest}.${number}`)) return `${guest}.${number}`;
}
