/**
 * What the record says of a history of DDL, compared with what was true at each instant.
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { FeedError } from "../../src/Feed.js"
import { same, stringify } from "../../src/internal/core/json.js"
import type { JsonValue } from "../../src/internal/core/jsonValue.js"
import type * as Query from "../../src/Query.js"
import type { Readers, Session } from "./adversarial.js"
import { type Layout, nameOf, type Note, type Standing, textOf } from "./ddlWorld.js"
import { drain } from "./feed.js"

/** What is known of a history that was run, and where complaints go. */
export interface Truth {
  readonly db: Session
  readonly readers: Readers
  /** How the tables stood, at one instant after another. */
  readonly notes: ReadonlyArray<Note>
  /** The columns that each table had, by its OID. */
  readonly layouts: ReadonlyMap<string, ReadonlyArray<Layout>>
  /** How often each kind of op was run. */
  readonly ran: ReadonlyMap<string, number>
  /**
   * Tables that a transaction wrote anew while it altered a column of theirs. The catalog does not tell whether that gave the column
   * other values: it is a lapse, needed or not.
   */
  readonly ambiguous: ReadonlySet<string>
  readonly complain: (line: string) => void
}

/** What was asked of tables that were captured before they had rows. */
export interface Tally {
  /** Rows that were read at an instant. */
  asked: number
  /** How many of these were known. */
  answered: number
  /** The rows of which as-of said that nothing is known. */
  readonly unknown: Array<string>
}

type Answer = Query.AsOf

/** A layout under which an image was made of a row whose values at the instant are known: undefined if there is none. */
const explains = (
  image: { readonly [name: string]: JsonValue },
  standing: Standing,
  values: ReadonlyMap<number, JsonValue>,
  layouts: ReadonlyArray<Layout>
): boolean => {
  const unsettled = layouts.length > 1
  const roleOf = ({ attnum, role }: Layout[number]): string | null =>
    role ?? /^SECRET (masked|excluded)/.exec(textOf(values.get(attnum)))?.[1] ?? null
  const fields = new Set(Object.keys(image))
  return layouts.some((layout) => {
    const isBare = layout.every(({ role }) => role === null)
    const capturedColumns = layout.filter(({ generated }) => generated !== "v")
    if (
      [...fields].some((field) => !capturedColumns.some(({ name }) => name === field)) ||
      (!isBare && capturedColumns.some((column) => roleOf(column) !== "excluded" && !fields.has(column.name)))
    ) {
      return false
    }
    return capturedColumns.every((column) => {
      const now = standing.table.columns.find(({ attnum }) => attnum === column.attnum)
      const got = image[column.name]
      const role = roleOf(column)
      // A partition that left its table has no comments, and until the next apply the redaction of the table.
      if (isBare && (got === undefined || got === "[masked]")) {
        return true
      }
      const shown = column.role === null && same(got ?? null, values.get(column.attnum) ?? null)
      if (role === "excluded") {
        return shown || got === undefined || ((unsettled || column.role === null) && got === "[masked]")
      }
      if (role === "masked") {
        return shown || got === "[masked]"
      }
      if (now === undefined || (unsettled && got === "[masked]")) {
        return true
      }
      const value = values.get(column.attnum) ?? null
      return got !== undefined && (same(got, value) || (now.type !== column.type && textOf(got) === textOf(value)))
    })
  })
}

