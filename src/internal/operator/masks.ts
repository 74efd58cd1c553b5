/**
 * Which columns, and which places inside JSON columns, are masked. Pages show a stored substitute as a mask, not as a
 * value.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Capture from "../../Capture.js"
import type * as Health from "../../Health.js"
import * as Json from "../../Json.js"
import { remembering } from "./remembered.js"

export type Mask = Capture.Mask

/** A masked place inside a document. If the path leads through an array, the place is masked in every element. */
export interface Place {
  readonly path: ReadonlyArray<string>
  readonly as: Mask
}

/** What the policy hides in a column, or in a part of its document. */
export interface Redaction {
  /** The mask, if the whole value is masked. */
  readonly whole?: Mask | undefined
  readonly inside: ReadonlyArray<Place>
}

/** By the columns of one table. */
export type Masks = ReadonlyMap<string, Redaction>

export type MasksByTable = ReadonlyMap<string, Masks>

const isMask = Schema.is(Capture.Mask)

const masksOf = (policies: ReadonlyArray<Health.PolicyComparison>): MasksByTable =>
  new Map(
    policies.map(({ columns, deployed, table }) => {
      const redactions = new Map<string, Redaction>()
      for (const { column, deployed: shown } of columns) {
        if (isMask(shown)) {
          redactions.set(column, { whole: shown, inside: [] })
        }
      }
      for (const [column, paths] of Object.entries(deployed?.paths ?? {})) {
        const inside = paths.flatMap(({ as, path }) => (isMask(as) ? [{ path, as }] : []))
        if (inside.length > 0) {
          redactions.set(column, { inside })
        }
      }
      return [table, redactions]
    })
  )

/**
 * The redaction of a member of a document. Without names, that of the document, which also holds for elements of an
 * array.
 */
export const memberOf = (redaction: Redaction | undefined, names: ReadonlyArray<string>): Redaction | undefined => {
  if (redaction === undefined || names.length === 0) {
    return redaction
  }
  const inside = redaction.inside
    .filter(({ path }) => names.every((name, index) => path[index] === name))
    .map(({ as, path }) => ({ as, path: path.slice(names.length) }))
  const whole = inside.find(({ path }) => path.length === 0)?.as
  return whole === undefined ? (inside.length === 0 ? undefined : { inside }) : { whole, inside: [] }
}

/**
 * The mask that a value stands for: the policy masks its place, and the value has the form of that mask. A value that
 * was recorded before the policy has another form and is shown as it is.
 */
export const maskOf = (redaction: Redaction | undefined, value: Json.JsonValue | undefined): Mask | undefined => {
  const mask = redaction?.whole
  switch (mask) {
    case undefined:
      return undefined
    case "null":
      return value === null ? mask : undefined
    case "[masked]":
      return value === masked ? mask : undefined
    case "last4":
      return typeof value === "string" && /^\*{4}([^]{4})?$/u.test(value) ? mask : undefined
    case "hash":
      return typeof value === "string" && /^hmac:[^:]+:[0-9a-f]{64}$/.test(value) ? mask : undefined
  }
}

/** What is stored in place of a masked value. */
export const masked = "[masked]"

/** A piece of a document as JSON: text, or a masked value. */
export type Piece = string | { readonly mask: Mask; readonly value: Json.JsonValue }

export const piecesOf = (value: Json.JsonValue, redaction: Redaction): ReadonlyArray<Piece> => {
  const pieces: Array<Piece> = []
  const text = (part: string): void => {
    const last = pieces.at(-1)
    if (typeof last === "string") {
      pieces[pieces.length - 1] = last + part
    } else {
      pieces.push(part)
    }
  }
  const walk = (value: Json.JsonValue, redaction: Redaction | undefined): void => {
    const mask = maskOf(redaction, value)
    if (mask !== undefined) {
      pieces.push({ mask, value })
    } else if (redaction === undefined || redaction.inside.length === 0) {
      text(Json.stringify(value))
    } else if (Array.isArray(value)) {
      const items: ReadonlyArray<Json.JsonValue> = value
      items.forEach((item, index) => {
        text(index === 0 ? "[" : ",")
        walk(item, redaction)
      })
      text(items.length === 0 ? "[]" : "]")
    } else if (Json.isObject(value)) {
      const entries = Object.entries(value)
      entries.forEach(([name, member], index) => {
        text(`${index === 0 ? "{" : ","}${JSON.stringify(name)}:`)
        walk(member, memberOf(redaction, [name]))
      })
      text(entries.length === 0 ? "{}" : "}")
    } else {
      text(Json.stringify(value))
    }
  }
  walk(value, redaction)
  return pieces
}

/** Reads the masks, and caches them. A page that cannot wait for them shows the stored substitutes as values. */
export const maskReader = <E>(
  policies: Effect.Effect<ReadonlyArray<Health.PolicyComparison>, E>,
  patience: Duration.DurationInput
) => remembering(Effect.map(policies, masksOf), patience)
