/**
 * Keep documents beyond the page, so that a reload resumes instead of loading everything.
 *
 * The client itself keeps them in memory over reconnects. An application that wants more gives an
 * implementation of `ViewStorage` (on IndexedDB, say). What is kept is what its user may see: name it
 * after the user, and delete it when he signs out.
 */

import type { PoolId, XapiObject } from "./messages.ts";

/** One pool of one live view; plain data, fit for structured cloning. */
export interface SavedView {
  readonly pool: PoolId;
  readonly epoch: string;
  readonly seq: number;
  readonly token: string;
  readonly classes: readonly string[];
  readonly objects: readonly (readonly [cls: string, key: string, object: XapiObject])[];
}

export interface ViewStorage {
  load(name: string): Promise<readonly SavedView[] | undefined>;
  save(name: string, views: readonly SavedView[]): Promise<void>;
}
