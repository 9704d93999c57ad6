// The API: requests with the token, problems as errors, pages as one list.

const KEY = "nicmapd.token";

/** An answer that is a problem document (RFC 9457), or no answer at all (`status` 0). */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail ?? document.title ?? `HTTP ${status}`);
    this.status = status;
    this.code = document.code ?? "unavailable";
    this.document = document;
  }
}

export class Api {
  /** `onDenied` is called when a request is refused for want of a token that may read. */
  constructor(onDenied) {
    this.onDenied = onDenied;
  }

  /** The bearer token of this tab; it ends with the tab. */
  get token() {
    return sessionStorage.getItem(KEY);
  }

  set token(value) {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  }

  /** The raw response. Throws `Problem` for a failure. */
  async fetch(path, { method = "GET", headers = {}, body, signal } = {}) {
    const all = { Accept: "application/json", ...headers };
    if (this.token) all.Authorization = `Bearer ${this.token}`;
    if (body !== undefined) all["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, { method, headers: all, body: body && JSON.stringify(body), signal, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, { detail: "nicmapd does not answer", code: "unavailable" });
    }
    if (response.ok) return response;
    const problem = new Problem(response.status, await response.json().catch(() => ({})));
    if (response.status === 401 || (response.status === 403 && method === "GET")) this.onDenied(problem);
    throw problem;
  }

  /** The JSON of an answer; null for one without a body. */
  async json(path, options) {
    const response = await this.fetch(path, options);
    return response.status === 204 ? null : response.json();
  }

  /** All items of a paged list. */
  async all(path) {
    const found = [];
    let cursor = null;
    do {
      const page = await this.json(`${path}?limit=1000${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
      found.push(...page.items);
      cursor = page.next;
    } while (cursor);
    return found;
  }
}

/** The path of a VM, by its UUID. */
export function vmPath(uuid) {
  return `/vms/${encodeURIComponent(uuid)}`;
}

/** The path of a NIC. The MAC means it unless another NIC of the VM (`siblings`) has the same. */
export function nicPath(nic, siblings) {
  return `${vmPath(nic.vm_uuid)}/interfaces/${encodeURIComponent(selector(nic, siblings)).replaceAll("%3A", ":")}`;
}

function selector(nic, siblings) {
  if (siblings.filter((one) => one.mac === nic.mac).length <= 1) return nic.mac;
  if (nic.alias !== null) return `alias:${nic.alias}`;
  return nic.target === null ? nic.mac : `dev:${nic.target}`;
}
