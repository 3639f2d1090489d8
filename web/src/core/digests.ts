/**
 * Say what a document holds, in a few kilobytes (docs/protocol.md, section 6, By digests).
 *
 * SHA-256 is @noble/hashes': the browser's own is only there in secure contexts, and asynchronous.
 * This module is loaded only when the proxy asks to compare.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import type { ReadonlyDocument } from "./document.ts";
import type { Value, XapiObject } from "./messages.ts";
import type { Buckets } from "./replica.ts";

const DIGEST_BYTES = 8;
const MOST_BUCKETS = 16_384;
const OBJECTS_A_BUCKET = 4;
const OBJECTS_A_STEP = 16;

const utf8 = new TextEncoder();

export interface Summary {
  readonly buckets: number;
  /** In base64. */
  readonly digests: string;
  readonly held: Buckets;
}

/** JSON after RFC 8785. A bigint is written in all its digits. */
export function canonical(value: Value | XapiObject | undefined): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const object = value as { readonly [name: string]: Value };
  const names = Object.keys(object).sort(); // by UTF-16 units, as the RFC wants it
  return `{${names.map(name => `${JSON.stringify(name)}:${canonical(object[name])}`).join()}}`;
}

/** The smallest power of two that gives at most four objects to a bucket, on average. */
export function bucketCount(objects: number): number {
  const wanted = Math.max(1, objects / OBJECTS_A_BUCKET);
  return Math.min(MOST_BUCKETS, 2 ** Math.ceil(Math.log2(wanted)));
}

export function place(cls: string, key: string): number {
  const hash = sha256(utf8.encode(`${cls}/${key}`));
  return new DataView(hash.buffer, hash.byteOffset).getUint32(0);
}

export function objectDigest(cls: string, key: string, object: XapiObject): Uint8Array {
  const text = `[${JSON.stringify(cls)},${JSON.stringify(key)},${canonical(object)}]`;
  return sha256(utf8.encode(text)).subarray(0, DIGEST_BYTES);
}

/** Summarise a document, step by step, so that the caller can do other things in between. */
export function* summarise(
  document: ReadonlyDocument,
  buckets = bucketCount(document.size),
): Generator<void, Summary> {
  const digests = new Uint8Array(buckets * DIGEST_BYTES);
  const held: [string, string][][] = Array.from({ length: buckets }, () => []);
  let number = 0;
  for (const { class: cls, key, object } of document) {
    const bucket = place(cls, key) % buckets;
    held[bucket]?.push([cls, key]);
    objectDigest(cls, key, object).forEach((byte, i) => {
      digests[bucket * DIGEST_BYTES + i] = (digests[bucket * DIGEST_BYTES + i] ?? 0) ^ byte;
    });
    if (++number % OBJECTS_A_STEP === 0) yield;
  }
  return { buckets, digests: base64(digests), held };
}

function base64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
