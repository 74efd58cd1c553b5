/**
 * The events of one key and the rules that follow from them: what each change leaves at the key.
 *
 * One statement may move a row away from a key and another row to it (a swap, `set id = id + 1`). The order of change ids is then
 * right for each row, but not for each key: at some keys the arrival stands before the departure. If constraints are deferred,
 * several statements may do this one after another.
 */
import * as BigDecimal from "effect/BigDecimal"
import { same } from "../core/json.js"
import type { JsonObject, JsonValue } from "../core/jsonValue.js"
import type { Change, RowImage } from "../record/change.js"

/** Whether the row after a change, and the row before it, fulfil the conditions. Without conditions both always do. */
interface Selection {
  /** The reader may see it. */
  readonly visible: boolean
  readonly visibleBefore: boolean
  /** It fulfils the caller's condition. */
  readonly matches: boolean
  readonly matchesBefore: boolean
}

/** The fields of a change that the life of a row needs. */
export type RowChange = Pick<
  Change,
  | "id"
  | "transactionId"
  | "capturedAt"
  | "tableSchema"
  | "tableName"
  | "op"
  | "rowPk"
  | "rowKey"
  | "previousRowKey"
  | "changedFields"
  | "changedFrom"
  | "dataAfter"
>

/** A change of the row, and the first TRUNCATE of its table that came between it and the next one. */
export interface Event<out C extends RowChange = RowChange> extends Selection {
  readonly change: C
  /** The key of the row under consideration. */
  readonly key: string
  readonly truncate: { readonly change: C; readonly visible: boolean } | undefined
}

/** What is at the key after a change. */
export type State =
  | { readonly _tag: "Alive"; readonly row: RowImage; readonly event: Event }
  | { readonly _tag: "Gone"; readonly event: Event }

/** Whether a change takes a row away from the key. */
export const departs = (change: RowChange, key: string): boolean =>
  change.op === "delete" || change.op === "truncate" || (change.previousRowKey === key && change.rowKey !== key)

/** Whether a change brings a row to the key. */
export const arrives = (change: RowChange, key: string): boolean =>
  change.rowKey === key && (change.op === "insert" || (change.previousRowKey !== null && change.previousRowKey !== key))

/** The row before an update, before a delete, or before a truncate that recorded it. */
export const imageBefore = (change: RowChange): RowImage | undefined => {
  if (change.op === "delete" || change.op === "truncate") {
    return change.changedFrom ?? undefined
  }
  if (change.op !== "update" || change.dataAfter === null) {
    return undefined
  }
  const before = new Map(Object.entries(change.dataAfter))
  for (const field of change.changedFields ?? []) {
    before.delete(field)
  }
  for (const [field, value] of Object.entries(change.changedFrom ?? {})) {
    before.set(field, value)
  }
  return Object.fromEntries(before)
}

/** Whether two images agree in the fields that both have. A column may have been added or dropped between them. */
const agree = (a: JsonObject, b: JsonObject): boolean =>
  Object.entries(a).every(([field, value]) => {
    const otherValue = Object.hasOwn(b, field) ? b[field] : undefined
    return otherValue === undefined || same(value, otherValue)
  })

/** A row at the key, and the change that left it there. */
interface Occupant {
  readonly row: RowImage
  readonly event: Event
}

const isOfTransaction = ({ event }: Occupant, change: RowChange): boolean =>
  event.change.transactionId === change.transactionId

/** The rows at the key, without the one that the change found. Undefined if there is no such row. */
const withoutFound = (
  present: ReadonlyArray<Occupant>,
  { change, key }: Event
): ReadonlyArray<Occupant> | undefined => {
  const image = imageBefore(change)
  // If one statement brings a row to the key and takes one away, these are two rows, because it touches each row once.
  const passes = (occupant: Occupant) =>
    departs(change, key) && isOfTransaction(occupant, change) && occupant.event.change.capturedAt === change.capturedAt
  const occupantFound = present.find(
    (occupant) => image !== undefined && !passes(occupant) && agree(occupant.row, image)
  )
  return occupantFound === undefined ? undefined : present.filter((occupant) => occupant !== occupantFound)
}

/**
 * How many rows a key may have when a part of a transaction ends: one, or several if the constraint is deferred. In that case one
 * audited part, context or session may leave two rows, and another one puts that right. Only their images tell the rows apart.
 */
export type Sharing = "one" | "several"

const isNumber = (value: unknown): boolean =>
  typeof value === "number" || typeof value === "bigint" || BigDecimal.isBigDecimal(value)

