/** The page of what a ref names, such as "guest/files"; empty for what has none. */
export function pageOf(ref: string): string {
  const [kind = "", name = ""] = ref.split(/\/(.*)/);
  const word = encodeURIComponent(name);
  if (kind === "guest") return `/guests/${word}`;
  if (kind === "operation") return `/operations/${word}`;
  if (kind === "network" || kind === "port" || kind === "router" || kind === "filter") return `/networks/${kind}/${word}`;
  if (kind === "image") return "/images";
  if (kind === "pool" || kind === "disk" || kind === "uplink") return "/settings/machine";
  if (kind === "host" || kind === "certificate") return "/settings";
  return "";
}
