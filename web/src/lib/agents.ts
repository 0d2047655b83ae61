const BROWSERS: [RegExp, string][] = [
  [/Edg\/([0-9]+)/, "Edge"],
  [/OPR\/([0-9]+)/, "Opera"],
  [/Firefox\/([0-9]+)/, "Firefox"],
  [/Chrom(?:e|ium)\/([0-9]+)/, "Chrome"],
  [/Version\/([0-9]+).* Safari/, "Safari"],
];
const SYSTEMS: [RegExp, string][] = [
  [/Windows/, "Windows"],
  [/Android/, "Android"],
  [/iPhone|iPad/, "iOS"],
  [/Mac OS X/, "macOS"],
  [/FreeBSD/, "FreeBSD"],
  [/OpenBSD/, "OpenBSD"],
  [/Linux/, "Linux"],
];

/** What a browser calls itself, in two words: "Firefox 140, Linux". What is not known stays as it is. */
export function agentOf(said: string): string {
  const browser = BROWSERS.find(([pattern]) => pattern.test(said));
  const system = SYSTEMS.find(([pattern]) => pattern.test(said));
  if (!browser) return said;
  return [`${browser[1]} ${browser[0].exec(said)?.[1] ?? ""}`, system?.[1]].filter(Boolean).join(", ");
}
