/** Who wants to hear of something. */

export type Listener<T> = (what: T) => void;

export class Listeners<T> {
  readonly #listeners = new Set<Listener<T>>();

  /** Add one; the function that comes back takes it away again. */
  add(listener: Listener<T>): () => void {
    // one of our own, so that a listener added twice is told twice and removed once
    const entry: Listener<T> = what => listener(what);
    this.#listeners.add(entry);
    return () => {
      this.#listeners.delete(entry);
    };
  }

  /** Tell all. One that throws keeps nobody from hearing it; its error is reported by the host. */
  tell(what: T): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(what);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
