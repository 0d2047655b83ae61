/** What has a page of its own below /networks. */
export const KINDS = ["network", "port", "filter", "router"] as const;
export type NetKind = (typeof KINDS)[number];

/** In the place of a name: make a new one. No object can have this name. */
export const NEW = "+new";

export function isKind(word: string): word is NetKind {
  return (KINDS as readonly string[]).includes(word);
}

/** The word of a kind in the API's paths. */
export const plural = (kind: NetKind): string => `${kind}s`;
