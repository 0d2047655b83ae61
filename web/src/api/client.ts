import { Problem, problemOf } from "./problem";
import type { Operation, Plan } from "./types";
import { clock } from "../state/clock.svelte";

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
export type Query = Record<string, string | number | boolean | undefined>;

export interface Ask {
  method?: Method;
  query?: Query;
  /** Sent as JSON, or as it is with `type`. */
  body?: unknown;
  type?: string;
  accept?: string;
  etag?: string;
  signal?: AbortSignal;
}

type Listener = () => void;
let signedOut: Listener = () => undefined;

/** Who is told when the server does not know us any more. */
export function onSignedOut(listener: Listener): void {
  signedOut = listener;
}

/** "guests/NAME" with each word escaped. */
export function path(...words: string[]): string {
  return "/v1/" + words.map(encodeURIComponent).join("/");
}

export async function send(where: string, ask: Ask = {}): Promise<Response> {
  const headers: Record<string, string> = { Accept: ask.accept ?? "application/json", "X-Skep": "1" };
  let body: BodyInit | undefined;
  if (ask.body !== undefined) {
    headers["Content-Type"] = ask.type ?? "application/json";
    body = ask.type ? (ask.body as string) : JSON.stringify(ask.body);
  }
  if (ask.etag === "*") headers["If-None-Match"] = "*";
  else if (ask.etag) headers["If-Match"] = `"${ask.etag}"`;
  const response = await fetch(where + search(ask.query), {
    method: ask.method ?? "GET",
    headers,
    credentials: "same-origin",
    cache: "no-store",
    ...(body === undefined ? {} : { body }),
    ...(ask.signal ? { signal: ask.signal } : {}),
  });
  clock.heard(response.headers.get("Date"));
  if (response.ok) return response;
  const problem = await problemOf(response);
  if (response.status === 401 && !where.startsWith("/v1/sessions") && !where.startsWith("/v1/setup")) signedOut();
  throw problem;
}

export async function json<T>(where: string, ask: Ask = {}): Promise<T> {
  const response = await send(where, ask);
  return (response.status === 204 ? undefined : await response.json()) as T;
}

export async function plainText(where: string, ask: Ask = {}): Promise<{ text: string; etag: string }> {
  const response = await send(where, ask);
  return { text: await response.text(), etag: (response.headers.get("ETag") ?? "").replaceAll('"', "") };
}

/** A change: what it is called, and the request that makes it. */
export interface Change {
  title: string;
  where: string;
  ask: Ask;
}

/** What a change would do; null if this server cannot tell beforehand. */
export async function plan(change: Change): Promise<Plan | null> {
  try {
    return await json<Plan>(change.where, { ...change.ask, query: { ...change.ask.query, dry_run: true } });
  } catch (error) {
    if (error instanceof Problem && error.status === 400 && /dry_run/.test(error.message)) return null;
    throw error;
  }
}

export function carryOut(change: Change): Promise<Operation> {
  return json<Operation>(change.where, change.ask);
}

/** Where a WebSocket of this server is. */
export function socketAddress(where: string, query: Query = {}): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${where}${search(query)}`;
}

function search(query: Query = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  return given.length ? "?" + new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString() : "";
}
