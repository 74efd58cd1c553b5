/**
 * What is kept and for how long, as a host writes it, and as a run uses it. Nothing here asks a database.
 */
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Actor from "../../Actor.js"
import { InvalidRequest } from "../../ThreadlineError.js"
import { formatMicros, parseMicros } from "../core/instant.js"
import { notAnObject, unknownField } from "../core/request.js"
import { format, parse as parseTableName, type TableName } from "../core/tableName.js"
import { many } from "../core/words.js"
import { shortTextRule, textRule } from "../core/text.js"
import type { JsonObject } from "../core/jsonValue.js"

/**
 * How long something is kept: a duration as Effect writes it, such as `"365 days"`, or `"forever"`. A bare number is refused, because it does
 * not say its unit.
 *
 * @since 0.1.0
 * @category models
 */
export type Keep = Duration.Duration | `${number} ${Duration.Unit}` | "forever"

/**
 * Keeps something from every purge, with the reason why. It names exactly one of `table` (alone or with a `key`), `actor` and
 * `correlationId`. What is held keeps its transaction, and that keeps its actions.
 *
 * @since 0.1.0
 * @category models
 */
export interface Hold {
  /** Why it is kept. */
  readonly reason: string
  /** All changes of a table, under every name that it had. */
  readonly table?: string | undefined
  /** With `table`: all changes of this row, also under the keys that it had before and after this one, and each TRUNCATE of the table. */
  readonly key?: string | ReadonlyArray<string> | { readonly [column: string]: string } | undefined
  /** Everything that an actor did, or did in the name of another one; every actor of the type if there is no `id`. */
  readonly actor?: { readonly type: string; readonly id?: string | undefined } | undefined
  /** Everything of a correlation. */
  readonly correlationId?: string | undefined
}

/**
 * What is kept and for how long. Whatever has no duration is kept forever.
 *
 * @since 0.1.0
 * @category models
 */
export interface Policy {
  /** Everything that has no duration of its own. */
  readonly keep?: Keep | undefined
  /** Changes by table, written as in SQL. */
  readonly tables?: { readonly [table: string]: Keep } | undefined
  /** Actions by name. */
  readonly actions?: { readonly [name: string]: Keep } | undefined
  /** No duration may be shorter; `"1 day"` unless given. */
  readonly floor?: Duration.Duration | `${number} ${Duration.Unit}` | undefined
  /** What no purge removes. */
  readonly holds?: ReadonlyArray<Hold> | undefined
}

/** Milliseconds, or undefined for ever. */
type Millis = number | undefined

export interface CheckedHold {
  readonly reason: string
  readonly target:
    | { readonly kind: "table"; readonly table: TableName }
    | { readonly kind: "row"; readonly table: TableName; readonly key: NonNullable<Hold["key"]> }
    | { readonly kind: "actor"; readonly type: string; readonly id: string | undefined }
    | { readonly kind: "correlation"; readonly id: string }
}

/** A policy that was checked. */
export interface CheckedPolicy {
  readonly keep: Millis
  readonly tables: ReadonlyArray<{ readonly table: TableName; readonly keep: Millis }>
  readonly actions: ReadonlyArray<{ readonly name: string; readonly keep: Millis }>
  readonly floor: number
  readonly holds: ReadonlyArray<CheckedHold>
  /** The same in one form, for the record of runs. */
  readonly document: JsonObject
}

const day = 86_400_000

/** A thousand years: a cutoff stays an instant that PostgreSQL and this library can write. */
const longest = 365_250 * day

const durationRule = 'must be a duration with its unit, such as "365 days"'

type Checked<A> = Either.Either<A, InvalidRequest>

const invalid = (field: string, rule: string): Checked<never> => Either.left(new InvalidRequest({ field, rule }))

const durationOf = (field: string, input: unknown, alternative = ""): Checked<number> => {
  const duration =
    typeof input === "string" || Duration.isDuration(input) ? Duration.decodeUnknown(input) : Option.none()
  const millis = Option.match(duration, { onNone: () => Number.NaN, onSome: Duration.toMillis })
  if (Number.isNaN(millis)) {
    return invalid(field, `${durationRule}${alternative}`)
  }
  return millis > 0 && millis <= longest ? Either.right(millis) : invalid(field, "must be from a moment to 1000 years")
}

