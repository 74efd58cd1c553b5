/**
 * Random histories of DDL, run in a captured database and in a twin without capture. `ddlQuestions` compares what the record says of
 * them with what was true at each instant.
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
import { clientOf } from "../harness/client.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { type Host, type Readers, reset, type Session, sessionOf } from "./adversarial.js"
import { createTable, fillOf, type History, type Op, statementsOf, type Step } from "./ddlModel.js"
import { fedWrongly, leaksOf, makeQuestions, type Tally, type Truth } from "./ddlQuestions.js"
import {
  contents,
  type Layout,
  nameOf,
  type Note,
  pinned,
  readWorld,
  takeNote,
  type Table,
  type World
} from "./ddlWorld.js"

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

export interface Report extends Readonly<Tally> {
  readonly wrong: ReadonlyArray<string>
  /** What was done, line by line. */
  readonly log: ReadonlyArray<string>
  readonly ran: ReadonlyMap<string, number>
}

/** How a table is configured by its comments, whatever it is called. */
const configOf = (table: Table): Capture.TableConfig => {
  const named = (role: string) => table.columns.filter((column) => column.role === role).map(({ name }) => name)
  const options: Partial<Capture.TableConfig> =
    table.options === null || table.options === "" ? {} : JSON.parse(table.options)
  return { ...options, table: nameOf(table), exclude: named("excluded"), mask: named("masked") }
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

  const learnLayout = ({ columns, oid }: Pick<Table, "columns" | "oid">): void => {
    const knownLayouts = layouts.get(oid) ?? []
    if (!knownLayouts.some((layout) => JSON.stringify(layout) === JSON.stringify(columns))) {
      layouts.set(oid, [...knownLayouts, columns])
    }
  }
  const learn = (world: World): World => {
    world.tables.forEach(learnLayout)
    return world
  }
  const say = (line: string): void => {
    log.push(line)
  }

  /** What each open transaction has done. */
  const underWay = new Map<Pair, Array<string>>()
  /** See `Truth`. */
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
    taken.tables.forEach(({ table }) => learnLayout(table))
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

  const truth: Truth = { db, readers, notes, layouts, ran, ambiguous, complain }
  const tally: Tally = { asked: 0, answered: 0, unknown: [] }
  const askAll = makeQuestions(truth, tally)
  yield* checkHonesty
  yield* askAll("before the last apply")
  say("the last apply")
  yield* apply(true)
  yield* note
  yield* askAll("after the last apply")
  wrong.push(...(yield* fedWrongly(truth)))

  const leaks = yield* leaksOf(db)
  for (const leak of leaks) {
    complain(`a secret is stored: ${leak}`)
  }
  return { wrong, log, ran, ...tally }
})
