import type { Component } from "svelte";
import type { Role } from "./api/types";
import type { IconName } from "./components/icons";
import { text } from "./text";

/** What a page gets: the words that the path had in the places of `:name`. */
export interface PageProps {
  params: Record<string, string>;
}

// A page may leave out props that it does not use.
type Loader = () => Promise<{ default: Component<any> }>; // eslint-disable-line @typescript-eslint/no-explicit-any

export interface Route {
  /** "/guests/:name/:tab?" */
  pattern: string;
  title: (params: Record<string, string>) => string;
  page: Loader;
  role: Role;
  /** The entry of the navigation that it belongs to. */
  nav?: string;
  /** Outside of the frame with the navigation: sign-in and setup. */
  bare?: boolean;
}

/** The order matters: the first that fits is taken. */
export const ROUTES: Route[] = [
  { pattern: "/login", title: () => text.signIn.title, page: () => import("./pages/Login.svelte"), role: "viewer", bare: true },
  { pattern: "/setup", title: () => text.setup.title, page: () => import("./pages/Setup.svelte"), role: "viewer", bare: true },
  { pattern: "/", title: () => text.nav.site, page: () => import("./pages/Site.svelte"), role: "viewer", nav: "/" },
  { pattern: "/guests", title: () => text.nav.guests, page: () => import("./pages/Guests.svelte"), role: "viewer", nav: "/guests" },
  { pattern: "/guests/new", title: () => text.create.title, page: () => import("./pages/NewGuest.svelte"), role: "admin", nav: "/guests" },
  { pattern: "/guests/:name/:tab?", title: ({ name }) => name ?? "", page: () => import("./pages/Guest.svelte"), role: "viewer", nav: "/guests" },
  { pattern: "/networks/:kind?/:name?", title: ({ name }) => name ?? text.nav.networks, page: () => import("./pages/Networks.svelte"), role: "viewer", nav: "/networks" },
  { pattern: "/images", title: () => text.nav.images, page: () => import("./pages/Images.svelte"), role: "viewer", nav: "/images" },
  { pattern: "/operations/:id?", title: () => text.nav.operations, page: () => import("./pages/Operations.svelte"), role: "viewer", nav: "/operations" },
  { pattern: "/plan", title: () => text.nav.plan, page: () => import("./pages/Plan.svelte"), role: "viewer", nav: "/plan" },
  { pattern: "/users/:tab?", title: () => text.nav.users, page: () => import("./pages/Users.svelte"), role: "admin", nav: "/users" },
  { pattern: "/settings/:tab?", title: () => text.nav.settings, page: () => import("./pages/Settings.svelte"), role: "viewer", nav: "/settings" },
];

export interface NavEntry {
  path: string;
  label: string;
  icon: IconName;
  role: Role;
}

export const NAVIGATION: NavEntry[] = [
  { path: "/", label: text.nav.site, icon: "hive", role: "viewer" },
  { path: "/guests", label: text.nav.guests, icon: "guest", role: "viewer" },
  { path: "/networks", label: text.nav.networks, icon: "network", role: "viewer" },
  { path: "/images", label: text.nav.images, icon: "image", role: "viewer" },
  { path: "/operations", label: text.nav.operations, icon: "operation", role: "viewer" },
  { path: "/plan", label: text.nav.plan, icon: "plan", role: "viewer" },
  { path: "/users", label: text.nav.users, icon: "users", role: "admin" },
  { path: "/settings", label: text.nav.settings, icon: "settings", role: "viewer" },
];

/** The route of a path and the words in it. */
export function match(path: string): { route: Route; params: Record<string, string> } | null {
  const words = path.split("/").filter(Boolean);
  for (const route of ROUTES) {
    const params = fit(route.pattern.split("/").filter(Boolean), words);
    if (params) return { route, params };
  }
  return null;
}

function fit(pattern: string[], words: string[]): Record<string, string> | null {
  if (words.length > pattern.length) return null;
  const params: Record<string, string> = {};
  for (const [number, part] of pattern.entries()) {
    const word = words[number];
    if (word === undefined) {
      if (!part.endsWith("?")) return null;
    } else if (part.startsWith(":")) {
      params[part.slice(1).replace("?", "")] = decode(word);
    } else if (part !== word) {
      return null;
    }
  }
  return params;
}

function decode(word: string): string {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}