const keepOf = (field: string, input: unknown, floor: number): Checked<Millis> => {
  if (input === undefined || input === "forever") {
    return Either.right(undefined)
  }
  return Either.flatMap(durationOf(field, input, ', or "forever"'), (millis) =>
    millis < floor
      ? invalid(field, `must not be shorter than the floor, ${durationText(floor)}`)
      : Either.right(Math.round(millis))
  )
}

const units = [
  [day, "day"],
  [3_600_000, "hour"],
  [60_000, "minute"],
  [1000, "second"],
  [1, "milli"]
] as const

/** A duration, as a policy writes it. */
const durationText = (millis: Millis): string => {
  if (millis === undefined) {
    return "forever"
  }
  const [size, unit] = units.find(([size]) => millis % size === 0) ?? [1, "milli"]
  const count = millis / size
  return many(count, unit)
}

const fieldOf = (parent: string, name: string): string =>
  /^\w+$/.test(name) ? `${parent}.${name}` : `${parent}[${JSON.stringify(name)}]`

const entriesOf = (field: string, input: unknown): Checked<ReadonlyArray<readonly [string, unknown]>> => {
  if (input === undefined) {
    return Either.right([])
  }
  const refused = notAnObject(input, field)
  return refused === undefined ? Either.right(Object.entries(input as object)) : Either.left(refused)
}

const tableOf = (field: string, input: unknown): Checked<TableName> =>
  typeof input === "string"
    ? Either.mapLeft(parseTableName(input), ({ rule }) => new InvalidRequest({ field, rule }))
    : invalid(field, "must be the name of a table")

const isKey = (key: unknown): key is NonNullable<Hold["key"]> => {
  const parts: ReadonlyArray<unknown> =
    typeof key === "object" && key !== null ? (Array.isArray(key) ? key : Object.values(key)) : [key]
  return parts.length > 0 && parts.every((part) => textRule(part) === undefined)
}

const holdOf = (field: string, input: unknown): Checked<CheckedHold> =>
  Either.gen(function* () {
    const refused =
      notAnObject(input, field) ??
      unknownField(
        input as object,
        { reason: true, table: true, key: true, actor: true, correlationId: true },
        (name) => `${field}.${name}`
      )
    if (refused !== undefined) {
      return yield* Either.left(refused)
    }
    const { actor, correlationId, key, reason, table } = input as Hold
    if (textRule(reason) !== undefined || reason.trim() === "") {
      return yield* invalid(`${field}.reason`, "must say why, in a string that is not empty")
    }
    if ([table, actor, correlationId].filter((named) => named !== undefined).length !== 1) {
      return yield* invalid(field, "must name exactly one of table, actor and correlationId")
    }
    if (key !== undefined && table === undefined) {
      return yield* invalid(`${field}.key`, "needs the table of the row")
    }
    if (table !== undefined) {
      const name = yield* tableOf(`${field}.table`, table)
      if (key === undefined) {
        return { reason, target: { kind: "table", table: name } as const }
      }
      return isKey(key)
        ? { reason, target: { kind: "row", table: name, key } as const }
        : yield* invalid(`${field}.key`, "must be a string, or several as an array or an object")
    }
    if (actor !== undefined) {
      const rule =
        notAnObject(actor, `${field}.actor`) ??
        unknownField(actor, { type: true, id: true }, (name) => `${field}.actor.${name}`)
      if (rule !== undefined) {
        return yield* Either.left(rule)
      }
      if (!Actor.types.some((type) => type === actor.type)) {
        return yield* invalid(`${field}.actor.type`, `must be one of ${Actor.types.join(", ")}`)
      }
      const idRule = actor.id === undefined ? undefined : shortTextRule(actor.id)
      return idRule === undefined
        ? { reason, target: { kind: "actor", type: actor.type, id: actor.id } as const }
        : yield* invalid(`${field}.actor.id`, idRule)
    }
    const idRule = shortTextRule(correlationId)
    return correlationId !== undefined && idRule === undefined
      ? { reason, target: { kind: "correlation", id: correlationId } as const }
      : yield* invalid(`${field}.correlationId`, idRule ?? "must be a string")
  })

const holdDocument = ({ reason, target }: CheckedHold): JsonObject => {
  switch (target.kind) {
    case "table":
      return { table: format(target.table), reason }
    case "row":
      return { table: format(target.table), key: target.key, reason }
    case "actor":
      return { actor: { type: target.type, ...(target.id === undefined ? {} : { id: target.id }) }, reason }
    case "correlation":
      return { correlationId: target.id, reason }
  }
}

