/**
 * MessagePack, as the protocol uses it: no extension types, map keys are texts.
 *
 * Our own, because what a document holds must be what the proxy sent: integers stay numbers as long
 * as these hold them exactly, and become bigints beyond; a key may be `__proto__`. (The usual
 * library makes all or none of the 64-bit integers bigints, and refuses that key.) In a module of
 * its own: browsers do better with JSON, whose parser is native code.
 */

import type { Codec } from "./codec.ts";
import { Fault } from "./errors.ts";
import type { Value } from "./messages.ts";
import { setMember } from "./values.ts";

const DEEPEST = 100;
const SHORT_TEXT = 24;
const KNOWN_TEXTS = 1024;
const utf8 = new TextDecoder("utf-8", { fatal: true });
const knownTexts: (string | undefined)[] = new Array(KNOWN_TEXTS);
const toUtf8 = new TextEncoder();

export const msgpack: Codec = {
  subprotocol: "xoproxy.v1.msgpack",
  encode: message => encode(message as unknown as Encodable),
  decode: frame => {
    if (typeof frame === "string") throw new Fault("a text frame came where MessagePack is spoken");
    return decode(new Uint8Array(frame));
  },
};

/** @throws Fault: it is no MessagePack, or goes on behind its end. */
export function decode(bytes: Uint8Array): Value {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (!reader.atEnd) throw new Fault("a frame goes on behind its end");
  return value;
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  // A DataView throws a RangeError beyond the end: every read is bounded.
  value(depth: number): Value {
    if (depth > DEEPEST) throw new Fault("a frame is nested too deep");
    const head = this.#view.getUint8(this.#at++);
    if (head < 0x80) return head;
    if (head < 0x90) return this.#map(head & 0x0f, depth);
    if (head < 0xa0) return this.#array(head & 0x0f, depth);
    if (head < 0xc0) return this.#text(head & 0x1f);
    if (head >= 0xe0) return head - 0x100;
    return this.#headed(head, depth);
  }

  #headed(head: number, depth: number): Value {
    switch (head) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xca:
        return this.#view.getFloat32(this.#step(4));
      case 0xcb:
        return this.#view.getFloat64(this.#step(8));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#size(head - 0xd9));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#size(head - 0xdb), depth);
      case 0xde:
      case 0xdf:
        return this.#map(this.#size(head - 0xdd), depth);
      default:
        return this.#integer(head);
    }
  }

  #integer(head: number): Value {
    switch (head) {
      case 0xcc:
        return this.#view.getUint8(this.#step(1));
      case 0xcd:
        return this.#view.getUint16(this.#step(2));
      case 0xce:
        return this.#view.getUint32(this.#step(4));
      case 0xcf:
        return exact(this.#view.getBigUint64(this.#step(8)));
      case 0xd0:
        return this.#view.getInt8(this.#step(1));
      case 0xd1:
        return this.#view.getInt16(this.#step(2));
      case 0xd2:
        return this.#view.getInt32(this.#step(4));
      case 0xd3:
        return exact(this.#view.getBigInt64(this.#step(8)));
      default:
        throw new Fault(`0x${head.toString(16)} begins nothing that the protocol knows`);
    }
  }

  #step(bytes: number): number {
    const at = this.#at;
    this.#at += bytes;
    return at;
  }

  /** Read a size of 1, 2 or 4 bytes. */
  #size(width: number): number {
    if (width === 0) return this.#view.getUint8(this.#step(1));
    return width === 1 ? this.#view.getUint16(this.#step(2)) : this.#view.getUint32(this.#step(4));
  }

  #text(bytes: number): string {
    const at = this.#step(bytes);
    if (this.#at > this.#bytes.length) throw new Fault("a frame ends inside a text");
    return bytes <= SHORT_TEXT ? this.#shortText(at) : this.#longText(at);
  }

  #longText(at: number): string {
    return utf8.decode(this.#bytes.subarray(at, this.#at));
  }

  /** Names and values like "Running" come thousands of times: each is made once, and kept once. */
  #shortText(at: number): string {
    let hash = 0;
    for (let i = at; i < this.#at; i++) hash = (hash * 31 + (this.#bytes[i] as number)) | 0;
    const slot = hash & (KNOWN_TEXTS - 1);
    const known = knownTexts[slot];
    if (known !== undefined && this.#is(known, at)) return known;
    const text = this.#longText(at);
    knownTexts[slot] = text;
    return text;
  }

  /** Say whether a text stands here. One beyond ASCII has fewer characters than bytes, and is not. */
  #is(text: string, at: number): boolean {
    if (text.length !== this.#at - at) return false;
    for (let i = 0; i < text.length; i++) {
      if (text.charCodeAt(i) !== this.#bytes[at + i]) return false;
    }
    return true;
  }

  #array(size: number, depth: number): Value[] {
    const items: Value[] = [];
    for (let i = 0; i < size; i++) items.push(this.value(depth + 1));
    return items;
  }

  #map(size: number, depth: number): { [name: string]: Value } {
    const map: { [name: string]: Value } = {};
    for (let i = 0; i < size; i++) {
      const name = this.value(depth + 1);
      if (typeof name !== "string") throw new Fault("a map has a key that is no text");
      const value = this.value(depth + 1);
      setMember(map, name, value);
    }
    return map;
  }
}

