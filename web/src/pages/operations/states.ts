import type { OperationState } from "../../api/types";
import type { Tone } from "../../components/Badge.svelte";
import type { IconName } from "../../components/icons";

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
