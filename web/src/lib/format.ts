import { text } from "../text";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** 1536 -> "1.5 KiB". */
export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  let unit = 0;
  let rest = value;
  while (Math.abs(rest) >= 1024 && unit < UNITS.length - 1) {
    rest /= 1024;
    unit++;
  }
  const digits = unit === 0 || rest >= 100 || Number.isInteger(rest) ? 0 : 1;
  return `${rest.toFixed(digits)} ${UNITS[unit]}`;
}

export function rate(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : `${bytes(value)}/s`;
}

/** CPU use, in percent of one core: 1.25 cores -> "125 %". */
export function cores(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;
}

/** The size as site.toml writes it: "20G". */
export function size(value: number): string {
  const units: [string, number][] = [["T", 2 ** 40], ["G", 2 ** 30], ["M", 2 ** 20], ["K", 2 ** 10]];
  for (const [unit, factor] of units) if (value >= factor && value % factor === 0) return `${value / factor}${unit}`;
  return `${value}B`;
}

/** "20G", "1.5 TiB", "512" (MiB) -> bytes; null if it is no size. */
export function parseSize(written: string): number | null {
  const match = /^\s*([0-9]+(?:[.,][0-9]+)?)\s*([KMGTP])?i?B?\s*$/i.exec(written);
  if (!match) return null;
  const factor = 2 ** (10 * ("KMGTP".indexOf((match[2] ?? "M").toUpperCase()) + 1));
  return Math.floor(Number(match[1]?.replace(",", ".")) * factor);
}

/** A span in words, in its largest unit. */
export function span(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return text.time.seconds(whole);
  if (whole < 3600) return text.time.minutes(Math.floor(whole / 60));
  if (whole < 172_800) return text.time.hours(Math.floor(whole / 3600));
  return text.time.days(Math.floor(whole / 86_400));
}

export function ago(time: number, now = Date.now() / 1000): string {
  return now - time < 5 ? text.time.justNow : text.time.ago(span(now - time));
}

/** What is left of a span: "1:05". */
export function countdown(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

export function moment(time: number): string {
  return MOMENT.format(time * 1000);
}

export function clock(time: number): string {
  return CLOCK.format(time * 1000);
}
