/** What a message must have before anybody looks into it. Members that are not named may be anything. */

import { Fault } from "./errors.ts";
import type { ServerMessage } from "./messages.ts";

type Test = (value: unknown) => boolean;

const integer: Test = value => Number.isSafeInteger(value);
const text: Test = value => typeof value === "string";
const flag: Test = value => typeof value === "boolean";
const list: Test = value => Array.isArray(value);
const id: Test = value => text(value) || integer(value);
const optional =
  (test: Test): Test =>
  value =>
    value === undefined || test(value);

const SHAPES: { readonly [type: string]: { readonly [member: string]: Test } } = {
  subscribed: { id, views: list },
  snapshot: {
    view: integer,
    seq: integer,
    last: flag,
    class: text,
    fields: list,
    keys: list,
    rows: list,
    buckets: optional(list),
    order: optional(list),
    total: optional(integer),
  },
  patch: { view: integer, from: integer, to: integer, ops: list, more: optional(flag) },
  bookmark: { view: integer, seq: integer, resume: text },
  reset: { view: integer, epoch: text, seq: integer, gone: optional(flag) },
  moved: { view: integer, as: integer, seq: integer },
  error: { id: optional(id), code: text, message: text },
  result: { id },
};

const VIEW_INFO = {
  view: integer,
  pool: (value: unknown) => value === null || text(value),
  epoch: text,
  seq: integer,
  classes: list,
  mode: (value: unknown) => MODES.has(value),
};
const MODES: ReadonlySet<unknown> = new Set(["snapshot", "resume", "compare", "same"]);

/** @throws Fault: a member is missing or of a wrong type. */
export function checkShape(message: ServerMessage): void {
  check(message, SHAPES[message.type] ?? {}, message.type);
  if (message.type === "subscribed") {
    for (const info of message.views) check(info, VIEW_INFO, "view");
  }
}

function check(value: object, shape: { readonly [member: string]: Test }, what: string): void {
  for (const member in shape) {
    if (!shape[member]?.((value as Record<string, unknown>)[member])) {
      throw new Fault(`\`${member}\` of a ${what} is missing or wrong`);
    }
  }
}