/** Whether two values may be of one type. If so, they differ because the rows differ, and not because the type of the column changed. */
const areAlike = (a: JsonValue | undefined, b: JsonValue | undefined): boolean =>
  a === null || b === null || (isNumber(a) ? isNumber(b) : typeof a === typeof b && !isNumber(b))

/**
 * Whether a change found a row that is not one of those at the key: a row with the same fields and types that differs from each
 * of them.
 */
const isOfAnother = (present: ReadonlyArray<Occupant>, { change }: Event): boolean => {
  const image = imageBefore(change)
  return (
    image !== undefined &&
    present.every(
      ({ row }) =>
        Object.keys(row).length === Object.keys(image).length &&
        Object.entries(image).every(([field, value]) => Object.hasOwn(row, field) && areAlike(row[field], value))
    )
  )
}

/** The rows at the key after an event. If a change is of a row that is not among them, that row has another form by now. */
const next = (present: ReadonlyArray<Occupant>, event: Event, sharing: Sharing): ReadonlyArray<Occupant> => {
  const { change, key } = event
  const isStrange = () => sharing === "several" && isOfAnother(present, event)
  if (departs(change, key)) {
    // A row that this transaction brought still has the form in which it came.
    const stale = present.find(
      (occupant) => !isOfTransaction(occupant, change) || !arrives(occupant.event.change, occupant.event.key)
    )
    return withoutFound(present, event) ?? (isStrange() ? present : present.filter((occupant) => occupant !== stale))
  }
  const otherOccupants =
    change.op === "baseline"
      ? []
      : arrives(change, key)
        ? present
        : (withoutFound(present, event) ?? (isStrange() ? present : present.slice(0, -1)))
  return [...otherOccupants, { row: change.dataAfter ?? {}, event }]
}

/**
 * What is at the key after each of the events. Inside a statement, and inside a transaction with deferred constraints, several
 * rows may be at one key. At the end there is one. The first states may be wrong if there were events before them.
 */
export const states = (life: ReadonlyArray<Event>, sharing: Sharing = "one"): ReadonlyArray<State> => {
  let present: ReadonlyArray<Occupant> = []
  return life.map((event, index): State => {
    const before = life[index - 1]
    if (before?.truncate !== undefined) {
      present = []
    } else if (
      sharing === "one" &&
      before !== undefined &&
      before.change.transactionId !== event.change.transactionId
    ) {
      present = present.slice(-1)
    }
    present = next(present, event, sharing)
    const last = present.at(-1)
    return last === undefined ? { _tag: "Gone", event } : { _tag: "Alive", ...last }
  })
}

/**
 * What was at the key before the first of the events, and the event that tells it. That is the first event in its transaction
 * that found a row which none of the events had brought. Undefined if no event tells.
 */
export const stateBefore = (
  life: ReadonlyArray<Event>,
  sharing: Sharing = "one"
):
  | { readonly _tag: "Alive"; readonly row: RowImage; readonly event: Event }
  | { readonly _tag: "NotYet"; readonly event: Event }
  | undefined => {
  const [first] = life
  if (first === undefined || first.change.op === "baseline") {
    return undefined
  }
  let present: ReadonlyArray<Occupant> = []
  for (const event of life) {
    const { change, key } = event
    const isOfFirst = change.transactionId === first.change.transactionId
    if (!isOfFirst && (sharing === "one" || present.length === 0)) {
      break
    }
    const isKnown = arrives(change, key) || withoutFound(present, event) !== undefined
    const isOther = () => sharing === "several" && isOfAnother(present, event)
    if (!isKnown && (present.length === 0 || (isOfFirst && departs(change, key)) || isOther())) {
      const row = imageBefore(change)
      return row === undefined ? undefined : { _tag: "Alive", row, event }
    }
    present = next(present, event, sharing)
    if (event.truncate !== undefined) {
      break
    }
  }
  return { _tag: "NotYet", event: first }
}

/** The life of a row in its order: its changes, and each TRUNCATE of the table that ended it. */
export const lifeOf = (life: ReadonlyArray<Event<Change>>): ReadonlyArray<Change> => {
  const statesAfter = (["one", "several"] as const).map((sharing) => states(life, sharing))
  return life.flatMap(({ change, truncate }, index) =>
    truncate !== undefined && statesAfter.some((after) => after[index]?._tag === "Alive")
      ? [change, truncate.change]
      : [change]
  )
}
