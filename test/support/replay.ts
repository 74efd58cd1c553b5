/** Compares the record with the tables it is about: the chain of images, the answers at the end, the feed. */
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Feed from "../../src/Feed.js"
import { stringify } from "../../src/internal/core/json.js"
import * as Query from "../../src/Query.js"
import { type Change, changes, type Readers, type Session } from "./adversarial.js"
import { drain } from "./feed.js"
import { clientOf } from "../harness/client.js"

/** Reads and the feed of a database; the clients go with the scope. */
export const readers = (url: string): Effect.Effect<Readers, unknown, Scope.Scope> =>
  Effect.map(Layer.build(Layer.mergeAll(Query.layer, Feed.layer).pipe(Layer.provide(clientOf(url, 3)))), (context) =>
    Effect.runSync(Effect.provide(Effect.all({ query: Query.Query, feed: Feed.Feed }), context))
  )

/** A row as canonical text: columns in the order of their names. */
const canonical = (image: string | null): string => {
  const row: unknown = JSON.parse(image ?? "null")
  return typeof row === "object" && row !== null
    ? JSON.stringify(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1)))
    : JSON.stringify(row)
}

const canonicalOrNull = (image: string | null): string | null => (image === null ? null : canonical(image))

interface Told {
  readonly id: string
  readonly op: string
  readonly key: string
  readonly startKey: string
  readonly before: string | null
  readonly after: string | null
}

/** Rows by key; several share one while constraints are deferred. */
export type Rows = ReadonlyMap<string, ReadonlyArray<string>>

/** What is wrong with the changes of rows, key by key, and which rows they leave at the end. */
const replay = (
  source: string,
  start: Rows,
  story: ReadonlyArray<Told>
): { readonly wrong: ReadonlyArray<string>; readonly end: Rows } => {
  const rows = new Map(start)
  const wrong: Array<string> = []
  for (const { after, before, id, key, op, startKey } of story) {
    if (op !== "insert") {
      const there = rows.get(startKey) ?? []
      const place = there.indexOf(String(before))
      if (place === -1) {
        wrong.push(`${source}: ${op} ${id} of ${startKey} starts from ${before}, there is ${there.join(" and ")}`)
      }
      rows.set(
        startKey,
        there.filter((_, at) => at !== place)
      )
    }
    if (op !== "delete") {
      rows.set(key, [...(rows.get(key) ?? []), String(after)])
    }
  }
  return { wrong, end: rows }
}

/** A TRUNCATE whose rows are kept has a change for each of them. */
const opOf = (op: string): string => (op === "truncate" ? "delete" : op)

const toldBy = (change: Change): Told => ({
  id: change.id,
  op: opOf(change.op),
  key: String(change.key),
  startKey: String(change.previous ?? change.key),
  before: canonicalOrNull(change.op === "truncate" ? change.from : change.before),
  after: canonicalOrNull(change.after)
})

const toldByFeed = (change: Query.Change): Told => {
  const text = (image: Query.RowImage | null | undefined) =>
    image === null || image === undefined ? null : canonical(stringify(image))
  return {
    id: change.id,
    op: opOf(change.op),
    key: String(change.rowKey),
    startKey: String(change.previousRowKey ?? change.rowKey),
    before: change.op === "update" ? text({ ...change.dataAfter, ...change.changedFrom }) : text(change.changedFrom),
    after: text(change.dataAfter)
  }
}

/** The rows of a table whose key is `id`. */
export const rowsOf = (db: Session, table: string): Effect.Effect<Rows, SqlError> =>
  Effect.map(db.rows(`select id, to_jsonb(t.*) as image from ${table} t`), (found) => {
    const rows = new Map<string, Array<string>>()
    for (const { id, image } of found) {
      rows.set(String(id), [...(rows.get(String(id)) ?? []), canonical(image ?? null)])
    }
    return rows
  })

const differences = (source: string, left: Rows, right: Rows): ReadonlyArray<string> =>
  [...new Set([...left.keys(), ...right.keys()])].flatMap((key) => {
    const [told, there] = [[...(left.get(key) ?? [])].sort().join(), [...(right.get(key) ?? [])].sort().join()]
    return told === there ? [] : [`${source}: ${key} is ${told}, the table has ${there}`]
  })

/** Every difference between the record of a table and the table. `start` are its rows when the record began. */
export const disagreements = Effect.fnUntraced(function* (
  db: Session,
  { feed, query }: Readers,
  table: string,
  start: Rows = new Map()
) {
  const now = String(yield* db.value("select clock_timestamp()"))
  const there = yield* rowsOf(db, table)
  const recorded = (yield* changes(db, table)).map(toldBy)
  const stored = replay("record", start, recorded)
  const delivered = (yield* drain(feed, { tables: [table] })).batches.flatMap((batch) => batch.changes)
  const fed = replay("feed", start, delivered.map(toldByFeed))
  const keys = [...new Set(recorded.flatMap(({ key, startKey }) => [key, startKey]))]
  const answers = keys.length === 0 ? [] : yield* query.asOfKeys(table, keys, now)
  return [
    ...stored.wrong,
    ...differences("record", stored.end, there),
    ...fed.wrong,
    ...differences("feed", fed.end, there),
    ...answers.flatMap(({ answer, rowKey }) => {
      const answeredRow = answer._tag === "Present" ? canonical(stringify(answer.row)) : ""
      const row = (there.get(rowKey) ?? []).join()
      return answeredRow === row ? [] : [`as-of: ${rowKey} is ${answer._tag} ${answeredRow}, the table has ${row}`]
    })
  ]
})
