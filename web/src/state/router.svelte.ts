// The place within the pages, kept in the browser's history. Links are plain <a href>; main.ts catches their clicks.

class Router {
  path = $state(location.pathname);
  query = $state(new URLSearchParams(location.search));
  #guards = new Set<() => string | null>();

  constructor() {
    window.addEventListener("popstate", () => this.#read());
  }

  go(to: string, how: { replace?: boolean } = {}): void {
    const address = new URL(to, location.href);
    if (address.pathname !== location.pathname && !this.#mayLeave()) return;
    if (how.replace) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    this.#read();
    if (!how.replace) window.scrollTo(0, 0);
  }

  /** Keep a key of the query in step with a page's state, without a new entry in the history. */
  set(key: string, value: string): void {
    const query = new URLSearchParams(location.search);
    if (value) query.set(key, value);
    else query.delete(key);
    const text = query.toString();
    history.replaceState(null, "", location.pathname + (text ? `?${text}` : "") + location.hash);
    this.query = query;
  }

  /** Ask before a page with unsaved work is left; the function returns the question, or null. */
  guard(question: () => string | null): () => void {
    this.#guards.add(question);
    return () => this.#guards.delete(question);
  }

  #mayLeave(): boolean {
    for (const guard of this.#guards) {
      const question = guard();
      if (question !== null && !window.confirm(question)) return false;
    }
    return true;
  }

  #read(): void {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
  }
}

export const router = new Router();

/** Links within the pages move without loading anything anew. */
export function catchLinks(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
    return;
  const link = (event.target as Element | null)?.closest("a");
  if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
  if (link.pathname.startsWith("/v1/")) return;
  event.preventDefault();
  router.go(link.href);
}
