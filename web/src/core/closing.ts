/** When to connect again, by the close code (docs/protocol.md, section 9). */

export type Advice =
  /** Now, as after any loss. */
  | "retry"
  /** Everybody was sent away at once: spread over five seconds. */
  | "spread"
  /** With another credential. */
  | "credentials"
  /** The proxy is full. */
  | "later"
  | "never";

const ADVICE: { readonly [code: number]: Advice } = {
  4301: "spread",
  4305: "credentials",
  4308: "retry",
  4310: "spread",
  4501: "never",
  4502: "never",
  4503: "later",
};

const SPREAD_MS = 5_000;
const LATER_MS = 30_000;
const LONGEST_MS = 30_000;

/** Codes without an entry are of the network or of a proxy in between. */
export function advice(closeCode: number): Advice {
  return ADVICE[closeCode] ?? "retry";
}

/**
 * Say how long to wait before the next attempt: 1 s, 2 s, ... 30 s, less up to half of it, so that
 * clients that were lost together do not come together.
 *
 * @param attempt How many have failed since the last success.
 * @param random From 0 to 1.
 */
export function delayMs(what: Advice, attempt: number, random: number): number {
  if (what === "later") return LATER_MS * (1 + random);
  if (what === "spread" && attempt === 0) return SPREAD_MS * random;
  return Math.min(LONGEST_MS, 1_000 * 2 ** attempt) * (0.5 + random / 2);
}
