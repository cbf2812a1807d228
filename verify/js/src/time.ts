// Times as statements and policies write them (commitment 1.1).
import { must } from "./cbor.js";

/** parseTime reads "2026-09-21T14:13:20.000Z" into Unix milliseconds. */
export function parseTime(s: string): number {
  must(/^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$/.test(s), "a time is not RFC 3339 UTC with milliseconds");
  const t = Date.parse(s);
  must(t >= 0 && new Date(t).toISOString() === s, "a time is not of the calendar, or before 1970");
  return t;
}
