/** Changes, transactions and actors as people read them. */
import type { Actor } from "../src/Actor.js"
import * as TableName from "../src/TableName.js"
import * as Json from "../src/Json.js"
import type * as Query from "../src/Query.js"
import { type ColumnsOf, inOrder } from "./columns.js"
import { bold, dim, visible } from "./output.js"
import { type Column, clip, clipPair, layout, paragraph, textWidth } from "./table.js"

/** To the second, in UTC; the JSON has the whole instant. */
export const when = (instant: string): string => instant.slice(0, 19).replace("T", " ")

export const who = (actor: Actor | null): string => {
  if (actor === null) {
    return "unattributed"
  }
  const name = actor.type === "anonymous" ? actor.type : `${actor.type} ${actor.id}`
  const label = actor.label === undefined ? "" : ` (${actor.label})`
  return actor.impersonator === undefined ? `${name}${label}` : `${name}${label} by ${who(actor.impersonator)}`
}

/** The actor as options take one, or the database user if no actor is known. */
export const actorOrUser = ({ actor, dbUser }: { readonly actor: Actor | null; readonly dbUser: string }): string =>
  actor === null ? dbUser : actor.type === "anonymous" ? actor.type : `${actor.type}:${actor.id}`

/**
 * The actor for a column, which is cut if it is too long. If someone acted for someone else, labels are left out, so that both
 * are visible.
 */
export const whoShort = (actor: Actor | null): string => {
  if (actor?.impersonator === undefined) {
    return who(actor)
  }
  const { label: _, ...unlabelled } = actor
  const { label: __, ...impersonator } = actor.impersonator
  return who({ ...unlabelled, impersonator })
}

/** The column of actors. It is never cut if someone acted for someone else. */
export const whoColumn = (actors: ReadonlyArray<Actor | null>): Column => ({
  header: "who",
  rigid: actors.some((actor) => actor?.impersonator !== undefined)
})

const tableOf = ({ tableName, tableSchema }: Query.Change): string => {
  const name = TableName.format({ schema: tableSchema, name: tableName })
  return name.startsWith("public.") ? name.slice("public.".length) : name
}

/** The key of the row, and the key that it had before. */
const keyOf = ({ previousRowKey, rowKey }: Query.Change): string =>
  previousRowKey === null ? (rowKey ?? "") : `${previousRowKey} -> ${rowKey ?? ""}`

/** The action. If there is none, the columns that were set. */
const what = (change: Query.Change, columns: ReadonlyArray<string>): string =>
  change.action?.name ??
  (change.changedFields === null ? "" : `set ${inOrder(change.changedFields, columns).join(", ")}`)

/**
 * The most code units of a value that can matter for a line of this width. The rest is cut off before the value is made visible
 * and measured.
 */
const unitsFor = (width: number): number => 8 * width + 1024

const folded = (text: string, width: number, start = 0): string =>
  text.length - start <= unitsFor(width)
    ? start === 0
      ? text
      : text.slice(start)
    : `${text.slice(start, start + unitsFor(width))}…`

/** Where to begin two long texts, so that their first difference is shown, with about a line of text before it. */
const startOf = (before: string, after: string, width: number): number => {
  const least = Math.min(before.length, after.length)
  let first = 0
  while (first < least && before.charCodeAt(first) === after.charCodeAt(first)) {
    first++
  }
  return first <= unitsFor(width) / 2 ? 0 : Math.ceil(first - unitsFor(width) / 2)
}

const valueText = (value: Json.JsonValue | undefined, width: number): string =>
  value === undefined
    ? ""
    : visible(typeof value === "string" ? Json.stringify(folded(value, width)) : folded(Json.stringify(value), width))