/** Checks a policy, which may come from a file that was not type-checked. A left names the first field that is wrong. */
export const check = (input: unknown): Checked<CheckedPolicy> =>
  Either.gen(function* () {
    const refused =
      notAnObject(input, "policy") ??
      unknownField(input as object, { keep: true, tables: true, actions: true, floor: true, holds: true })
    if (refused !== undefined) {
      return yield* Either.left(refused)
    }
    const policy = input as { readonly [Field in keyof Policy]: unknown }
    const floor = policy.floor === undefined ? day : yield* durationOf("floor", policy.floor)
    const keep = yield* keepOf("keep", policy.keep, floor)
    const tables: Array<{ readonly table: TableName; readonly keep: Millis }> = []
    for (const [name, value] of yield* entriesOf("tables", policy.tables)) {
      const field = fieldOf("tables", name)
      const table = yield* tableOf(field, name)
      if (tables.some((other) => format(other.table) === format(table))) {
        return yield* invalid(field, `names ${format(table)} a second time`)
      }
      if (value === undefined) {
        return yield* invalid(field, `${durationRule}, or "forever"`)
      }
      tables.push({ table, keep: yield* keepOf(field, value, floor) })
    }
    const actions: Array<{ readonly name: string; readonly keep: Millis }> = []
    for (const [name, value] of yield* entriesOf("actions", policy.actions)) {
      const field = fieldOf("actions", name)
      const rule = shortTextRule(name)
      if (rule !== undefined || value === undefined) {
        return yield* invalid(field, rule ?? `${durationRule}, or "forever"`)
      }
      actions.push({ name, keep: yield* keepOf(field, value, floor) })
    }
    if (policy.holds !== undefined && !Array.isArray(policy.holds)) {
      return yield* invalid("holds", "must be a list")
    }
    const holds: Array<CheckedHold> = []
    for (const [index, hold] of ((policy.holds ?? []) as ReadonlyArray<unknown>).entries()) {
      holds.push(yield* holdOf(`holds[${index}]`, hold))
    }
    if ([keep, ...tables.map((entry) => entry.keep), ...actions.map((entry) => entry.keep)].every(isForever)) {
      return yield* invalid(
        "keep",
        `keeps everything forever, so there is nothing to purge: give a duration here, to a table or to an action`
      )
    }
    const document: JsonObject = {
      keep: durationText(keep),
      tables: Object.fromEntries(tables.map((entry) => [format(entry.table), durationText(entry.keep)])),
      actions: Object.fromEntries(actions.map((entry) => [entry.name, durationText(entry.keep)])),
      floor: durationText(floor),
      holds: holds.map(holdDocument)
    }
    return { keep, tables, actions, floor, holds, document }
  })

/** Checks a policy, and gives it back as it was written. */
export const decode = (input: unknown): Checked<Policy> => Either.map(check(input), () => input as Policy)

const isForever = (millis: Millis): boolean => millis === undefined

/** The instant before which something goes that is kept for so long. Null if it never goes. */
const cutoffOf = (at: string, keep: Millis, before: string | undefined): string | null => {
  if (keep === undefined) {
    return null
  }
  const cutoff = formatMicros((parseMicros(at) ?? 0n) - BigInt(keep) * 1000n)
  return before !== undefined && before < cutoff ? before : cutoff
}

/** The cutoffs of a policy at an instant. Null where nothing goes. */
export interface Cutoffs {
  readonly others: string | null
  readonly tables: ReadonlyArray<{ readonly table: TableName; readonly cutoff: string | null }>
  readonly otherActions: string | null
  readonly actions: ReadonlyArray<{ readonly name: string; readonly cutoff: string | null }>
  /** The latest cutoff of changes; null if no change goes. */
  readonly latest: string | null
}

/** The latest of some cutoffs; null if nothing goes by any of them. */
export const latestOf = (cutoffs: ReadonlyArray<string | null>): string | null =>
  cutoffs.reduce((latest, cutoff) => (cutoff !== null && (latest === null || cutoff > latest) ? cutoff : latest), null)

export const cutoffsOf = (policy: CheckedPolicy, at: string, before: string | undefined): Cutoffs => {
  const others = cutoffOf(at, policy.keep, before)
  const tables = policy.tables.map(({ keep, table }) => ({ table, cutoff: cutoffOf(at, keep, before) }))
  return {
    others,
    tables,
    otherActions: others,
    actions: policy.actions.map(({ keep, name }) => ({ name, cutoff: cutoffOf(at, keep, before) })),
    latest: latestOf([others, ...tables.map(({ cutoff }) => cutoff)])
  }
}
