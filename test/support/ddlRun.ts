/**
 * Random histories of DDL, run in a captured database and in a twin without capture, and compared with what was true at each
 * instant.
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Scope from "effect/Scope"
import type { FeedError } from "../../src/Feed.js"
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import * as Continuity from "../../src/Continuity.js"
import type * as Capture from "../../src/Capture.js"
import { same, stringify } from "../../src/internal/core/json.js"
import type { JsonValue } from "../../src/internal/core/jsonValue.js"
import type * as Query from "../../src/Query.js"
import { clientOf } from "../harness/client.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { type Host, reset, type Session, sessionOf } from "./adversarial.js"
import { createTable, fillOf, type History, type Op, statementsOf, type Step } from "./ddlModel.js"
import {
  contents,
  type Layout,
  nameOf,
  type Note,
  pinned,
  readWorld,
  type Standing,
  takeNote,
  type Table,
  textOf,
  type World
} from "./ddlWorld.js"
import { drain } from "./feed.js"
import type { Readers } from "./adversarial.js"

/** Two sessions of each database that lead a history side by side. */
export interface Stage {
  readonly host: Host
  readonly readers: Readers
  readonly sessions: readonly [Pair, Pair]
  readonly twin: Session
  readonly continuity: Continuity.Continuity["Type"]
}

/** A session of the captured database, and one of the twin. */
interface Pair {
  readonly captured: Session
  readonly plain: Session
}

const patience = "set lock_timeout = '150ms'"

export const makeStage = Effect.fnUntraced(function* (
  host: Host,
  readers: Readers
): Effect.fn.Return<Stage, SqlError, Scope.Scope> {
  const other = yield* TestDatabase.make({ schema: false })
  const plain = () => Effect.map(other.rawClient(), sessionOf)
  const pair = Effect.gen(function* () {
    const made: Pair = { captured: yield* host.session(), plain: yield* plain() }
    yield* made.captured.run(patience)
    yield* made.plain.run(patience)
    return made
  })
  const twin = yield* plain()
  yield* twin.run(pinned)
  yield* host.db.run(pinned, patience)
  const client = clientOf(host.database.url)
  const services = yield* Layer.build(Layer.provide(Continuity.layer, client))
  return {
    host,
    readers,
    sessions: [yield* pair, yield* pair],
    twin,
    continuity: Context.get(services, Continuity.Continuity)
  }
})

const emptyTwin = `do $$
  declare
    name text;
  begin
    for name in select quote_ident(nspname) from pg_namespace where nspname !~ '^(pg_|information_schema$)' loop
      execute 'drop schema ' || name || ' cascade';
    end loop;
    create schema public;
  end $$`

export interface Report {
  readonly wrong: ReadonlyArray<string>
  /** What was done, line by line. */
  readonly log: ReadonlyArray<string>
  /**
   * Of tables that were captured before they had rows: how many rows were read at an instant, and how many of these were known.
   */
  readonly asked: number
  readonly answered: number
  /** The rows of which as-of said that nothing is known. */
  readonly unknown: ReadonlyArray<string>
  readonly ran: ReadonlyMap<string, number>
}