/** Both as texts. Long texts are folded first, because making a text visible takes many times its memory. */
const valueTexts = (
  before: Json.JsonValue | undefined,
  after: Json.JsonValue | undefined,
  width: number
): readonly [before: string, after: string] => {
  if (before === undefined || after === undefined) {
    return [valueText(before, width), valueText(after, width)]
  }
  if (typeof before === "string" && typeof after === "string") {
    const start = startOf(before, after, width)
    return [visible(Json.stringify(folded(before, width, start))), visible(Json.stringify(folded(after, width, start)))]
  }
  const [old, changed] = [Json.stringify(before), Json.stringify(after)]
  const start = startOf(old, changed, width)
  return [visible(folded(old, width, start)), visible(folded(changed, width, start))]
}

/** Field by field, one line if it fits. */
export function* fieldLines(fields: ReadonlyArray<Query.FieldDiff>, width: number): Generator<string, void> {
  for (const { after, before, field } of fields) {
    const name = visible(field)
    const isReplaced = before !== undefined && after !== undefined
    const [old, changed] = valueTexts(before, after, width)
    const onlyValue = before === undefined ? changed : old
    const inline = `  ${name}: ${isReplaced ? `${old} -> ${changed}` : onlyValue}`
    if (width === Infinity || textWidth(inline) <= width) {
      yield inline
      continue
    }
    const sides = isReplaced
      ? clipPair(old, changed, width - 6).map((side, index) => `${index === 0 ? "-" : "+"} ${side}`)
      : [clip(onlyValue, width - 4)]
    yield* [clip(`  ${name}:`, width), ...sides.map((side) => `    ${side}`)]
  }
}

/** One change with its diff. A change that stands `alone`, without its transaction above it, says who, why and in which transaction. */
export function* changeLines(
  change: Query.Change,
  fields: ReadonlyArray<Query.FieldDiff>,
  width: number,
  place: "alone" | "in its transaction"
): Generator<string, void> {
  const row = [tableOf(change), keyOf(change)].filter((part) => part !== "").join(" ")
  const details = change.details === null ? [] : [clip(`  ${valueText(change.details, width)}`, width)]
  yield* [
    `${bold(visible(`${when(change.capturedAt)}  ${change.op} ${row}`))}`,
    ...(place === "alone"
      ? paragraph(
          [
            who(change.transaction.actor),
            ...(change.action === null ? [] : [change.action.name]),
            `transaction ${change.transactionId}`
          ].join(", "),
          width - 2
        ).map((line) => dim(`  ${line}`))
      : [])
  ]
  yield* fieldLines(fields, width)
  yield* details
}

/** Names and values, one below the other. Names without a value are left out. */
export const properties = (
  list: ReadonlyArray<readonly [name: string, value: string | null]>,
  width: number
): ReadonlyArray<string> => {
  const filledProperties = list.flatMap(([name, value]) => (value === null || value === "" ? [] : [{ name, value }]))
  const column = Math.max(...filledProperties.map(({ name }) => name.length))
  return filledProperties.flatMap(({ name, value }) =>
    name === "who"
      ? paragraph(value, width - column - 2).map(
          (line, index) => `${(index === 0 ? name : "").padEnd(column)}  ${line}`
        )
      : [clip(`${name.padEnd(column)}  ${visible(folded(value, width))}`, width)]
  )
}

/** Changes as a table. `last` is the column that tells listed changes apart. */
export const changeTable = (
  changes: ReadonlyArray<Query.Change>,
  last: { readonly header: string; readonly of: (change: Query.Change) => string },
  columnsOf: ColumnsOf,
  width: number
): string => {
  const columns: ReadonlyArray<Column> = [
    { header: "captured (UTC)", rigid: true },
    { header: "op", rigid: true },
    { header: "row" },
    whoColumn(changes.map(({ transaction }) => transaction.actor)),
    { header: "what" },
    { header: last.header, rigid: true }
  ]
  const cells = changes.map((change) => [
    when(change.capturedAt),
    change.op,
    `${tableOf(change)} ${keyOf(change)}`.trim(),
    whoShort(change.transaction.actor),
    what(change, columnsOf(change)),
    last.of(change)
  ])
  return layout(columns, cells, width)
}
