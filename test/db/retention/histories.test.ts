/**
 * Random histories of audited transactions, under random policies, purged by runs that are stopped, interrupted and killed: exactly what a
 * model says is gone, and what is left tells the truth.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { expect, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { gunzipSync } from "node:zlib"
import * as Capture from "../../../src/Capture.js"
import * as Continuity from "../../../src/Continuity.js"
import * as Export from "../../../src/Export.js"
import * as Feed from "../../../src/Feed.js"
import { stringify } from "../../../src/internal/core/json.js"
import * as Query from "../../../src/Query.js"
import * as Retention from "../../../src/Retention.js"
import { literal } from "../../../src/internal/sql/sqlText.js"
import { sessionOf } from "../../support/adversarial.js"
import { emptied } from "../../support/emptied.js"
import * as log from "../../support/query.js"
import {
  type End,
  type Ids,
  keyed,
  names,
  type Recorded,
  type Setting,
  settings,
  staying,
  type Step,
  steps,
  tables,
  world
} from "../../support/retentionModel.js"
import { runs } from "../../support/runs.js"
import * as TestDatabase from "../../harness/TestDatabase.js"

const services = Layer.mergeAll(Capture.layer, Continuity.layer, Export.layer, Feed.layer, Query.layer, Retention.layer)
const database = services.pipe(Layer.provideMerge(TestDatabase.layer))

const hour = 3_600_000_000
const day = 24 * hour
/** In microseconds. */
const start = Date.UTC(2025, 11, 1) * 1000

const instant = (micros: number): string => new Date(Math.floor(micros / 1000)).toISOString()

const quoted = (value: unknown): string => literal(JSON.stringify(value))

const contextOf = ({ correlation }: Step, actor: Step["actor"]): string =>
  `select threadline.set_context(${quoted({
    ...(actor === null ? {} : { actor }),
    ...(correlation === null ? {} : { correlationId: correlation })
  })})`

const messageOf = (step: Step): string =>
  [
    "begin",
    ...(step.actor === null && step.correlation === null ? [] : [contextOf(step, step.actor)]),
    ...step.statements.slice(0, 1),
    ...(step.second === null ? [] : [contextOf(step, step.second)]),
    ...step.statements.slice(1),
    ...step.actions.map(({ actor, name }) =>
      actor === null
        ? `select threadline.record_action(${quoted({ name })})`
        : `select threadline.record_action(${quoted({ name })}, ${quoted({ actor })})`
    ),
    "commit"
  ].join("; ")

/** Rows of the tables that have a key, by the text of it. */
type Truth = Readonly<Record<string, Readonly<Record<string, unknown>>>>

const truth = `
  select json_build_object(${keyed
    .map(
      (table) => `'${table}', (
        select coalesce(json_object_agg(${table === "pairs" ? "threadline.row_key('public', 'pairs', jsonb_build_array(t.a::text, t.b))" : "t.id"}, to_jsonb(t)), '{}')
        from ${table} t${table === "pairs" ? "" : " where t.id < 500"}
      )`
    )
    .join()})`

const recordedNow = `
  select json_build_object(
    'transactions', (
      select coalesce(json_agg(json_build_object(
        'id', id::text, 'at', extract(epoch from occurred_at) * 1000000, 'actor', actor, 'correlation', correlation_id, 'unseen', false
      )), '[]')
      from threadline.audit_transactions
    ),
    'actions', (
      select coalesce(json_agg(json_build_object(
        'id', id::text, 'transaction', transaction_id::text, 'name', name, 'at', extract(epoch from occurred_at) * 1000000, 'actor', actor,
        'correlation', correlation_id
      )), '[]')
      from threadline.audit_actions
    ),
    'changes', (
      select coalesce(json_agg(json_build_object(
        'id', id::text, 'transaction', transaction_id::text, 'at', extract(epoch from captured_at) * 1000000, 'table', table_name, 'op', op,
        'key', row_key, 'previous', previous_row_key
      ) order by captured_at, id), '[]')
      from threadline.audit_changes
    ))`

