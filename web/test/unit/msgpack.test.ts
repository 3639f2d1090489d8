import { decode as oracleDecode, encode as oracleEncode } from "@msgpack/msgpack";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decode, encode } from "../../src/core/msgpack.ts";

const BIG = 2n ** 53n;
const big = fc.oneof(
  fc.bigInt({ min: BIG, max: 2n ** 64n - 1n }),
  fc.bigInt({ min: -(2n ** 63n), max: -BIG }),
);
const { tree } = fc.letrec(tie => ({
  tree: fc.oneof(
    { depthSize: "small" },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true }).filter(number => !Object.is(number, -0)), // the other one loses it
    fc.string({ unit: "grapheme", maxLength: 70 }),
    fc.array(tie("tree"), { maxLength: 20 }),
    fc.dictionary(fc.string(), tie("tree"), { maxKeys: 20, noNullPrototype: true }),
  ),
}));
// biome-ignore lint/suspicious/noExplicitAny: any value
type Any = any;

describe("MessagePack", () => {
  test("is read as another implementation reads it, and written so that it can", () => {
    fc.assert(
      fc.property(tree, value => {
        fc.pre(!JSON.stringify(value).includes("__proto__")); // which the other one refuses
        expect(decode(oracleEncode(value))).toEqual(value);
        expect(oracleDecode(encode(value as Any))).toEqual(value);
      }),
      { numRuns: 1000 },
    );
  });

  test("comes back as it was, a member that is called __proto__ too", () => {
    fc.assert(
      fc.property(tree, value => {
        expect(decode(encode(value as Any))).toEqual(value);
      }),
    );
    expect(decode(encode(-0))).toBe(-0);
    const odd = JSON.parse('{"__proto__":1}');
    expect(Object.entries(decode(encode(odd)) as object)).toEqual([["__proto__", 1]]);
  });

  test("keeps integers exact: numbers as long as these hold them, bigints beyond", () => {
    fc.assert(
      fc.property(big, value => {
        expect(decode(encode(value))).toBe(value);
      }),
    );
    fc.assert(
      fc.property(fc.maxSafeInteger(), value => {
        expect(decode(oracleEncode(BigInt(value), { useBigInt64: true }))).toBe(value);
      }),
    );
    expect(() => encode(2n ** 64n)).toThrow(RangeError);
    expect(() => encode(-(2n ** 63n) - 1n)).toThrow(RangeError);
  });

  test("leaves out what is undefined, as JSON does", () => {
    expect(decode(encode({ a: undefined, b: 1 }))).toEqual({ b: 1 });
  });

  test("that is cut short or goes on is refused", () => {
    fc.assert(
      fc.property(tree, fc.nat(), (value, cut) => {
        const bytes = encode(value as Any);
        const length = cut % bytes.length;
        expect(() => decode(bytes.subarray(0, length))).toThrow();
        expect(() => decode(new Uint8Array([...bytes, 0xc0]))).toThrow("behind its end");
      }),
    );
  });

  test("any other bytes are read or refused, at once", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
        try {
          decode(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
        }
      }),
      { numRuns: 5000 },
    );
    expect(() => decode(new Uint8Array(200).fill(0x91))).toThrow("too deep");
    expect(() => decode(Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff))).toThrow(RangeError);
    expect(() => decode(Uint8Array.of(0xdb, 0xff, 0xff, 0xff, 0xff))).toThrow("ends inside");
    expect(() => decode(Uint8Array.of(0x81, 1, 1))).toThrow("no text");
    expect(() => decode(Uint8Array.of(0xc7, 1, 1, 1))).toThrow("0xc7");
  });
});
