/** JSON to MessagePack, independent of what is tested: integers stay integers, floats floats. */

class Float {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

type Exact = null | boolean | string | bigint | Float | Exact[] | Map<string, Exact>;

const TOKEN = /\s*([[\]{}:,]|"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)/y;

/** Read JSON without losing what a double cannot hold. */
export function parseExact(text: string): Exact {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  for (let at = 0; text.slice(at).trim() !== ""; at = TOKEN.lastIndex) {
    TOKEN.lastIndex = at;
    const found = TOKEN.exec(text);
    if (!found) throw new SyntaxError(`no JSON at ${at}`);
    tokens.push(found[1] as string);
  }
  let at = 0;
  const value = (): Exact => {
    const token = tokens[at++] as string;
    if (token === "[") return items("]", value);
    if (token === "{") {
      return new Map(
        items("}", () => {
          const name = JSON.parse(tokens[at] as string);
          at += 2; // and the colon
          return [name, value()] as [string, Exact];
        }),
      );
    }
    if (/^-?\d+$/.test(token)) return token === "-0" ? new Float(-0) : BigInt(token);
    return /^[-\d]/.test(token) ? new Float(Number(token)) : JSON.parse(token);
  };
  const items = <T>(end: string, item: () => T): T[] => {
    const found: T[] = [];
    while (tokens[at] !== end) {
      found.push(item());
      if (tokens[at] === ",") at++;
    }
    at++;
    return found;
  };
  return value();
}

/** What a client whose numbers are doubles and bigints holds of it. */
export function held(value: Exact): unknown {
  if (value instanceof Float) return value.value;
  if (Array.isArray(value)) return value.map(held);
  if (typeof value === "bigint") {
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }
  if (!(value instanceof Map)) return value;
  return Object.fromEntries([...value].map(([name, member]) => [name, held(member)]));
}

export function toMsgpack(value: Exact): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat([...pieces(value)]));
}

function* pieces(value: Exact): Generator<Buffer> {
  if (value === null) yield Buffer.of(0xc0);
  else if (typeof value === "boolean") yield Buffer.of(value ? 0xc3 : 0xc2);
  else if (typeof value === "bigint") yield integer(value);
  else if (value instanceof Float) yield sized(0xcb, 8, b => b.writeDoubleBE(value.value, 1));
  else if (typeof value === "string") {
    const bytes = Buffer.from(value);
    yield head(bytes.length, 0xa0, 31, [0xd9, 0xda, 0xdb]);
    yield bytes;
  } else if (Array.isArray(value)) {
    yield head(value.length, 0x90, 15, [undefined, 0xdc, 0xdd]);
    for (const item of value) yield* pieces(item);
  } else {
    yield head(value.size, 0x80, 15, [undefined, 0xde, 0xdf]);
    for (const [name, member] of value) {
      yield* pieces(name);
      yield* pieces(member);
    }
  }
}

function sized(head: number, bytes: number, write: (buffer: Buffer) => void): Buffer {
  const buffer = Buffer.alloc(1 + bytes);
  buffer[0] = head;
  write(buffer);
  return buffer;
}

function head(size: number, short: number, most: number, long: (number | undefined)[]): Buffer {
  if (size <= most) return Buffer.of(short | size);
  if (size < 0x100 && long[0]) return sized(long[0], 1, b => b.writeUInt8(size, 1));
  if (size < 0x1_0000) return sized(long[1] as number, 2, b => b.writeUInt16BE(size, 1));
  return sized(long[2] as number, 4, b => b.writeUInt32BE(size, 1));
}

/** The shortest form, as the proxy writes it. */
function integer(value: bigint): Buffer {
  const n = Number(value);
  if (n >= -32 && n < 0) return Buffer.of(0x100 + n);
  if (n >= 0 && n < 0x80) return Buffer.of(n);
  if (n >= 0) {
    if (n < 0x100) return sized(0xcc, 1, b => b.writeUInt8(n, 1));
    if (n < 0x1_0000) return sized(0xcd, 2, b => b.writeUInt16BE(n, 1));
    if (n < 0x1_0000_0000) return sized(0xce, 4, b => b.writeUInt32BE(n, 1));
    return sized(0xcf, 8, b => b.writeBigUInt64BE(value, 1));
  }
  if (n >= -0x80) return sized(0xd0, 1, b => b.writeInt8(n, 1));
  if (n >= -0x8000) return sized(0xd1, 2, b => b.writeInt16BE(n, 1));
  if (n >= -0x8000_0000) return sized(0xd2, 4, b => b.writeInt32BE(n, 1));
  return sized(0xd3, 8, b => b.writeBigInt64BE(value, 1));
}