/** Asks as-of, history and diffs for every row at every instant. Each call adds to the tally. */
export const makeQuestions = ({ ambiguous, complain, db, layouts, notes, ran, readers }: Truth, tally: Tally) => {
  /**
   * What a name means at an instant: the table that its policy follows, whatever that one was called then, or the one that had the
   * name. They differ if names were exchanged, or passed on to a table that was captured later.
   */
  const meant = (name: string, followed: string | undefined, at: Note): ReadonlyArray<Standing> => {
    const place = notes.findIndex(({ tables }) => tables.some(({ table }) => table.oid === followed))
    const first = notes[place]?.tables.find(({ table }) => table.oid === followed)?.table
    // A table that is made in the place of another one, under its name, goes on with its history.
    const former = first !== undefined && notes.indexOf(at) < place ? nameOf(first) : name
    return at.tables.filter(({ table }) => table.oid === followed || nameOf(table) === name || nameOf(table) === former)
  }

  /**
   * What `docs/capture.md` says that as-of may get wrong until `apply`: rows of a partition that was attached since, at instants at
   * which it was none of the table.
   */
  const joinedUnseen = Effect.fnUntraced(function* (oid: string | undefined) {
    const joined = yield* db.rows(
      `select r.part::regclass::text as name, pg_get_partition_constraintdef(r.part) as bound,
         (select quote_ident(a.attname) from pg_attribute a where a.attrelid = p.relation and a.attnum = 1) as first
       from threadline.capture_policies p
       cross join lateral jsonb_each_text(threadline.partition_marks(p.relation)) m
       cross join lateral (select split_part(m.value, '/', 1)::oid as part) r
       where p.relation = $1::oid
         and p.removed_at is null
         and split_part(p.partition_marks ->> m.key, ' ', 1) is distinct from split_part(m.value, ' ', 1)`,
      [oid ?? "0"]
    )
    return Effect.fnUntraced(function* (key: string, at: Note) {
      const [, id, k] = /^\["(-?[0-9]+)","(-?[0-9]+)"\]$/.exec(key) ?? []
      for (const { bound, first, name } of k === undefined ? [] : joined) {
        const partitions = at.tables.find(({ table }) => table.oid === oid)?.table.partitions ?? []
        if (
          !partitions.some(
            (partition) => nameOf(partition) === (name?.includes(".") === true ? name : `public.${name}`)
          ) &&
          // The partition of a partition goes by the other column of the key.
          (yield* db.value(`select (${bound})::text from (select $1::int as k, $2::int as ${first ?? "id"}) x`, [
            k ?? null,
            id ?? null
          ])) === "true"
        ) {
          return true
        }
      }
      return false
    })
  })

  const judge = (
    when: string,
    name: string,
    place: number,
    key: string,
    answer: Answer,
    standings: ReadonlyArray<Standing>,
    mayShowLater: boolean
  ): void => {
    const rowsOfKey = standings.map((standing) => ({ standing, rows: standing.rows.filter((row) => row.key === key) }))
    const where = `${when}, note ${place}, ${name} ${key}`
    if (answer._tag === "BeforeCapture") {
      // Knowledge may begin late: with a table that came later, or with rows that were there before its capture.
      const isThere = rowsOfKey.some(({ rows }) => rows.length > 0)
      const early = notes[0]?.tables.find(({ table }) => standings.some((standing) => standing.table.oid === table.oid))
      if (
        early?.table.recordedKey !== null &&
        early?.rows.length === 0 &&
        (isThere || !(ran.has("truncate") || ran.has("truncateCascade"))) &&
        !ambiguous.has(name)
      ) {
        tally.asked += 1
        tally.unknown.push(`${where} ${isThere ? "is there" : "is not there"}, and is not known`)
      }
      return
    }
    tally.asked += 1
    tally.answered += 1
    const there = () =>
      rowsOfKey.flatMap(({ rows }) => rows.map(({ values }) => stringify(Object.fromEntries(values)))).join(" and ") ||
      "nothing"
    if (answer._tag !== "Present") {
      if (rowsOfKey.length > 0 && rowsOfKey.every(({ rows }) => rows.length > 0)) {
        complain(`${where} is ${answer._tag}, there is ${there()}`)
      }
      return
    }
    const { row } = answer
    const isTrue = rowsOfKey.some(({ rows, standing }) =>
      rows.some(({ values }) => explains(row, standing, values, layouts.get(standing.table.oid) ?? []))
    )
    if (!isTrue && !(mayShowLater && rowsOfKey.every(({ rows }) => rows.length === 0))) {
      complain(`${where} is ${stringify(row)}, there is ${there()}`)
    }
  }

  const askAll = Effect.fnUntraced(function* (when: string) {
    const { query } = readers
    const names = new Set(notes.flatMap(({ tables }) => tables.map(({ table }) => nameOf(table))))
    for (const name of names) {
      const [schema = "", table = ""] = name.split(".")
      const followed =
        (yield* db.value(
          `select p.relation::text
           from threadline.policy_of($1, $2) o
           join threadline.capture_policies p on p.table_schema = o.policy_schema and p.table_name = o.policy_name`,
          [schema, table]
        )) ?? undefined
      const keys = [
        ...new Set(
          notes.flatMap((each) =>
            meant(name, followed, each).flatMap(({ rows }) => rows.flatMap(({ key }) => (key === null ? [] : [key])))
          )
        )
      ].sort()
      const mayShowLater = yield* joinedUnseen(followed)
      const usable: Array<string> = []
      for (const key of keys) {
        const tried = yield* Effect.either(query.asOf(name, key, notes[0]?.at ?? ""))
        if (Either.isRight(tried)) {
          usable.push(key)
        } else if (tried.left._tag !== "threadline/NotFound" && tried.left._tag !== "threadline/InvalidRequest") {
          complain(`${when}: as-of of ${name} ${key} fails: ${tried.left.message}`)
        }
      }
      if (usable.length === 0) {
        continue
      }
      const last = new Map<string, Answer>()
      const first = new Map<string, Answer>()
      for (const [place, each] of notes.entries()) {
        const standing = meant(name, followed, each)
        const answersOfKeys = yield* Effect.either(query.asOfKeys(name, usable, each.at))
        const present = yield* Effect.either(query.asOfRows(name, each.at, { limit: 1000 }))
        if (Either.isLeft(answersOfKeys) || Either.isLeft(present)) {
          // A table that has lost its key has no rows to list, but those of before can be asked for one by one.
          for (const key of usable) {
            const answerOfKey = yield* Effect.either(query.asOf(name, key, each.at))
            if (Either.isLeft(answerOfKey)) {
              complain(`${when}: as-of of ${name} ${key} fails: ${answerOfKey.left.message}`)
            } else {
              judge(when, name, place, key, answerOfKey.right, standing, yield* mayShowLater(key, each))
              last.set(key, answerOfKey.right)
              first.set(key, first.get(key) ?? answerOfKey.right)
            }
          }
          continue
        }
        const shown = new Map(present.right.items.map((row) => [row.rowKey, row.row]))
        for (const [index, { answer, rowKey }] of answersOfKeys.right.entries()) {
          const key = usable[index] ?? rowKey
          judge(when, name, place, key, answer, standing, yield* mayShowLater(key, each))
          if (place === 0) {
            first.set(key, answer)
          }
          last.set(key, answer)
          const row = shown.get(rowKey)
          if (answer._tag === "Present" ? row === undefined || !same(row, answer.row) : row !== undefined) {
            complain(
              `${when}, note ${place}, ${name} ${key} is ${answer._tag}, among all rows ${stringify(row ?? null)}`
            )
          }
          shown.delete(rowKey)
        }
        for (const [key, row] of shown) {
          judge(when, name, place, key, { _tag: "Present", row, at: each.at }, standing, yield* mayShowLater(key, each))
        }
      }
      const [from, to] = [notes[0]?.at ?? "", notes.at(-1)?.at ?? ""]
      for (const key of usable.slice(0, 2)) {
        const [page, between] = [
          yield* Effect.either(query.history(name, key)),
          yield* Effect.either(query.diffBetween(name, key, from, to))
        ]
        if (Either.isLeft(page) || Either.isLeft(between)) {
          complain(`${when}: the history of ${name} ${key} fails: ${String(Either.isLeft(page) ? page.left : between)}`)
        } else if (between.right.from._tag !== first.get(key)?._tag || between.right.to._tag !== last.get(key)?._tag) {
          complain(
            `${when}: diffBetween of ${name} ${key} is from ${between.right.from._tag} to ${between.right.to._tag}`
          )
        }
      }
    }
  })

  return askAll
}

