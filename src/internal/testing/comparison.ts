/**
 * What was audited, line by line beside what is expected.
 */
import * as Effect from "effect/Effect"
import { isDeepStrictEqual } from "node:util"
import * as Actor from "../../Actor.js"
import { InvalidRequest } from "../../ThreadlineError.js"
import * as Json from "../core/json.js"
import type { JsonArray, JsonValue } from "../core/jsonValue.js"
import * as tableNames from "../core/tableName.js"
import { many, shortTable } from "../core/words.js"
import type { Action } from "../record/action.js"
import type { AuditTransaction, Change, Operation } from "../record/change.js"
import { fieldDiffs } from "../rows/diff.js"

/**
 * A change: its operation, its table as in SQL, and fields. Of an update a field is `[before, after]`, of an insert its value after, of
 * a delete its value before. Fields that are not named may have any value.
 *
 * @since 0.1.0
 * @category models
 */
export type ExpectedChange =
  | readonly [op: Operation, table: string]
  | readonly [op: Operation, table: string, fields: { readonly [field: string]: JsonValue }]

/**
 * One audited transaction with its first action, or one action without changes: one that captured nothing, or another one of the
 * transaction before it. Only what is given is compared; `changes` are all of its changes, in their order.
 *
 * @since 0.1.0
 * @category models
 */
export interface Expected {
  /** The name of its first action; null for none. */
  readonly action?: string | null | undefined
  /** The status of that action. */
  readonly status?: "ok" | "error" | undefined
  /** Who acted; null for nobody. An actor without a label has any label. */
  readonly actor?: Actor.Given | null | undefined
  /** Its correlation id; null for none. */
  readonly correlationId?: string | null | undefined
  /** Its request id; null for none. */
  readonly requestId?: string | null | undefined
  /** All of its changes, in their order. */
  readonly changes?: ReadonlyArray<ExpectedChange> | undefined
}

/** What was audited together. */
interface Group {
  readonly action: Action | undefined
  readonly transaction: AuditTransaction | undefined
  readonly changes: ReadonlyArray<Change>
}

/** Whether two values are equal in jsonb, for which 10.5 is 10.50. */
const isSame = (left: JsonValue | undefined, right: JsonValue | undefined): boolean =>
  left === undefined || right === undefined
    ? left === right
    : Json.same(Json.normal(left) ?? left, Json.normal(right) ?? right)

const valueText = (value: JsonValue | undefined): string => (value === undefined ? "nothing" : Json.stringify(value))

const actorText = (actor: Actor.Given | null | undefined): string =>
  actor === null || actor === undefined
    ? "nobody"
    : `${actor.type}${actor.type === "anonymous" ? "" : ` ${String(actor.id)}`}${actor.label === undefined ? "" : ` (${actor.label})`}${
        actor.impersonator === undefined ? "" : ` by ${actorText(actor.impersonator)}`
      }`

/** The same actor, with a label only where one is expected. */
const asExpected = (actor: Actor.Given | null, expected: Actor.Given | null | undefined): Actor.Given | null => {
  if (actor === null || expected === null || expected === undefined) {
    return actor
  }
  const { impersonator, label, ...rest } = actor
  const shown = impersonator === undefined ? undefined : asExpected(impersonator, expected.impersonator ?? impersonator)
  return {
    ...rest,
    ...(label === undefined || expected.label === undefined ? {} : { label }),
    ...(shown === undefined || shown === null ? {} : { impersonator: shown })
  }
}

const fieldText = (field: string, ...values: ReadonlyArray<JsonValue | undefined>): string =>
  `${field}: ${values.map(valueText).join(" -> ")}`

const isListOf = (value: JsonValue): value is JsonArray => Array.isArray(value)

/** The two values of a field of an update, or the one of another change. */
const valuesOf = (op: Operation, value: JsonValue): ReadonlyArray<JsonValue> =>
  op === "update" && isListOf(value) && value.length === 2 ? value : [value]

const expectedChange = ([op, table, fields = {}]: ExpectedChange): string =>
  [
    `    ${op} ${shortTable(table)}`,
    ...Object.entries(fields).map(([field, value]) => `        ${fieldText(field, ...valuesOf(op, value))}`)
  ].join("\n")

const nameOf = ({ tableName, tableSchema }: Change): string =>
  tableNames.format({ schema: tableSchema, name: tableName })

