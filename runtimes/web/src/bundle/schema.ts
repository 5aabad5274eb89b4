/**
 * A checker for the part of JSON Schema that `manifest.schema.json` uses; no code is made of it, so that a page may
 * forbid `eval`.
 *
 * Known keywords: type, enum, pattern, minimum, maximum, maxLength, maxItems, required, properties,
 * additionalProperties, items, $ref to `#/$defs/…`.
 */

import { short } from "../common/reading.js";

/** What is used of a schema. */
export interface Schema {
  readonly $schema?: string;
  readonly title?: string;
  readonly description?: string;
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, Schema>>;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: boolean | Schema;
  readonly items?: Schema;
}

const ROOT = "the manifest";

/** One line for each way in which a value breaks a schema, the outermost first. */
export function* violations(value: unknown, schema: Schema, root = schema, where = ROOT): Generator<string> {
  const meant = schema.$ref === undefined ? schema : root.$defs?.[schema.$ref.replace("#/$defs/", "")];
  if (meant === undefined) throw new Error(`the schema has no ${schema.$ref ?? ""}`);
  const types = meant.type === undefined ? [] : typeof meant.type === "string" ? [meant.type] : meant.type;
  if (types.length > 0 && !types.some((type) => hasType(value, type))) {
    yield `${where} must be ${types.join(" or ")}, not ${short(value)}`;
    return;
  }
  if (meant.enum !== undefined && !meant.enum.includes(value)) {
    yield `${where} must be ${meant.enum.map((one) => `'${String(one)}'`).join(" or ")}, not ${short(value)}`;
  }
  if (typeof value === "string") yield* ofString(value, meant, where);
  else if (typeof value === "number") {
    if (!((meant.minimum ?? value) <= value && value <= (meant.maximum ?? value))) {
      yield `${where} is out of range: ${value}`;
    }
  } else if (Array.isArray(value)) yield* ofArray(value, meant, root, where);
  else if (value !== null && typeof value === "object") yield* ofObject(value, meant, root, where);
}

function hasType(value: unknown, type: string): boolean {
  switch (type) {
    case "object":
      return value !== null && typeof value === "object" && !Array.isArray(value);
    case "array":
      return Array.isArray(value);
    case "integer":
      return Number.isInteger(value);
    case "null":
      return value === null;
    default:
      return typeof value === type;
  }
}

function* ofString(value: string, schema: Schema, where: string): Generator<string> {
  if (schema.pattern !== undefined && !new RegExp(schema.pattern, "u").test(value)) {
    yield `${where} is not acceptable: ${short(value)}`;
  }
  if (schema.maxLength !== undefined && value.length > schema.maxLength) {
    yield `${where} is longer than ${schema.maxLength} characters`;
  }
}

function* ofArray(value: readonly unknown[], schema: Schema, root: Schema, where: string): Generator<string> {
  if (schema.maxItems !== undefined && value.length > schema.maxItems) {
    yield `${where} has ${value.length} items, and ${schema.maxItems} are the most`;
    return;
  }
  for (const [index, item] of value.entries()) yield* violations(item, schema.items ?? {}, root, `${where}[${index}]`);
}

function* ofObject(value: object, schema: Schema, root: Schema, where: string): Generator<string> {
  const prefix = where === ROOT ? "" : `${where}.`;
  for (const name of schema.required ?? []) {
    if (!Object.hasOwn(value, name)) yield `${prefix}${name} is missing`;
  }
  const properties = schema.properties ?? {};
  const others = schema.additionalProperties ?? true;
  for (const [name, item] of Object.entries(value)) {
    const known = Object.hasOwn(properties, name) ? properties[name] : undefined;
    const field = `${prefix}${short(name, 80).slice(1, -1)}`;
    if (known !== undefined) yield* violations(item, known, root, field);
    else if (others === false) yield `${field} is not a known field`;
    else if (others !== true) yield* violations(item, others, root, field);
  }
}
