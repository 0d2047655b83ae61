// What a person decides about an operation that goes on.
import { json, path } from "../api/client";
import type { Operation } from "../api/types";
import { operations } from "./operations.svelte";

/** It stays. */
export async function confirm(id: string): Promise<void> {
  await json<Operation>(path("operations", id, "confirm"), { method: "POST" });
  await operations.read(id);
}

/** It stops, and what it did is undone. */
export async function cancel(id: string): Promise<void> {
  await json<Operation>(path("operations", id, "cancel"), { method: "POST" });
  await operations.read(id);
}