/** A change as it would have been expected: the same fields, in the same words where they are the same. */
const auditedChange = (change: Change, expected: ExpectedChange | undefined): string => {
  const [op, table, fields] = expected ?? []
  const alike = op === change.op && table !== undefined && tableNames.same(table, nameOf(change))
  const diffs = new Map(fieldDiffs(change).map((diff) => [diff.field, diff]))
  const shown = alike ? Object.keys(fields ?? {}) : [...diffs.keys()]
  return [
    `    ${change.op} ${alike && table !== undefined ? shortTable(table) : shortTable(nameOf(change))}`,
    ...shown.map((field) => {
      const diff = diffs.get(field)
      if (diff === undefined) {
        return `        ${field}: ${change.op === "update" ? "did not change" : "is no column"}`
      }
      const audited =
        change.op === "update" ? [diff.before, diff.after] : [change.op === "delete" ? diff.before : diff.after]
      const given = alike ? fields?.[field] : undefined
      const expectedValues = given === undefined ? [] : valuesOf(change.op, given)
      const isExpected =
        expectedValues.length === audited.length &&
        expectedValues.every((value, place) => isSame(value, audited[place]))
      return `        ${fieldText(field, ...(isExpected ? expectedValues : audited))}`
    })
  ].join("\n")
}

const properties = ["action", "status", "actor", "correlationId", "requestId"] as const

const expectedNames: ReadonlySet<string> = new Set<keyof Expected>([...properties, "changes"])

const isObject = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const isChange = (change: unknown): boolean => {
  if (!Array.isArray(change)) {
    return false
  }
  const [op, table, fields = {}, ...rest] = change as ReadonlyArray<unknown>
  return typeof op === "string" && typeof table === "string" && isObject(fields) && rest.length === 0
}

const actorNames: ReadonlySet<string> = new Set(["type", "id", "label", "impersonator"])

const unknownActorField = (actor: Actor.Given, field: string): InvalidRequest | undefined => {
  const unknown = Object.keys(actor).find((name) => !actorNames.has(name))
  return unknown !== undefined
    ? new InvalidRequest({ field: `${field}.${unknown}`, rule: "is not known here" })
    : actor.impersonator === undefined
      ? undefined
      : unknownActorField(actor.impersonator, `${field}.impersonator`)
}

const invalidActor = (actor: Actor.Given | null | undefined): InvalidRequest | undefined =>
  actor === null || actor === undefined
    ? undefined
    : (Actor.invalid(actor, "expected.actor") ?? unknownActorField(actor, "expected.actor"))

/** A part whose name is misspelt would be compared with nothing, and the test would pass. */
export const mustBeKnown = (expected: ReadonlyArray<Expected>): Effect.Effect<void, InvalidRequest> =>
  Effect.forEach(
    expected,
    (one) => {
      if (!isObject(one)) {
        return new InvalidRequest({ field: "expected", rule: "must be an object" })
      }
      const unknown = Object.keys(one).find((name) => !expectedNames.has(name))
      if (unknown !== undefined) {
        return new InvalidRequest({ field: `expected.${unknown}`, rule: "is not known here" })
      }
      const actor = invalidActor(one.actor)
      if (actor !== undefined) {
        return actor
      }
      const changes: unknown = one.changes
      return changes === undefined || (Array.isArray(changes) && changes.every(isChange))
        ? Effect.void
        : new InvalidRequest({
            field: "expected.changes",
            rule: "must be a list of [op, table] or [op, table, fields]"
          })
    },
    { discard: true }
  )

const expectedLines = (expected: Expected): ReadonlyArray<string> => [
  "audited",
  ...properties.flatMap((property) =>
    expected[property] === undefined
      ? []
      : [`  ${property}: ${property === "actor" ? actorText(expected.actor) : valueText(expected[property])}`]
  ),
  ...(expected.changes ?? []).flatMap((change) => expectedChange(change).split("\n"))
]

const auditedLines = (
  { action, changes, transaction }: Group,
  expected: Expected | undefined
): ReadonlyArray<string> => {
  const actor = transaction?.actor ?? action?.actor ?? null
  const auditedParts = {
    action: action?.name ?? null,
    status: action?.status,
    correlationId: action?.correlationId ?? transaction?.correlationId ?? null,
    requestId: action?.requestId ?? transaction?.requestId ?? null
  }
  return [
    "audited",
    ...properties.flatMap((property) => {
      if (expected === undefined ? property !== "action" && property !== "actor" : expected[property] === undefined) {
        return []
      }
      return [
        `  ${property}: ${property === "actor" ? actorText(asExpected(actor, expected?.actor)) : valueText(auditedParts[property])}`
      ]
    }),
    ...(expected === undefined || expected.changes !== undefined
      ? changes.flatMap((change, place) => auditedChange(change, expected?.changes?.[place]).split("\n"))
      : [])
  ]
}

