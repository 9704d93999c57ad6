// The change feed, read with fetch: EventSource can send no token. Reconnects by itself and resumes where it was.

/** The server says something at least each 15 s; a stream that is silent for longer than this is dead. */
const SILENCE = 40_000;
const FIRST_DELAY = 500;
const LAST_DELAY = 8_000;

/** Takes the lines of a text/event-stream apart (WHATWG HTML, 9.2.6). */
export class Parser {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.rest = "";
    this.clear();
  }

  clear() {
    this.event = { type: "", id: undefined, data: [] };
  }

  feed(text) {
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop();
    for (const line of lines) this.line(line);
  }

  line(line) {
    if (line === "") {
      const { type, id, data } = this.event;
      this.clear();
      if (data.length > 0 || id !== undefined) this.onEvent({ type: type || "message", id, data: data.join("\n") });
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment: the server is alive
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.event.type = value;
    else if (field === "data") this.event.data.push(value);
    else if (field === "id") this.event.id = value;
  }
}

export class Feed {
  /**
   * `onEvent(type, data)` for each change; `onGap()` when changes may have been missed; `onState(state, reason)` with
   * `live`, `lost` or `connecting`.
   */
  constructor(api, { onEvent, onGap, onState }) {
    this.api = api;
    this.on = { event: onEvent, gap: onGap, state: onState };
    this.last = null;
    this.delay = FIRST_DELAY;
    this.turn = null;
    this.wake = () => {};
    window.addEventListener("online", () => this.wake());
    document.addEventListener("visibilitychange", () => document.hidden || this.wake());
  }

  start() {
    if (this.turn !== null) return;
    this.turn = new AbortController();
    this.delay = FIRST_DELAY;
    this.run(this.turn);
  }

  /** Ends the connection and all tries, until the next start. */
  stop() {
    const turn = this.turn;
    this.turn = null;
    turn?.abort();
    this.wake();
  }

  /** Tries again at once, if it is waiting to. */
  retry() {
    this.wake();
  }

  async run(turn) {
    this.on.state("connecting", "");
    while (this.turn === turn) {
      let reason;
      try {
        reason = await this.stream(turn.signal);
      } catch (problem) {
        reason = problem.message;
        if (problem.status === 410 && this.last !== null) {
          this.last = null;
          continue;
        }
      }
      if (this.turn !== turn) return;
      this.on.state("lost", reason);
      await new Promise((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, this.delay * (0.75 + Math.random() / 2));
      });
      this.delay = Math.min(this.delay * 2, LAST_DELAY);
    }
  }

  /** One connection, until it ends or `stopped`; says why it did. */
  async stream(stopped) {
    const control = new AbortController();
    const stop = () => control.abort();
    stopped.addEventListener("abort", stop);
    let watchdog = 0;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => control.abort(), SILENCE);
    };
    alive();
    this.end = undefined;
    try {
      const headers = { Accept: "text/event-stream" };
      if (this.last !== null) headers["Last-Event-ID"] = this.last;
      const response = await this.api.fetch("/events", { headers, signal: control.signal });
      const resumed = this.last !== null;
      this.delay = FIRST_DELAY;
      this.on.state("live", "");
      if (!resumed) this.on.gap();
      await this.read(response.body.getReader(), alive);
      return this.end ?? "the stream ended";
    } catch (error) {
      if (error.name === "AbortError") return "the daemon fell silent";
      if (error.status === undefined) return "the connection broke";
      throw error;
    } finally {
      clearTimeout(watchdog);
      stopped.removeEventListener("abort", stop);
    }
  }

  async read(reader, alive) {
    const decoder = new TextDecoder();
    const parser = new Parser((event) => this.take(event));
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      parser.feed(decoder.decode(value, { stream: true }));
    }
  }

  take({ type, id, data }) {
    if (id) this.last = id;
    if (data === "") return;
    let document;
    try {
      document = JSON.parse(data);
    } catch {
      this.on.gap(); // something that this page does not understand happened: look at everything
      return;
    }
    if (type === "end") this.end = document.reason;
    else if (type === "resync") this.on.gap();
    else this.on.event(type, document);
  }
}
