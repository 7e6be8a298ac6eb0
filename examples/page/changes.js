// What other tabs, other devices and other people change, as it happens.
import { stream } from "./api.js";

const PAUSE_MS = 5000;

export class Changes {
  #cursor = null;
  #listening = null;
  #tell;

  /** `tell` is called with each event, and with null when everything may have changed. */
  constructor(tell) {
    this.#tell = tell;
    document.addEventListener("visibilitychange", () => this.#listening && this.listen());
  }

  /** Listen from now on while the page is visible: a browser has few connections to a server for all its tabs. */
  listen() {
    this.#listening?.abort();
    this.#listening = new AbortController();
    if (!document.hidden) this.#read(this.#listening.signal);
  }

  /** Stop, and forget the user. */
  stop() {
    this.#listening?.abort();
    this.#listening = this.#cursor = null;
  }

  async #read(signal) {
    while (!signal.aborted) {
      try {
        const headers = this.#cursor ? { "Last-Event-ID": this.#cursor } : {};
        for await (const event of stream("/changes", { headers, signal })) {
          if (signal.aborted) return;
          this.#tell(this.#cursor ? event : null);
          this.#cursor = event.next;
        }
      } catch (problem) {
        if (signal.aborted || problem.status === 401) return;
        if (problem.code === "cursor_expired") this.#cursor = null;
        else await new Promise((resume) => setTimeout(resume, PAUSE_MS));
      }
    }
  }
}