/** How a table is configured by its comments, whatever it is called. */
const configOf = (table: Table): Capture.TableConfig => {
  const named = (role: string) => table.columns.filter((column) => column.role === role).map(({ name }) => name)
  const options: Partial<Capture.TableConfig> =
    table.options === null || table.options === "" ? {} : JSON.parse(table.options)
  return { ...options, table: nameOf(table), exclude: named("excluded"), mask: named("masked") }
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

export const runHistory = Effect.fnUntraced(function* (
  { continuity, host, readers, sessions, twin }: Stage,
  history: History,
  /** What was done, line by line, while it is done. */
  log: Array<string> = []
): Effect.fn.Return<Report, SqlError | Capture.Failure | FeedError> {
  const { capture, db } = host
  const wrong: Array<string> = []
  const ran = new Map<string, number>()
  const notes: Array<Note> = []
  const layouts = new Map<string, Array<Layout>>()
  let asked = 0
  let answered = 0
  const unknown: Array<string> = []

  const learn = (world: World): World => {
    for (const { columns, oid } of world.tables) {
      const knownLayouts = layouts.get(oid) ?? []
      if (!knownLayouts.some((layout) => JSON.stringify(layout) === JSON.stringify(columns))) {
        layouts.set(oid, [...knownLayouts, columns])
      }
    }
    return world
  }
  const say = (line: string): void => {
    log.push(line)
  }

  /** What each open transaction has done. */
  const underWay = new Map<Pair, Array<string>>()
  /**
   * Tables that a transaction wrote anew while it altered a column of theirs. The catalog does not tell whether that gave the column
   * other values: it is a lapse, needed or not.
   */
  const ambiguous = new Set<string>()
  const followTransaction = (pair: Pair, message: string): void => {
    const done = underWay.get(pair) ?? []
    if (message === "begin") {
      underWay.set(pair, [])
    } else if (/^(commit|rollback$|prepare)/.test(message)) {
      underWay.delete(pair)
    }
    done.push(...message.split("; "))
    for (const statement of done) {
      const table = /^alter table (\S+) (alter|rename) column/.exec(statement)?.[1]
      if (
        table !== undefined &&
        done.some((each) => each.includes(` ${table} `) && /^cluster| stored$| type /.test(each))
      ) {
        ambiguous.add(table)
      }
    }
  }
  const complain = (line: string): void => {
    wrong.push(line)
  }

  const execute = Effect.fnUntraced(function* (pair: Pair, message: string) {
    // The name of a prepared transaction is of the whole server.
    const expected = yield* pair.plain.outcome(message.replace("'history'", "'history of the twin'"))
    const outcome = yield* pair.captured.outcome(message)
    say(`  ${message}${outcome === "ok" ? "" : ` -- ${outcome}`}`)
    if (outcome === "ok") {
      followTransaction(pair, message)
    }
    if (outcome !== expected) {
      complain(`a statement of the host ends with ${outcome}, without capture with ${expected}: ${message}`)
    }
    return outcome
  })

  /** The statements of an op, in the world as the session has it. */
  const statements = Effect.fnUntraced(function* (pair: Pair, op: Op) {
    const world = yield* Effect.either(readWorld(pair.captured, false))
    const worldStatements = Either.isRight(world) ? statementsOf(learn(world.right), op) : []
    if (worldStatements.length > 0) {
      ran.set(op.kind, (ran.get(op.kind) ?? 0) + 1)
    }
    return worldStatements
  })
  const inOrder = (pair: Pair, ops: ReadonlyArray<Op>) =>
    Effect.forEach(
      ops,
      (op) =>
        Effect.flatMap(statements(pair, op), (found) =>
          Effect.forEach(found, (statement) => execute(pair, statement), { discard: true })
        ),
      { discard: true }
    )
  const settle = (pair: Pair) =>
    Effect.flatMap(readWorld(pair.captured, false), (world) => Effect.sync(() => learn(world)))

  const configured = Effect.map(readWorld(db, true), ({ tables }) => tables.map(configOf))

  /** Complains if something is to be done that status or plan do not mention. */
  const checkHonesty = Effect.gen(function* () {
    const configs = yield* configured
    const gaps = yield* db.rows(
      `select p.table_schema || '.' || p.table_name as name, g.gap
       from threadline.capture_policies p
       left join lateral threadline.capture_gap(p.table_schema, p.table_name) g on true
       where p.removed_at is null and upper_inf(threadline.capture_lapses(p.table_schema, p.table_name))`
    )
    const statuses = yield* capture.status()
    for (const { gap, name } of gaps) {
      const status = statuses.find(({ table }) => table === name)
      if (!(status?.findings ?? []).some(({ severity }) => severity !== "info")) {
        complain(`status says nothing of ${name}, of which nothing is known: ${gap}`)
      }
      const config = configs.filter(({ table }) => table === name)
      const planned = config.length === 0 ? undefined : yield* Effect.either(capture.plan(config))
      if (planned !== undefined && Either.isRight(planned) && planned.right.length === 0) {
        complain(`plan says nothing of ${name}, of which nothing is known: ${gap}`)
      }
    }
  })

  const apply = Effect.fnUntraced(function* (quiet: boolean) {
    if (quiet) {
      yield* checkHonesty
    }
    // The bounds of partitions are read under locks: those of a table that somebody alters cannot be.
    const readable = yield* Effect.either(configured)
    const configs = Either.isRight(readable) ? readable.right : []
    const options = { lockTimeout: "150 millis", retries: 0, allowLessRedaction: true } as const
    const appliedTogether = yield* Effect.either(capture.apply(configs, options))
    const failed: Array<string> = []
    if (Either.isLeft(appliedTogether)) {
      for (const config of configs) {
        const appliedAlone = yield* Effect.either(capture.apply([config], options))
        if (Either.isLeft(appliedAlone)) {
          failed.push(`${config.table}: ${appliedAlone.left.message}`)
        }
      }
    }
    say(`  capture apply${failed.length === 0 ? "" : ` -- ${failed.join("; ")}`}`)
    if (!quiet) {
      return
    }
    for (const failure of failed) {
      complain(`apply fails: ${failure}`)
    }
    const planned = yield* Effect.either(capture.plan(configs))
    if (failed.length === 0 && Either.isRight(planned) && planned.right.length > 0) {
      complain(
        `after apply there is still something to do: ${planned.right.map((step) => `${step.table} ${step.kind}`).join(", ")}`
      )
    }
    const errors = (yield* capture.status(configs)).flatMap(({ findings, table }) =>
      configs.some((config) => config.table === table)
        ? findings.filter(({ severity }) => severity === "error").map((finding) => `${table} ${finding.kind}`)
        : []
    )
    if (failed.length === 0 && errors.length > 0) {
      complain(`after apply status still reports ${errors.join(", ")}`)
    }
  })

  const note = Effect.gen(function* () {
    const taken = yield* takeNote(db)
    taken.tables.forEach(({ table: { columns, oid } }) => {
      const knownLayouts = layouts.get(oid) ?? []
      if (!knownLayouts.some((layout) => JSON.stringify(layout) === JSON.stringify(columns))) {
        layouts.set(oid, [...knownLayouts, columns])
      }
    })
    notes.push(taken)
    say(`-- ${notes.length - 1}: ${taken.at}`)
    const [here, there] = [yield* contents(db), yield* contents(twin)]
    if (JSON.stringify(here) !== JSON.stringify(there)) {
      complain(`note ${notes.length - 1}: the tables hold ${here.join(" ")}, without capture ${there.join(" ")}`)
    }
  })

  /** Afterwards every row is known of the tables that it has read. */
  const baseline = Effect.gen(function* () {
    // It is refused while nothing is known of a table.
    const tables = yield* db.column(
      `select p.table_schema || '.' || p.table_name
       from threadline.capture_policies p
       where p.removed_at is null
         and p.key_columns <> '[]'
         and threadline.baseline_known_from(p.table_schema, p.table_name) is not null
       order by 1`
    )
    const recorded = yield* Effect.either(
      continuity.baseline({ tables: tables.map(String), patience: "50 millis", batchSize: 2 })
    )
    if (Either.isLeft(recorded)) {
      say(`  baseline -- ${recorded.left.message}`)
      // A partition came since the last apply.
      if (
        recorded.left._tag === "CaptureError" &&
        recorded.left.refusal.reason === "InsufficientPrivilege" &&
        recorded.left.refusal.lacks === "rows"
      ) {
        return
      }
      return complain(`baseline fails: ${recorded.left.message}`)
    }
    say(
      `  baseline ${recorded.right.map(({ recorded: rows, state, table }) => `${table} ${state} ${rows}`).join(", ")}`
    )
    const taken = yield* takeNote(db)
    for (const { state, table: name } of recorded.right) {
      const keys = taken.tables
        .filter(({ table }) => nameOf(table) === name)
        .flatMap(({ rows }) => rows.flatMap(({ key }) => (key === null ? [] : [key])))
      const answers = yield* Effect.either(readers.query.asOfKeys(name, keys, taken.at))
      const unknown = Either.isLeft(answers)
        ? [answers.left.message]
        : answers.right.flatMap(({ answer, rowKey }) => (answer._tag === "Present" ? [] : [`${rowKey} ${answer._tag}`]))
      if (state !== "done" || unknown.length > 0) {
        complain(`after a baseline, which is ${state}, of ${name}: ${unknown.join(", ")}`)
      }
    }
  })

  const perform = Effect.fnUntraced(function* (step: Step) {
    if (step.do === "apply") {
      return yield* apply(true)
    }
    if (step.do === "baseline") {
      return yield* baseline
    }
    if (step.do === "overlap") {
      const [outer, inner] = sessions
      yield* execute(outer, "begin")
      if (step.repeatable) {
        yield* execute(outer, "set transaction isolation level repeatable read")
      }
      const [first, ...rest] = step.outer
      yield* inOrder(outer, first === undefined ? [] : [first])
      say("  -- the other session")
      yield* inOrder(inner, step.inner)
      if (step.apply) {
        yield* apply(false)
      }
      say("  -- and back")
      yield* inOrder(outer, rest)
      yield* execute(outer, "commit")
      return yield* settle(outer)
    }
    const pair = sessions[step.session]
    if (step.do === "each") {
      for (const op of step.ops) {
        const found = yield* statements(pair, op)
        // What belongs together is one message: a transaction of its own.
        if (found.length > 0) {
          yield* execute(pair, found.join("; "))
        }
      }
    } else if (step.do === "message") {
      const found = yield* Effect.map(
        Effect.forEach(step.ops, (op) => statements(pair, op)),
        (each) => each.flat()
      )
      if (found.length > 0) {
        yield* execute(pair, found.join("; "))
      }
    } else {
      yield* execute(pair, "begin")
      const [first, ...rest] = step.ops
      if (step.do === "savepoint") {
        yield* execute(pair, "savepoint before")
        yield* inOrder(pair, first === undefined ? [] : [first])
        yield* execute(pair, "rollback to before")
        yield* inOrder(pair, rest)
      } else {
        yield* inOrder(pair, step.ops)
      }
      if (step.do === "prepared") {
        yield* execute(pair, "prepare transaction 'history'")
      }
      yield* execute(
        pair,
        step.do === "aborted" ? "rollback" : step.do === "prepared" ? "commit prepared 'history'" : "commit"
      )
    }
    yield* settle(pair)
  })

  yield* db.run(reset)
  yield* twin.run(emptyTwin)
  const begin = [
    "create schema shop",
    "create type public.mood as enum ('happy', 'sad', 'calm')",
    ...history.tables.flatMap(({ kind, mode, truncate }, place) =>
      createTable(
        kind,
        `${place === 1 ? "shop" : "public"}.${["a", "b", "c"][place] ?? "d"}`,
        JSON.stringify({
          truncate,
          ...(kind === "always" ? { mode: "row", always: true } : mode === "row" ? { mode } : {})
        })
      )
    )
  ].join("; ")
  yield* twin.run(begin)
  yield* db.run(begin)
  const fill = Effect.flatMap(readWorld(db, false), (world) =>
    Effect.forEach(fillOf(world), (statement) => execute(sessions[0], statement), { discard: true })
  )
  yield* history.filled === "before" ? fill : Effect.void
  if (history.applied) {
    yield* apply(true)
  }
  yield* note
  yield* history.filled === "captured" ? Effect.zipRight(fill, note) : Effect.void
  for (const step of history.steps) {
    say(
      step.do === "apply" || step.do === "baseline" || step.do === "overlap"
        ? step.do
        : `${step.do}, session ${step.session}`
    )
    yield* perform(step)
    yield* note
  }

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
        asked += 1
        unknown.push(`${where} ${isThere ? "is there" : "is not there"}, and is not known`)
      }
      return
    }
    asked += 1
    answered += 1
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

  yield* checkHonesty
  yield* askAll("before the last apply")
  say("the last apply")
  yield* apply(true)
  yield* note
  yield* askAll("after the last apply")
  wrong.push(...(yield* fedWrongly({ host, readers }, notes, layouts)))

  const leaks = yield* leaksOf(db)
  for (const leak of leaks) {
    complain(`a secret is stored: ${leak}`)
  }
  return { wrong, log, asked, answered, unknown, ran }
})

/** Whatever of the record holds a secret. */
const leaksOf = Effect.fnUntraced(function* (db: Session): Effect.fn.Return<ReadonlyArray<string>, SqlError> {
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
const fedWrongly = Effect.fnUntraced(function* (
  { host: { db }, readers }: Pick<Stage, "host" | "readers">,
  notes: ReadonlyArray<Note>,
  layouts: ReadonlyMap<string, ReadonlyArray<Layout>>
): Effect.fn.Return<ReadonlyArray<string>, SqlError | FeedError> {
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
