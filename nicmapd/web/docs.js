// The API's manual: /openapi.json as a page, without another server and without a library.

import { Api } from "./api.js";
import { h, put } from "./dom.js";

const TITLES = { interfaces: "NICs", vms: "VMs", history: "The past", events: "What changes", networks: "Networks", daemon: "The daemon" };

class Manual {
  constructor(document) {
    this.document = document;
  }

  /** What a schema stands for, references followed one step. */
  resolve(schema) {
    const name = schema?.$ref?.split("/").pop();
    return name === undefined ? schema : this.document.components.schemas[name];
  }

  whole() {
    const groups = new Map();
    for (const [path, operations] of Object.entries(this.document.paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        const tag = operation.tags?.[0] ?? "more";
        if (!groups.has(tag)) groups.set(tag, []);
        groups.get(tag).push({ path, method, operation });
      }
    }
    const { title, version, summary, description } = this.document.info;
    return [
      h("nav", { class: "contents", "aria-label": "Operations" },
        h("a", { class: "home", href: "/" }, "← nicmapd"),
        [...groups].map(([tag, all]) => [
          h("h2", {}, TITLES[tag] ?? tag),
          h("ul", {}, all.map((one) => h("li", {}, h("a", { href: `#${one.operation.operationId}` }, verb(one.method), one.path)))),
        ]),
        h("h2", {}, "Documents"),
        h("ul", {}, Object.keys(this.document.components.schemas).sort().map((name) => h("li", {}, h("a", { href: `#${name}` }, name)))),
      ),
      h("main", { class: "manual" },
        h("h1", {}, `${title} API `, h("small", {}, version)),
        h("p", { class: "summary" }, summary),
        prose(description),
        h("p", {}, "As a document: ", h("a", { href: "/openapi.json" }, "/openapi.json"), " (OpenAPI 3.1)."),
        [...groups.values()].flat().map((one) => this.operation(one)),
        h("h2", { class: "part" }, "Documents"),
        Object.entries(this.document.components.schemas).sort().map(([name, schema]) => this.schema(name, schema)),
      ),
    ];
  }

  operation({ path, method, operation }) {
    const success = Object.entries(operation.responses).find(([status]) => status.startsWith("2"));
    return h("section", { class: "operation", id: operation.operationId },
      h("h3", {}, verb(method), h("code", {}, path)),
      h("p", { class: "summary" }, operation.summary),
      prose(operation.description),
      this.parameters(operation.parameters ?? []),
      this.body(operation.requestBody),
      h("h4", {}, "Answers"),
      h("dl", { class: "answers" }, Object.entries(operation.responses).map(([status, answer]) => [
        h("dt", { "data-kind": status[0] }, status),
        h("dd", {}, inline(answer.description), this.content(answer.content)),
      ])),
      method === "get" && success?.[1].content?.["application/json"]
        ? [h("h4", {}, "For example"), h("pre", { tabindex: "0" }, `curl --unix-socket /run/nicmapd/api.sock 'http://localhost${example(path, operation.parameters ?? [])}'`)]
        : null,
    );
  }

  parameters(all) {
    if (all.length === 0) return null;
    return [
      h("h4", {}, "Parameters"),
      h("dl", { class: "members" }, all.map((one) => [
        h("dt", {}, h("code", {}, one.name), h("span", { class: "type" }, `${one.in}, ${this.type(one.schema)}${one.required ? ", required" : ""}`)),
        h("dd", {}, inline(one.description), one.schema?.enum ? choices(one.schema.enum) : null),
      ])),
    ];
  }

  body(body) {
    const content = body?.content;
    if (!content) return null;
    return [h("h4", {}, "Body"), h("p", {}, body.description ?? "", this.content(content))];
  }

  content(content) {
    return Object.entries(content ?? {}).map(([media, { schema }]) => [
      " ", h("span", { class: "media" }, media), schema ? [": ", this.link(schema)] : null,
    ]);
  }

  schema(name, schema) {
    const required = new Set(schema.required ?? []);
    return h("section", { class: "operation", id: name },
      h("h3", {}, h("code", {}, name)),
      prose(schema.description),
      schema.enum ? choices(schema.enum) : null,
      h("dl", { class: "members" }, Object.entries(schema.properties ?? {}).map(([member, about]) => [
        h("dt", {}, h("code", {}, member), h("span", { class: "type" }, this.link(about), required.has(member) ? "" : ", may be missing")),
        h("dd", {}, inline(about.description), about.examples ? h("span", { class: "sample" }, ` e.g. ${about.examples.map((one) => JSON.stringify(one)).join(", ")}`) : null),
      ])),
    );
  }

  /** The type of a schema in words, with a link where it has a name. */
  link(schema) {
    if (schema.$ref) {
      const name = schema.$ref.split("/").pop();
      return h("a", { href: `#${name}` }, name);
    }
    if (schema.items) return ["list of ", this.link(schema.items)];
    const any = schema.anyOf ?? schema.oneOf;
    if (any) return any.map((one, index) => [index > 0 ? " or " : "", this.link(one)]);
    return this.type(schema);
  }

  type(schema) {
    if (schema === undefined) return "any";
    if (schema.$ref) return schema.$ref.split("/").pop();
    if (schema.const !== undefined) return JSON.stringify(schema.const);
    if (schema.format) return schema.format;
    return [schema.type ?? (schema.anyOf ?? []).map((one) => one.format ?? one.type).join(" or ")].flat().join(" or ") || "any";
  }
}

function verb(method) {
  return h("b", { class: `verb ${method}` }, method.toUpperCase());
}

/** Paragraphs, with `code` as code. */
function prose(text) {
  return (text ?? "").split(/\n\s*\n/).filter(Boolean).map((paragraph) =>
    h("p", {}, inline(paragraph)));
}

function inline(text) {
  return (text ?? "").split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
}

function choices(values) {
  return h("span", { class: "choices" }, " ", values.map((value, index) => [index > 0 ? ", " : "", h("code", {}, String(value))]));
}

function example(path, parameters) {
  return path.replace(/\{(\w+)\}/g, (whole, name) => parameters.find((one) => one.name === name)?.example ?? whole);
}

const root = document.getElementById("docs");
try {
  const document = await new Api(() => {}).json("/openapi.json");
  put(root, new Manual(document).whole());
  if (location.hash) globalThis.document.getElementById(location.hash.slice(1))?.scrollIntoView();
} catch (problem) {
  put(root, h("p", { class: "noscript", role: "alert" }, `The API's document cannot be read: ${problem.message}`));
}
