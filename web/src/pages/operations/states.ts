import type { OperationState } from "../../api/types";
import type { Tone } from "../../components/Badge.svelte";
import type { IconName } from "../../components/icons";
import { span } from "../../lib/format";
import { text } from "../../text";

export function took(created: number, ended: number): string {
  return ended - created < 1 ? text.operationsPage.atOnce : span(ended - created);
}

/** How each state of an operation looks. */
export const tones: Record<OperationState, Tone> = {
  queued: "idle",
  running: "note",
  confirming: "warn",
  done: "good",
  failed: "bad",
  cancelled: "idle",
  undone: "bad",
};

export const icons: Record<OperationState, IconName> = {
  queued: "clock",
  running: "operation",
  confirming: "warning",
  done: "check",
  failed: "error",
  cancelled: "close",
  undone: "undo",
};