const sorted = (ids: ReadonlyArray<string>): ReadonlyArray<string> => [...ids].sort((a, b) => Number(a) - Number(b))
const without = (ids: ReadonlyArray<string>, others: ReadonlyArray<string>): ReadonlyArray<string> => {
  const gone = new Set(others)
  return ids.filter((id) => !gone.has(id))
}
const idsOf = (recorded: Recorded): Ids => ({
  changes: recorded.changes.map(({ id }) => id),
  transactions: recorded.transactions.map(({ id }) => id),
  actions: recorded.actions.map(({ id }) => id)
})
const canonical = (row: unknown): string => {
  const value: unknown = JSON.parse(JSON.stringify(row))
  return JSON.stringify(Object.entries(value as object).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Shown in full if they differ. */
const same = (what: string, found: unknown, expected: unknown): void => {
  const [left, right] = [JSON.stringify(found), JSON.stringify(expected)]
  if (left !== right) {
    expect.fail(`${what}: ${left}, not ${right}`)
  }
}

const application = "threadline-test-purger"

layer(database, { excludeTestServices: true, timeout: 300_000 })("Retention of random histories", (it) => {
  it.scoped("removes what a model says, however its runs end, and leaves what tells the truth", () =>
    Effect.gen(function* () {
      const { rawClient, url } = yield* TestDatabase.TestDatabase
      const runtime = yield* Effect.runtime<Layer.Layer.Success<typeof database>>()
      const db = sessionOf(yield* rawClient())
      const other = sessionOf(yield* rawClient())
      const purger = Context.get(
        yield* Layer.build(
          Layer.provide(
            Retention.layer,
            PgClient.layer({ url: Redacted.make(url), maxConnections: 3, applicationName: application })
          )
        ),
        Retention.Retention
      )
      yield* db.run(world, "select threadline.current_epoch()")
      yield* Capture.apply(tables.map((table) => (table === "rows" ? { table, truncate: "rows" as const } : { table })))
      const json = <A>(query: string) => Effect.map(db.value(query), (text) => JSON.parse(String(text)) as A)
      const recorded = json<Recorded>(recordedNow)
      const terminated = other.run(
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name = '${application}' and datname = current_database()`
      )

      /** Runs the history, and moves what is recorded of each step to its time. Gives the rows after each step. */
      const performed = Effect.fnUntraced(function* (
        history: ReadonlyArray<Step>,
        consumers: ReadonlyArray<{
          readonly step: number
          readonly consume: Effect.Effect<unknown, unknown, Feed.Feed>
        }>
      ) {
        yield* db.run(
          `truncate ${tables.join()}`,
          emptied("audit_changes", "audit_transactions", "audit_actions"),
          "delete from threadline.retention_runs; delete from threadline.capture_baselines; delete from threadline.feed_checkpoints"
        )
        yield* log.partitions
        const states: Array<{ readonly at: number; readonly rows: Truth }> = []
        const began: Array<string> = []
        let at = start + hour / 2
        for (const [place, step] of history.entries()) {
          at += step.hours * hour
          began.push(`(${String(yield* db.value("select extract(epoch from clock_timestamp())"))}, ${at / 1_000_000})`)
          if ((yield* db.outcome(messageOf(step))) !== "ok") {
            yield* db.run("rollback")
          }
          states.push({ at, rows: yield* json<Truth>(truth) })
          for (const consumer of consumers) {
            yield* consumer.step === place ? consumer.consume : Effect.void
          }
        }
        const moved = (column: string) => `
            ${column} = (
              select to_timestamp(m.virtual) + (${column} - to_timestamp(m.began))
              from (values ${began.join()}) m (began, virtual)
              where to_timestamp(m.began) <= ${column}
              order by m.began desc
              limit 1
            )`
        yield* db.run(
          `update threadline.audit_changes set ${moved("captured_at")};
            update threadline.audit_transactions set ${moved("occurred_at")};
            update threadline.audit_actions set ${moved("occurred_at")};
            update threadline.capture_policies set captured_since = '2025-11-01', kept_since = null`
        )
        return states
      })

      /** What as-of answers for keys of a table, against the truth. Gives the keys of which it knows. */
      const asked = Effect.fnUntraced(function* (
        table: string,
        keys: ReadonlyArray<string>,
        { at, rows }: { readonly at: string; readonly rows: Truth }
      ) {
        const known: Array<string> = []
        if (keys.length === 0) {
          return known
        }
        const present = rows[table] ?? {}
        const told = yield* Query.asOfKeys(
          table,
          keys.map((key) => (table === "pairs" ? (JSON.parse(key) as ReadonlyArray<string>) : key)),
          at
        )
        const rowsTold: Array<string> = []
        for (const { answer, rowKey } of told) {
          const row = present[rowKey]
          const line = `${table} ${rowKey} at ${at}`
          if (answer._tag === "BeforeCapture") {
            continue
          }
          known.push(rowKey)
          same(
            `${line} (${answer._tag})`,
            answer._tag === "Present" ? canonical(JSON.parse(stringify(answer.row))) : null,
            row === undefined ? null : canonical(row)
          )
          if (answer._tag === "Present") {
            rowsTold.push(rowKey)
          }
        }
        const { items } = yield* Query.asOfRows(table, at, { limit: 1000 })
        same(
          `rows of ${table} at ${at}`,
          items
            .map(({ rowKey }) => rowKey)
            .sort()
            .filter((key) => keys.includes(key)),
          rowsTold.sort()
        )
        return known
      })

      const check = Effect.fnUntraced(function* (history: ReadonlyArray<Step>, setting: Setting, directory: string) {
        const consumers = setting.consumers.map((share, place) => {
          const received: Array<string> = []
          return {
            step: Math.floor(share * (history.length - 0.01)),
            received,
            consume: Feed.consume(`consumer ${place}`, ({ changes }) =>
              Effect.sync(() => void received.push(...changes.map(({ id }) => id)))
            )
          }
        })
        const states = yield* performed(history, consumers)
        const before = yield* recorded
        const keysOf = (table: string): ReadonlyArray<string> => [
          ...new Set(
            before.changes.flatMap(({ key, previous, table: of }) =>
              of === table ? [key, previous].flatMap((text) => (text === null ? [] : [text])) : []
            )
          )
        ]
        const now = Number(yield* db.value("select extract(epoch from clock_timestamp()) * 1000000"))
        const duration = (from: number | null): Retention.Keep =>
          from === null ? "forever" : `${Math.round((now - (start + from * day)) / 1_000_000)} seconds`
        const durations = (of: Readonly<Record<string, number | null>>) =>
          Object.fromEntries(Object.entries(of).map(([name, from]) => [name, duration(from)]))
        const holds = setting.holds.flatMap((hold): ReadonlyArray<Retention.Hold> => {
          const reason = "test"
          switch (hold.kind) {
            case "table":
              return [{ table: hold.table, reason }]
            case "row": {
              const keys = keysOf(hold.table)
              const key = keys[hold.place % keys.length]
              return key === undefined ? [] : [{ table: hold.table, key, reason }]
            }
            case "actor":
              return [{ actor: hold.actor, reason }]
            case "correlation":
              return [{ correlationId: hold.id, reason }]
          }
        })
        // The model knows keys by their text.
        const asGiven = holds.map((hold) =>
          hold.table === "pairs" && typeof hold.key === "string"
            ? { ...hold, key: JSON.parse(hold.key) as ReadonlyArray<string> }
            : hold
        )
        const isForever = [setting.keep, ...Object.values(setting.tables), ...Object.values(setting.actions)].every(
          (from) => from === null
        )
        const policy: Retention.Policy = {
          keep: isForever ? duration(100) : duration(setting.keep),
          tables: durations(setting.tables),
          actions: durations(setting.actions),
          holds: asGiven
        }
        const given = isForever ? { ...setting, keep: 100 } : setting
        const model = Effect.fnUntraced(function* (from: Recorded, plan: Retention.Plan) {
          const horizon = yield* db.value("select threadline.feed_horizon()::text")
          const planned = Date.parse(plan.at) * 1000
          return staying(
            from,
            given,
            holds,
            (since) => (since === null ? -Infinity : planned - (now - (start + since * day))),
            horizon === null || horizon === undefined ? null : BigInt(horizon)
          )
        })
        const planned = (from: Recorded) =>
          Effect.gen(function* () {
            const plan = yield* purger.plan(policy, { ignoreFeed: setting.ignoreFeed })
            const stays = yield* model(from, plan)
            const there = idsOf(from)
            const going = Object.fromEntries(
              names.map((name) => [name, without(there[name], stays[name]).length] as const)
            )
            expect({ changes: plan.changes, transactions: plan.transactions, actions: plan.actions }).toEqual(going)
            expect(plan.items.reduce((sum, { changes }) => sum + changes, 0)).toBe(plan.changes)
            return { plan, stays }
          })
        /** Nothing is gone that stays, nothing is left without what it needs, and runs count what is gone. */
        const checked = Effect.fnUntraced(function* (from: Recorded, stays: Ids) {
          const left = yield* recorded
          const [there, present] = [idsOf(from), idsOf(left)]
          for (const name of names) {
            same(`${name} that stay and are gone`, without(stays[name], present[name]), [])
            // An export is recorded as an action.
            same(`${name} that are new`, name === "actions" ? [] : without(present[name], there[name]), [])
          }
          const transactions = new Set(present.transactions)
          expect(left.changes.filter(({ transaction }) => !transactions.has(transaction))).toEqual([])
          const actions = new Set(present.actions)
          expect(
            from.actions.filter(
              ({ id, transaction }) => transaction !== null && transactions.has(transaction) && !actions.has(id)
            )
          ).toEqual([])
          expect(
            yield* json(
              "select json_build_object('changes', coalesce(sum(changes), 0), 'transactions', coalesce(sum(transactions), 0), 'actions', coalesce(sum(actions), 0)) from threadline.retention_runs"
            )
          ).toEqual(Object.fromEntries(names.map((name) => [name, without(there[name], present[name]).length])))
          return left
        })
        const maintained = Effect.gen(function* () {
          const content =
            "select count(*) || ' ' || coalesce(md5(string_agg(c::text, '|' order by c.id)), '') from threadline.audit_changes c"
          const was = yield* db.value(content)
          const run = yield* purger.maintain({ months: 1 })
          expect([run.state, run.details["waiting"]]).toEqual(["completed", []])
          expect(yield* db.value(content)).toBe(was)
          expect(yield* db.value("select count(*) from threadline.audit_changes_default")).toBe("0")
        })
        const exported = (name: string) =>
          Effect.gen(function* () {
            const path = join(directory, name)
            const manifest = yield* Export.toFile(path, { format: "ndjson", compression: "gzip", filter: {} })
            expect((yield* Export.verify(path)).differences).toEqual([])
            const ids = idsIn(path)
            expect(ids.length).toBe(manifest.count)
            return ids
          })
        const idsIn = (path: string): ReadonlyArray<string> =>
          gunzipSync(readFileSync(path))
            .toString()
            .split("\n")
            .filter((line) => line !== "")
            .map((line) => (JSON.parse(line) as { readonly id: string }).id)

        if (setting.maintain) {
          yield* maintained
        }
        const instants = setting.instants.flatMap((share) => {
          const state = states[Math.floor(share * (states.length - 0.01))]
          return state === undefined
            ? []
            : [{ micros: state.at + 60_000_000, at: instant(state.at + 60_000_000), rows: state.rows }]
        })
        // Nothing is gone yet: everything is known since the first change of a key.
        const knownBefore = new Map<string, ReadonlyArray<string>>()
        for (const one of instants) {
          for (const table of keyed) {
            knownBefore.set(`${table} ${one.at}`, yield* asked(table, keysOf(table), one))
          }
        }
        if (setting.archive) {
          expect(sorted(yield* exported("before"))).toEqual(sorted(idsOf(before).changes))
        }

        let from = before
        let origin = before
        let late: string | undefined
        if (setting.late) {
          yield* other.run(
            `begin; insert into posts values (500, 'late');
              update threadline.audit_changes set captured_at = '2025-12-20'
              where transaction_id = (select id from threadline.audit_transactions where xid = pg_current_xact_id());
              update threadline.audit_transactions set occurred_at = '2025-12-20' where xid = pg_current_xact_id()`
          )
          late = String(
            yield* other.value("select id from threadline.audit_transactions where xid = pg_current_xact_id()")
          )
        }
        const attempts: ReadonlyArray<End | undefined> = [...setting.ends, undefined]
        for (const [place, end] of attempts.entries()) {
          const { plan, stays } = yield* planned(from)
          const isLate = place === 0 && late !== undefined
          if (isLate) {
            yield* other.run("commit")
          }
          const whole = isLate ? yield* recorded : undefined
          let steps = 0
          const cut = yield* Deferred.make<void>()
          const options = {
            batchSize: setting.batchSize,
            pause: 1,
            ...(end?.kind === "batches" ? { maxBatches: end.batches } : {}),
            onProgress: () =>
              Effect.suspend(() => {
                steps++
                return end?.kind === "interrupted" && steps === end.after
                  ? Deferred.succeed(cut, undefined)
                  : end?.kind === "terminated" && steps === end.after
                    ? Effect.orDie(terminated)
                    : Effect.void
              })
          } satisfies Retention.PurgeOptions
          const archive = join(directory, `archive ${place}`)
          const purging = Effect.exit(
            setting.archive
              ? purger.purge(plan, { ...options, archive: Retention.archiveTo(archive) })
              : purger.purge(plan, options)
          )
          const exit =
            end?.kind === "interrupted"
              ? yield* Effect.raceFirst(purging, Deferred.await(cut))
              : end?.kind === "terminated soon"
                ? yield* Effect.map(
                    Effect.all([purging, Effect.zipRight(Effect.sleep(end.millis), Effect.orDie(terminated))], {
                      concurrency: 2
                    }),
                    ([exit]) => exit
                  )
                : yield* purging
          yield* db.run(
            "update threadline.retention_runs set lease_until = now() - interval '1 second' where state = 'running'"
          )
          const wasThere = whole ?? from
          if (whole !== undefined) {
            // What was committed after the plan stays this time.
            const lateChanges = whole.changes.flatMap(({ id, transaction }) => (transaction === late ? [id] : []))
            expect(lateChanges.length).toBe(1)
            const present = idsOf(yield* recorded)
            expect([present.transactions.includes(late ?? ""), without(lateChanges, present.changes)]).toEqual([
              true,
              []
            ])
          }
          // All runs count together.
          origin = place === 0 ? wasThere : origin
          const left = yield* checked(origin, stays)
          if (setting.archive) {
            const files = exit !== undefined && Exit.isSuccess(exit) && plan.changes > 0 ? readdirSync(archive) : []
            const archived = files.filter((name) => name.endsWith(".gz")).flatMap((name) => idsIn(join(archive, name)))
            if (files.length > 0) {
              expect(without(without(idsOf(wasThere).changes, idsOf(left).changes), archived)).toEqual([])
            }
          }
          if (end === undefined) {
            expect(exit).toMatchObject({ _tag: "Success", value: { state: "completed" } })
            const expected = isLate
              ? {
                  changes: [...stays.changes, ...without(idsOf(wasThere).changes, idsOf(before).changes)],
                  transactions: [
                    ...stays.transactions,
                    ...without(idsOf(wasThere).transactions, idsOf(before).transactions)
                  ],
                  actions: [...stays.actions, ...without(idsOf(wasThere).actions, idsOf(before).actions)]
                }
              : stays
            const exports = without(idsOf(left).actions, idsOf(wasThere).actions)
            for (const name of names) {
              same(name, sorted(without(idsOf(left)[name], name === "actions" ? exports : [])), sorted(expected[name]))
            }
          }
          from = left
        }
        const left = from

        for (const table of keyed) {
          const kept = Number(
            yield* db.value(
              `select coalesce(extract(epoch from nullif(threadline.kept_since('public', '${table}'), '-infinity')) * 1000000, 0)`
            )
          )
          for (const one of instants) {
            const known = yield* asked(table, keysOf(table), one)
            const ofTable = left.changes.filter((change) => change.table === table && change.at >= kept)
            // What comes after a TRUNCATE tells nothing of the time before it.
            const isCut = ofTable.some(({ at, key, op }) => op === "truncate" && key === null && at > one.micros)
            const certain = (knownBefore.get(`${table} ${one.at}`) ?? []).filter(
              (key) =>
                one.micros >= kept && !isCut && ofTable.some((change) => change.key === key || change.previous === key)
            )
            same(`${table} at ${one.at}: known before`, without(certain, known), [])
            if (one.micros < kept) {
              same(`${table} at ${one.at}: before the horizon`, known, [])
            }
          }
          const changesLeft = idsOf(left).changes
          for (const key of keysOf(table).slice(0, 6)) {
            const given = table === "pairs" ? (JSON.parse(key) as ReadonlyArray<string>) : key
            const { items } = yield* Query.history(table, given, { limit: 1000 })
            const told = items.map(({ id }) => id)
            same(`history of ${table} ${key}: gone`, without(told, changesLeft), [])
            const ofKey = left.changes.filter(
              (change) => change.table === table && (change.key === key || change.previous === key)
            )
            same(
              `history of ${table} ${key}: not told`,
              without(
                ofKey.map(({ id }) => id),
                told
              ),
              []
            )
          }
        }
        const all = idsOf(origin).changes
        for (const { consume, received } of consumers) {
          const had = [...received]
          received.length = 0
          yield* consume
          expect(sorted(received)).toEqual(sorted(without(setting.ignoreFeed ? idsOf(left).changes : all, had)))
        }
        if (setting.archive) {
          expect(sorted(yield* exported("after"))).toEqual(sorted(idsOf(left).changes))
        }
        if (setting.maintain) {
          yield* maintained
          yield* Continuity.baseline({ tables: [...keyed] })
          const at = String(yield* db.value("select clock_timestamp()::text"))
          const rows = yield* json<Truth>(truth)
          for (const table of keyed) {
            const keys = Object.keys(rows[table] ?? {})
            const known = yield* asked(table, keys, { at: new Date(Date.parse(at)).toISOString(), rows })
            same(`baseline of ${table}`, [...known].sort(), [...keys].sort())
          }
        }
      })
      yield* Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(steps, settings, (history, setting) => {
            const directory = mkdtempSync(join(tmpdir(), "threadline-retention-"))
            return Runtime.runPromise(runtime)(
              Effect.ensuring(check(history, setting, directory), Effect.ignore(other.run("rollback")))
            ).finally(() => rmSync(directory, { recursive: true }))
          }),
          { numRuns: runs(8), endOnFailure: true }
        )
      )
    })
  )
})
