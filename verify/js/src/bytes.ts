// Bytes: comparing, joining and writing them.
import { sha256 } from "@noble/hashes/sha2.js";
import { hmac } from "@noble/hashes/hmac.js";

export { sha256 };

export function compare(a: Uint8Array, b: Uint8Array): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) {
    const d = a[i]! - b[i]!;
    if (d !== 0) return d;
  }
  return a.length - b.length;
}

export const equal = (a: Uint8Array, b: Uint8Array): boolean => compare(a, b) === 0;

export function join(...parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

export const hmacSHA256 = (key: Uint8Array, m: Uint8Array): Uint8Array => hmac(sha256, key, m);

export const hex = (b: Uint8Array): string => Array.from(b, (x) => x.toString(16).padStart(2, "0")).join("");

export const utf8 = (s: string): Uint8Array => new TextEncoder().encode(s);

/** text reads UTF-8 and throws where it is none; a byte order mark stays a character. */
export const text = (b: Uint8Array): string => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(b);

/** base64 reads the one standard encoding of some bytes: padded, and no spare bits set. */
export function base64(s: string): Uint8Array {
  const raw = Uint8Array.from(atob(s), (c) => c.charCodeAt(0));
  if (toBase64(raw) !== s) throw new Error("not canonical base64");
  return raw;
}

function toBase64(b: Uint8Array): string {
  let s = "";
  for (const x of b) s += String.fromCharCode(x);
  return btoa(s);
}

/** base64url reads the one unpadded base64url encoding of some bytes. */
export function base64url(s: string): Uint8Array {
  if (!/^[A-Za-z0-9_-]*$/.test(s)) throw new Error("not unpadded base64url");
  const pad = "=".repeat((4 - (s.length % 4)) % 4);
  return base64(s.replaceAll("-", "+").replaceAll("_", "/") + pad);
}