/** Lines of both, the common ones once: the shortest way from one to the other. */
const difference = (expected: ReadonlyArray<string>, audited: ReadonlyArray<string>): ReadonlyArray<string> => {
  const common = Array.from({ length: expected.length + 1 }, () => new Array<number>(audited.length + 1).fill(0))
  const length = (left: number, right: number): number => common[left]?.[right] ?? 0
  for (let left = expected.length - 1; left >= 0; left--) {
    for (let right = audited.length - 1; right >= 0; right--) {
      const row = common[left]
      if (row !== undefined) {
        row[right] =
          expected[left] === audited[right]
            ? length(left + 1, right + 1) + 1
            : Math.max(length(left + 1, right), length(left, right + 1))
      }
    }
  }
  const lines: Array<string> = []
  let [left, right] = [0, 0]
  while (left < expected.length || right < audited.length) {
    if (left < expected.length && expected[left] === audited[right]) {
      lines.push(`  ${expected[left++]}`)
      right++
    } else if (
      right >= audited.length ||
      (left < expected.length && length(left + 1, right) >= length(left, right + 1))
    ) {
      lines.push(`- ${expected[left++]}`)
    } else {
      lines.push(`+ ${audited[right++]}`)
    }
  }
  return lines
}

/** What was audited since a mark. */
export interface Audited {
  readonly changes: ReadonlyArray<Change>
  readonly actions: ReadonlyArray<Action>
}

const ofTransaction = <A extends { readonly transactionId: string | null }>(
  entries: ReadonlyArray<A>
): ReadonlyMap<string | null, ReadonlyArray<A>> => {
  const byId = new Map<string | null, Array<A>>()
  for (const entry of entries) {
    const entriesSoFar = byId.get(entry.transactionId)
    if (entriesSoFar === undefined) {
      byId.set(entry.transactionId, [entry])
    } else {
      entriesSoFar.push(entry)
    }
  }
  return byId
}

const alone = (action: Action): Group => ({ transaction: undefined, action, changes: [] })

/**
 * Each transaction with its first action and its changes, followed by its other actions, and each action without changes, in the order of
 * time.
 */
const groupsOf = ({ actions, changes }: Audited): ReadonlyArray<Group> => {
  const changesOf = ofTransaction(changes)
  const actionsOf = ofTransaction(actions)
  return [
    ...[...changesOf].flatMap(([id, own]) => {
      const [action, ...further] = actionsOf.get(id) ?? []
      return own.slice(0, 1).map(({ capturedAt, transaction }) => ({
        at: capturedAt,
        groups: [{ transaction, action, changes: own }, ...further.map(alone)]
      }))
    }),
    ...actions
      .filter(({ transactionId }) => !changesOf.has(transactionId))
      .map((action) => ({ at: action.occurredAt, groups: [alone(action)] }))
  ]
    .sort((one, other) => (one.at < other.at ? -1 : one.at === other.at ? 0 : 1))
    .flatMap(({ groups }) => groups)
}

/** What differs, line by line; undefined if everything is as expected. */
export const differenceOf = (expected: ReadonlyArray<Expected>, audited: Audited): string | undefined => {
  const wanted = expected.flatMap(expectedLines)
  const lines = groupsOf(audited).flatMap((group, place) => auditedLines(group, expected[place]))
  return isDeepStrictEqual(wanted, lines)
    ? undefined
    : ["what was audited differs (- expected, + audited):", ...difference(wanted, lines)].join("\n")
}

/** Changes without an actor, the first of them line by line. */
export const unattributedText = (unattributed: ReadonlyArray<Change>): string =>
  [
    `${many(unattributed.length, "change has", "changes have")} no actor:`,
    ...unattributed
      .slice(0, 20)
      .map(
        (change) =>
          `  ${change.op} ${shortTable(nameOf(change))} ${change.rowKey ?? ""} by the database user ${change.transaction.dbUser}${
            change.transaction.contextError === null ? "" : `; ${change.transaction.contextError}`
          }`
      ),
    ...(unattributed.length > 20 ? [`  and ${unattributed.length - 20} more`] : [])
  ].join("\n")