/** Whatever of the record holds a secret. */
export const leaksOf = Effect.fnUntraced(function* (db: Session): Effect.fn.Return<ReadonlyArray<string>, SqlError> {
  const tables = yield* db.column(
    `select c.oid::regclass::text
     from pg_class c
     where c.relnamespace = 'threadline'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition`
  )
  return (yield* db.column(
    tables
      .map(
        (table) =>
          `select '${table} ' || to_jsonb(t.*)::text from ${table} t where to_jsonb(t.*)::text ~* 'secret (masked|excluded)'`
      )
      .join(" union all ")
  )).map(String)
})

/** Tables whose feed, replayed, does not end with their rows, of those that were captured all the time under one name. */
export const fedWrongly = Effect.fnUntraced(function* ({
  db,
  layouts,
  notes,
  readers
}: Truth): Effect.fn.Return<ReadonlyArray<string>, SqlError | FeedError> {
  const whole = new Set(
    yield* db.column(
      `select p.table_schema || '.' || p.table_name || ' ' || p.relation
       from threadline.capture_policies p
       where p.removed_at is null
         and p.lapses = '{}'
         and p.key_columns <> '[]'
         and p.former_names = '[]'
         and not exists (select from threadline.capture_sightings s where s.relation = p.relation)
         and not exists (select from threadline.capture_gap(p.table_schema, p.table_name))`
    )
  )
  const last = notes.at(-1)
  const tables = (last?.tables ?? []).filter(
    ({ table }) =>
      whole.has(`${nameOf(table)} ${table.oid}`) &&
      notes.every((note) =>
        note.tables.every((each) => (each.table.oid === table.oid) === (nameOf(each.table) === nameOf(table)))
      ) &&
      // Every row of it was captured.
      notes
        .flatMap((note) => note.tables)
        .find((each) => each.table.oid === table.oid && each.table.recordedKey !== null)?.rows.length === 0
  )
  if (tables.length === 0) {
    return []
  }
  const changes = (yield* drain(readers.feed)).batches.flatMap((batch) => batch.changes)
  return tables.flatMap((standing) => {
    const name = nameOf(standing.table)
    const rows = new Map<string, { readonly [name: string]: JsonValue }>()
    for (const change of changes.filter((each) => `${each.tableSchema}.${each.tableName}` === name)) {
      if (change.op === "truncate" && change.rowKey === null) {
        if (change.partitionName === null) {
          rows.clear()
        }
        continue
      }
      rows.delete(change.previousRowKey ?? change.rowKey ?? "")
      if (change.dataAfter !== null) {
        rows.set(change.rowKey ?? "", change.dataAfter)
      }
    }
    const wrong = standing.rows.flatMap(({ key, values }) => {
      const image = rows.get(key ?? "")
      rows.delete(key ?? "")
      return image !== undefined && explains(image, standing, values, layouts.get(standing.table.oid) ?? [])
        ? []
        : [
            `the feed leaves ${stringify(image ?? null)} at ${name} ${key}, there is ${stringify(Object.fromEntries(values))}`
          ]
    })
    return [
      ...wrong,
      ...[...rows].map(([key, image]) => `the feed leaves ${stringify(image)} at ${name} ${key}, there is nothing`)
    ]
  })
})
