/**
 * What a column's type means for its image: how old and new values are compared, which settings change its text, how a value
 * becomes a key, and which code of the host would run when the image is built.
 */
import type { TypeRow } from "./catalogModel.js"
import type { Comparison, KeyText, LeafText, Pin } from "./generate/model.js"
import { everyPin } from "./model.js"

export interface TypeFacts {
  readonly comparison: Comparison
  readonly pins: ReadonlyArray<Pin>
  readonly keyText: KeyText
  /** Types whose cast to json the host may have written. */
  readonly hostCasts: ReadonlyArray<string>
}

/** Built-in base types whose text depends on a setting, also inside an array or a composite. */
const pinsOf: ReadonlyMap<string, ReadonlyArray<Pin>> = new Map([
  ["timestamptz", ["timezone"]],
  ["interval", ["intervalstyle"]],
  ["bytea", ["bytea_output"]],
  ["money", ["lc_monetary"]],
  ...["float4", "float8", "point", "lseg", "path", "box", "polygon", "line", "circle"].map(
    (name): [string, ReadonlyArray<Pin>] => [name, ["extra_float_digits"]]
  ),
  ...[
    "regclass",
    "regcollation",
    "regconfig",
    "regdatabase",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype"
  ].map((name): [string, ReadonlyArray<Pin>] => [name, ["quote_all_identifiers"]])
])

/** Extension types known to have one text, whatever the settings. */
const plainExtensionTypes: ReadonlySet<string> = new Set(["citext", "hstore", "ltree", "lquery", "ltxtquery"])

export const typeFacts = (oid: string, types: ReadonlyMap<string, TypeRow>): TypeFacts => {
  const pins = new Set<Pin>()
  const hostCasts = new Set<string>()
  const visitedTypes = new Set<string>()
  let hasJson = false
  let hasCast = false

  // Inside a range everything is text, and there dates follow DateStyle; elsewhere to_jsonb writes them as ISO 8601.
  const visit = (current: string, textual: boolean): void => {
    const type = types.get(current)
    if (type === undefined || visitedTypes.has(`${current} ${textual}`)) {
      return
    }
    visitedTypes.add(`${current} ${textual}`)
    if (type.base !== null) {
      return visit(type.base, textual)
    }
    if (type.element !== null) {
      return visit(type.element, textual)
    }
    if (type.kind === "c") {
      return type.attributes.forEach((attribute) => visit(attribute.type, textual))
    }
    if (!type.builtin && type.extension !== null && plainExtensionTypes.has(type.name)) {
      return
    }
    if (type.jsonCast !== null && !textual) {
      everyPin.forEach((pin) => pins.add(pin))
      hasCast ||= type.extension !== null
      if (type.jsonCast === "host") {
        hostCasts.add(`${type.schema}.${type.name}`)
      }
      return
    }
    if (type.subtype !== null) {
      return visit(type.subtype, true)
    }
    if (type.kind !== "b") {
      return
    }
    if (!type.builtin) {
      return everyPin.forEach((pin) => pins.add(pin))
    }
    if (type.name === "json") {
      hasJson = true
    }
    pinsOf.get(type.name)?.forEach((pin) => pins.add(pin))
    if (textual && ["date", "timestamp", "timestamptz"].includes(type.name)) {
      pins.add("datestyle")
    }
  }
  visit(oid, false)

  const base = baseOf(oid, types)
  return {
    comparison: hasCast
      ? "cast"
      : hasJson
        ? "json"
        : !hasFixedForm(base)
          ? "jsonb"
          : showsEverything(base)
            ? "text"
            : "image",
    pins: everyPin.filter((pin) => pins.has(pin)),
    keyText: keyTextOf(base, types),
    hostCasts: [...hostCasts]
  }
}

const baseOf = (oid: string, types: ReadonlyMap<string, TypeRow>): TypeRow | undefined => {
  let type = types.get(oid)
  while (type !== undefined && type.base !== null) {
    type = types.get(type.base)
  }
  return type
}

/** False if two values of the type may be JSON of different types: `1` and `"1"` have the same text. */
const hasFixedForm = (type: TypeRow | undefined): boolean =>
  type !== undefined &&
  !(type.builtin && type.name === "jsonb") &&
  !(type.jsonCast !== null && type.element === null && type.kind !== "c")

/** Built-in numbers whose `-0` an image shows as `0`. */
const floating: ReadonlySet<string> = new Set(["float4", "float8"])

/** False if two different values of the type may have one image. */
const showsEverything = (type: TypeRow | undefined): boolean =>
  type === undefined || (type.element === null && type.kind !== "c" && (!type.builtin || !floating.has(type.name)))

/** How the parts of a value become canonical: of an array its elements, of a composite its attributes. */
type KeyShape = LeafText | readonly [KeyShape] | { readonly [attribute: string]: KeyShape }

const keyShapeOf = (type: TypeRow | undefined, types: ReadonlyMap<string, TypeRow>): KeyShape =>
  type?.kind === "c"
    ? Object.fromEntries(
        type.attributes.map((attribute) => [attribute.name, keyShapeOf(baseOf(attribute.type, types), types)])
      )
    : type !== undefined && type.element !== null
      ? [keyShapeOf(baseOf(type.element, types), types)]
      : leafTextOf(type, types)

const leavesOf = (shape: KeyShape): ReadonlyArray<LeafText> =>
  typeof shape === "string" ? [shape] : Object.values(shape).flatMap(leavesOf)

/** Parts of these kinds are canonical if the numbers in the JSON are. */
const isNumbers = (leaf: LeafText): boolean => leaf === "text" || leaf === "numeric" || leaf === "numbers"

const keyTextOf = (type: TypeRow | undefined, types: ReadonlyMap<string, TypeRow>): KeyText => {
  const shape = keyShapeOf(type, types)
  return typeof shape === "string"
    ? shape
    : leavesOf(shape).every(isNumbers)
      ? "numbers"
      : `shape ${JSON.stringify(shape)}`
}

/** Built-in types whose equal values may have several texts. */
const builtinText: ReadonlyMap<string, LeafText> = new Map([
  ["jsonb", "numbers"],
  ["numeric", "numeric"],
  ["interval", "interval"],
  ["bpchar", "bpchar"]
])

const leafTextOf = (type: TypeRow | undefined, types: ReadonlyMap<string, TypeRow>): LeafText => {
  if (type === undefined) {
    return "text"
  }
  if (type.subtype !== null) {
    // The subtype of a multirange is that of its ranges.
    const subtype = baseOf(type.subtype, types)
    return subtype?.builtin === true && subtype.name === "numeric" ? "bounds" : "text"
  }
  if (type.builtin) {
    return builtinText.get(type.name) ?? "text"
  }
  return type.name === "citext" && type.extension === "citext" ? "citext" : "text"
}
