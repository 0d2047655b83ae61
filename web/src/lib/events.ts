// Events in words.
import type { SkepEvent } from "../api/types";
import type { Tone } from "../components/Badge.svelte";
import { text } from "../text";
import { stateLabel } from "./guests";

export function eventTone(event: SkepEvent): Tone {
  if (event.kind === "host.warning") return "warn";
  if (event.kind === "guest.ended") return event.data["state"] === "crashed" ? "bad" : "idle";
  if (event.kind === "operation.ended") return event.data["state"] === "done" ? "good" : "bad";
  if (event.kind === "guest.state") return event.data["state"] === "running" ? "good" : "note";
  return "note";
}

/** What an event says beside its kind. */
export function eventText(event: SkepEvent): string {
  const data = event.data;
  const said = (key: string) => (typeof data[key] === "string" ? (data[key] as string) : "");
  switch (event.kind) {
    case "guest.state":
      return stateLabel(said("state"));
    case "guest.ended":
      return said("message") || (text.guest.endings[said("ending")] ?? said("ending"));
    case "operation.ended":
      return [said("title"), said("error")].filter(Boolean).join(": ");
    case "operation.progress":
      return said("summary");
    case "host.drift":
      return Array.isArray(data["steps"]) ? data["steps"].join("; ") : "";
    default:
      return said("title") || said("text") || said("message");
  }
}
