"use strict";
// Shows /openapi.json. Text from the document only ever becomes text nodes.

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

// The document's prose marks code with backquotes; nothing else is marked up.
function prose(text) {
  return (text || "")
    .trim()
    .split(/\n\s*\n/)
    .filter(Boolean)
    .map((paragraph) => element("p", {}, ...marked(paragraph)));
}

function marked(text) {
  return text
    .split("`")
    .map((part, place) => (place % 2 ? element("code", {}, part) : part.replace(/\s+/g, " ")));
}

function table(head, rows) {
  const cells = (name, row) => row.map((cell) => element(name, {}, ...[cell].flat()));
  return element(
    "div",
    { class: "scroll" },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...cells("th", head))),
      element("tbody", {}, ...rows.map((row) => element("tr", row.id ? { id: row.id } : {}, ...cells("td", row)))),
    ),
  );
}

const nameOf = (reference) => reference.split("/").pop();

// What a value may be, in one line; named schemas become links.
function typeOf(schema) {
  if (!schema) return [];
  if (schema.$ref) {
    const name = nameOf(schema.$ref);
    return [element("a", { href: `#schema-${name}` }, name)];
  }
  const choices = schema.anyOf || schema.oneOf || schema.allOf;
  if (choices) {
    return choices.flatMap((choice, place) => (place ? [" or ", ...typeOf(choice)] : typeOf(choice)));
  }
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items)];
  if (schema.enum) return [schema.enum.join(" | ")];
  if (schema.type === "object" && typeof schema.additionalProperties === "object") {
    return ["object of ", ...typeOf(schema.additionalProperties)];
  }
  return [schema.format ? `${schema.type} (${schema.format})` : schema.type || "any"];
}

function limitsOf(schema) {
  const words = {
    minimum: "at least", maximum: "at most", maxLength: "characters at most",
    minLength: "characters at least", maxItems: "items at most", minItems: "items at least",
  };
  return Object.entries(words)
    .filter(([key]) => schema && key in schema)
    .map(([key, text]) => (text.includes(" a") && !text.startsWith("at") ? `${schema[key]} ${text}` : `${text} ${schema[key]}`))
    .join(", ");
}

function described(schema, isRequired, text) {
  const notes = [isRequired ? "needed" : "", limitsOf(schema)].filter(Boolean).join("; ");
  return [...marked(text || ""), notes ? element("span", { class: "dim" }, ` (${notes})`) : ""];
}

function operation(path, method, found) {
  const id = `${method}-${path}`.replace(/[^a-z0-9]+/gi, "-").replace(/-$/, "");
  const parts = [
    element("h2", { id }, element("span", { class: `method ${method}` }, method.toUpperCase()), " ", element("code", {}, path)),
    element("p", {}, element("strong", {}, found.summary || "")),
    ...prose(found.description),
  ];
  if (found.parameters) {
    parts.push(
      element("h3", {}, "Parameters"),
      table(
        ["name", "type", ""],
        found.parameters.map((each) => [
          [element("code", {}, each.name), element("span", { class: "dim" }, ` ${each.in}`)],
          typeOf(each.schema),
          described(each.schema, each.required, each.description),
        ]),
      ),
    );
  }
  if (found.requestBody) {
    const rows = Object.entries(found.requestBody.content);
    parts.push(
      element("h3", {}, "Body"),
      table(["media type", "content"], rows.map(([type, each]) => [element("code", {}, type), typeOf(each.schema)])),
    );
  }
  const answers = Object.entries(found.responses).map(([status, each]) => {
    const content = Object.values(each.content || {})[0];
    return [element("code", {}, status), content ? typeOf(content.schema) : "", marked(each.description || "")];
  });
  parts.push(element("h3", {}, "Answers"), table(["status", "content", ""], answers));
  return { id, title: `${method.toUpperCase()} ${path}`, parts, tag: (found.tags || ["others"])[0] };
}

function members(name, schema) {
  const needed = new Set(schema.required || []);
  const shown = schema.properties ? schema : (schema.anyOf || []).find((each) => each.properties) || schema;
  const required = shown === schema ? needed : new Set(shown.required || []);
  const rows = Object.entries(shown.properties || {}).map(([key, each]) => [
    element("code", {}, key),
    typeOf(each),
    described(each, required.has(key), each.description),
  ]);
  const isEither = shown !== schema;
  return [
    element("h2", { id: `schema-${name}` }, name),
    ...prose(schema.description),
    isEither ? element("p", { class: "dim" }, "A string, or an object with:") : "",
    rows.length ? table(["member", "type", ""], rows) : element("p", {}, ...typeOf(schema)),
  ];
}

function show(found) {
  const main = document.getElementById("document");
  const contents = document.getElementById("contents");
  main.replaceChildren(
    element("h1", {}, `${found.info.title} API`),
    element("p", { class: "dim" }, `Version ${found.info.version}. The document itself: `, element("a", { href: "/openapi.json" }, "/openapi.json")),
    ...prose(found.info.description),
  );
  const listed = (title, links) =>
    contents.append(element("h2", {}, title), ...links.map(([id, text]) => element("a", { href: `#${id}` }, text)));

  const operations = Object.entries(found.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, each]) => operation(path, method, each)),
  );
  operations.forEach((each) => main.append(...each.parts));
  const tags = [...new Set(operations.map((each) => each.tag))];
  tags.forEach((tag) =>
    listed(
      tag[0].toUpperCase() + tag.slice(1),
      operations.filter((each) => each.tag === tag).map((each) => [each.id, each.title.replace(" /v1", " ")]),
    ),
  );

  const problems = found["x-problems"].map((each) => {
    const row = [element("code", {}, each.type), String(each.status), each.title];
    row.id = each.type;
    return row;
  });
  main.append(element("h2", { id: "problems" }, "Problems"), table(["type", "status", "meaning"], problems));
  listed("Errors", [["problems", "Problems"]]);

  const hidden = new Set(["HTTPValidationError", "ValidationError"]);
  const schemas = Object.entries(found.components.schemas).filter(([name]) => !hidden.has(name));
  schemas.forEach(([name, schema]) => main.append(...members(name, schema).filter(Boolean)));
  listed("Schemas", schemas.map(([name]) => [`schema-${name}`, name]));
  // The place that the address asks for exists only now.
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

fetch("/openapi.json")
  .then((response) => {
    if (!response.ok) throw new Error(`status ${response.status}`);
    return response.json();
  })
  .then(show)
  .catch((error) => {
    const state = document.getElementById("state");
    (state || document.body).replaceChildren(element("span", { class: "error" }, `The document could not be shown: ${error.message}`));
  });