function exact(integer: bigint): number | bigint {
  const number = Number(integer);
  return Number.isSafeInteger(number) ? number : integer;
}

export type Encodable =
  | Value
  | undefined
  | readonly Encodable[]
  | { readonly [name: string]: Encodable };

/** Encode; members that are undefined are left out, as in JSON. */
export function encode(value: Encodable): Uint8Array<ArrayBuffer> {
  const writer = new Writer();
  writer.value(value);
  return writer.bytes();
}

class Writer {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#at);
  }

  value(value: Encodable): void {
    if (value === null || value === undefined) this.#byte(0xc0);
    else if (typeof value === "boolean") this.#byte(value ? 0xc3 : 0xc2);
    else if (typeof value === "number") this.#number(value);
    else if (typeof value === "bigint") this.#bigint(value);
    else if (typeof value === "string") this.#text(value);
    else if (Array.isArray(value)) this.#array(value);
    else this.#map(value as { readonly [name: string]: Encodable });
  }

  #number(value: number): void {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) return this.#integer(value);
    this.#byte(0xcb);
    const at = this.#room(8);
    this.#view.setFloat64(at, value);
  }

  #integer(value: number): void {
    if (value >= -32 && value < 0x80) this.#byte(value & 0xff);
    else if (value >= -0x8000_0000 && value < 0x8000_0000) {
      this.#byte(0xd2);
      const at = this.#room(4);
      this.#view.setInt32(at, value);
    } else this.#bigint(BigInt(value));
  }

  #bigint(value: bigint): void {
    const signed = value < 0n;
    const fits = signed ? BigInt.asIntN(64, value) === value : BigInt.asUintN(64, value) === value;
    if (!fits) throw new RangeError(`${value} has more than 64 bits`);
    this.#byte(signed ? 0xd3 : 0xcf);
    const at = this.#room(8);
    if (signed) this.#view.setBigInt64(at, value);
    else this.#view.setBigUint64(at, value);
  }

  #text(value: string): void {
    const bytes = toUtf8.encode(value);
    if (bytes.length < 32) this.#byte(0xa0 | bytes.length);
    else this.#sized(0xdb, bytes.length);
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }

  #array(items: readonly Encodable[]): void {
    this.#sized(0xdd, items.length);
    for (const item of items) this.value(item);
  }

  #map(map: { readonly [name: string]: Encodable }): void {
    const members = Object.entries(map).filter(([, value]) => value !== undefined);
    this.#sized(0xdf, members.length);
    for (const [name, value] of members) {
      this.#text(name);
      this.value(value);
    }
  }

  /** A head with a size of four bytes: few bytes matter in what clients send. */
  #sized(head: number, size: number): void {
    this.#byte(head);
    const at = this.#room(4);
    this.#view.setUint32(at, size);
  }

  #byte(byte: number): void {
    const at = this.#room(1);
    this.#bytes[at] = byte;
  }

  /** Make room; what `#bytes` and `#view` were before this may be out of date. */
  #room(bytes: number): number {
    const at = this.#at;
    this.#at += bytes;
    if (this.#at > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#at, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}
