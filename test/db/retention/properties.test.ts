/** Random logs, policies and holds: what a plan counts is what a purge removes, and both are what a simple model says. */
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as fc from "effect/FastCheck"
import * as Retention from "../../../src/Retention.js"
import * as log from "../../support/query.js"
import { heldKeys, type Move } from "../../support/retentionModel.js"
import * as TestDatabase from "../../harness/TestDatabase.js"

const database = Retention.layer.pipe(Layer.provideMerge(TestDatabase.layer))

const day = 86_400_000
const start = Date.UTC(2026, 0, 1)
const at = (days: number): string => new Date(start + Math.round(days * day)).toISOString()

interface Entry {
  readonly day: number
  readonly actor: string | null
  readonly impersonator: string | null
  readonly correlation: string | null
  readonly actions: ReadonlyArray<{ readonly name: string; readonly actor: string | null }>
  readonly changes: ReadonlyArray<{
    readonly table: string
    readonly key: string
    /** The key that the row had before, if the change gave it another one. */
    readonly previous: string | null
    readonly later: number
  }>
}

const who = fc.option(fc.constantFrom("a", "b", "c"), { freq: 3 })
const entry: fc.Arbitrary<Entry> = fc.record({
  // Half an hour off every cutoff, which moves on with the clock.
  day: fc.integer({ min: 0, max: 118 * 24 }).map((hours) => (hours + 0.5) / 24),
  actor: who,
  impersonator: who,
  correlation: fc.option(fc.constantFrom("x", "y")),
  actions: fc.array(fc.record({ name: fc.constantFrom("one", "two", "three"), actor: who }), { maxLength: 2 }),
  changes: fc.array(
    fc.record({
      table: fc.constantFrom("posts", "notes", "logs"),
      key: fc.constantFrom("1", "2", "3", "4"),
      previous: fc.option(fc.constantFrom("1", "2", "3", "4"), { freq: 3 }),
      later: fc.integer({ min: 0, max: 20 }).map((hours) => hours / 24)
    }),
    { minLength: 1, maxLength: 3 }
  )
})

const keep = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 125 }) },
  { weight: 1, arbitrary: fc.constant(null) }
)

const hold = fc.oneof(
  fc.record({ kind: fc.constant("table" as const), of: fc.constantFrom("posts", "notes") }),
  fc.record({ kind: fc.constant("row" as const), of: fc.constantFrom("1", "2") }),
  fc.record({ kind: fc.constant("actor" as const), of: fc.constantFrom("a", "b") }),
  fc.record({ kind: fc.constant("correlation" as const), of: fc.constantFrom("x", "y") })
)

const setting = fc.record({
  keep: fc.integer({ min: 0, max: 125 }),
  posts: fc.option(keep),
  notes: fc.option(keep),
  two: fc.option(keep),
  holds: fc.array(hold, { maxLength: 2 }),
  batchSize: fc.integer({ min: 1, max: 7 }),
  maxBatches: fc.option(fc.integer({ min: 1, max: 5 })),
  // Days before which purges one after the other remove something, the last one whatever is due.
  before: fc
    .array(fc.integer({ min: 0, max: 120 }), { maxLength: 2 })
    .map((days) => [...days.sort((a, b) => a - b), 1000])
})
type Setting = typeof setting extends fc.Arbitrary<infer A> ? A : never

const policyOf = (given: Setting, now: number): Retention.Policy => {
  // A policy speaks of durations: those whose ends are days of the log.
  const duration = (days: number | null): Retention.Keep =>
    days === null ? "forever" : `${Math.round((now - (start + days * day)) / 1000)} seconds`
  const tables = {
    ...(given.posts === null ? {} : { posts: duration(given.posts) }),
    ...(given.notes === null ? {} : { notes: duration(given.notes) })
  }
  return {
    keep: duration(given.keep),
    tables,
    ...(given.two === null ? {} : { actions: { two: duration(given.two) } }),
    holds: given.holds.map(({ kind, of }): Retention.Hold => {
      switch (kind) {
        case "table":
          return { table: of, reason: "test" }
        case "row":
          return { table: "posts", key: of, reason: "test" }
        case "actor":
          return { actor: { type: "user", id: of }, reason: "test" }
        case "correlation":
          return { correlationId: of, reason: "test" }
      }
    })
  }
}

/** A hold of a row that nobody knows is refused: a test of its own has that. */
const ofKnownRows =
  (entries: ReadonlyArray<Entry>) =>
  ({ kind, of }: Setting["holds"][number]): boolean =>
    kind !== "row" ||
    entries.some(({ changes }) =>
      changes.some(({ key, previous, table }) => table === "posts" && (key === of || previous === of))
    )

/** The moves of posts from key to key, at instants in days. */
const movesOf = (entries: ReadonlyArray<Entry>): ReadonlyArray<Move> =>
  entries.flatMap(({ changes, day }) =>
    changes.flatMap(({ key, later, previous, table }) =>
      table === "posts" && previous !== null && previous !== key ? [{ key, previous, at: day + later }] : []
    )
  )

/** What stays, by a model of three lists. */
const staying = (
  entries: ReadonlyArray<Entry>,
  given: Setting,
  cutoff: (days: number | null | undefined) => number
) => {
  const has = (kind: string, of: string | null) =>
    of !== null && given.holds.some((one) => one.kind === kind && one.of === of)
  const rowHolds = given.holds.filter(({ kind }) => kind === "row").map(({ of }) => heldKeys(movesOf(entries), of))
  const limit = (table: string) =>
    cutoff(
      table === "posts" && given.posts !== null
        ? given.posts
        : table === "notes" && given.notes !== null
          ? given.notes
          : given.keep
    )
  const latest = Math.max(limit("posts"), limit("notes"), cutoff(given.keep))
  const changes: Array<string> = []
  const transactions: Array<string> = []
  const actions: Array<string> = []
  entries.forEach((one, t) => {
    const held =
      has("actor", one.actor) ||
      has("actor", one.actor === null ? null : one.impersonator) ||
      has("correlation", one.correlation)
    const actionHeld = (action: Entry["actions"][number]) =>
      has("actor", action.actor) || has("correlation", one.correlation)
    const keptChanges = one.changes.flatMap((change, index) =>
      start + (one.day + change.later) * day < limit(change.table) &&
      !held &&
      !one.actions.some(actionHeld) &&
      !has("table", change.table) &&
      !(
        change.table === "posts" &&
        rowHolds.some((isOfRow) =>
          [change.key, ...(change.previous === null ? [] : [change.previous])].some((key) =>
            isOfRow(key, one.day + change.later)
          )
        )
      )
        ? []
        : [`${t * 10 + index + 1}`]
    )
    const mayGo = (action: Entry["actions"][number]) =>
      start + one.day * day < cutoff(action.name === "two" && given.two !== null ? given.two : given.keep) &&
      !actionHeld(action)
    const stays = keptChanges.length > 0 || held || start + one.day * day >= latest || !one.actions.every(mayGo)
    changes.push(...keptChanges)
    if (stays) {
      transactions.push(`${t + 1}`)
    }
    one.actions.forEach((action, index) => {
      if (stays || !mayGo(action)) {
        actions.push(`${t * 10 + index + 1}`)
      }
    })
  })
  return { changes, transactions, actions }
}

const writeLog = (entries: ReadonlyArray<Entry>) =>
  log.write({
    transactions: entries.map((one, t) => ({
      id: `${t + 1}`,
      occurredAt: at(one.day),
      actor:
        one.actor === null
          ? null
          : {
              type: "user",
              id: one.actor,
              ...(one.impersonator === null ? {} : { impersonator: { type: "user", id: one.impersonator } })
            },
      correlationId: one.correlation
    })),
    actions: entries.flatMap((one, t) =>
      one.actions.map(({ actor, name }, index) => ({
        id: `${t * 10 + index + 1}`,
        transactionId: `${t + 1}`,
        name,
        actor: actor === null ? null : { type: "user", id: actor },
        correlationId: one.correlation,
        occurredAt: at(one.day)
      }))
    ),
    changes: entries.flatMap((one, t) =>
      one.changes.map(({ key, later, previous, table }, index) => ({
        id: `${t * 10 + index + 1}`,
        transactionId: `${t + 1}`,
        at: at(one.day + later),
        table,
        op: previous === null ? ("insert" as const) : ("update" as const),
        key,
        previousKey: previous,
        after: { id: key }
      }))
    )
  })

const idsOf = (table: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(
      sql<{
        id: string
      }>`select audit.id::text as id from ${sql.literal(`threadline.${table}`)} audit order by audit.id`,
      (rows) => rows.map(({ id }) => id)
    )
  )

const orphans = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(
    sql<{ id: string }>`
      select c.id::text as id from threadline.audit_changes c
      where not exists (select from threadline.audit_transactions t where t.id = c.transaction_id)`,
    (rows) => rows.length
  )
)

layer(database, { excludeTestServices: true })("Retention against a model", (it) => {
  it.effect("removes exactly what was planned, in one run or in many", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const runtime = yield* Effect.runtime<SqlClient.SqlClient | Retention.Retention>()
      yield* sql`select threadline.current_epoch()`
      const check = (entries: ReadonlyArray<Entry>, given: Setting) =>
        Effect.gen(function* () {
          yield* log.reset
          yield* sql`delete from threadline.retention_runs`
          yield* writeLog(entries)
          const [clock] = yield* sql<{ now: string }>`select (extract(epoch from now()) * 1000)::bigint::text as now`
          const policy = policyOf(given, Number(clock?.now))
          const options = {
            batchSize: given.batchSize,
            pause: 1,
            ...(given.maxBatches === null ? {} : { maxBatches: given.maxBatches })
          }
          // The plan of the last of them says what is due now; those before it have narrower ends.
          for (const limit of given.before) {
            const narrowed = start + limit * day < Number(clock?.now) ? { before: at(limit) } : {}
            const plan = yield* Retention.plan(policy, narrowed)
            const cutoff = (days: number | null | undefined): number =>
              days === null || days === undefined
                ? -Infinity
                : Math.min(
                    start + limit * day,
                    Date.parse(plan.at) - Math.round((Number(clock?.now) - (start + days * day)) / 1000) * 1000
                  )
            const model = staying(entries, given, cutoff)
            const present = {
              changes: (yield* idsOf("audit_changes")).length,
              transactions: (yield* idsOf("audit_transactions")).length,
              actions: (yield* idsOf("audit_actions")).length
            }
            const going = {
              changes: present.changes - model.changes.length,
              transactions: present.transactions - model.transactions.length,
              actions: present.actions - model.actions.length
            }
            expect(plan).toMatchObject(going)
            expect(plan.items.reduce((sum, { changes }) => sum + changes, 0)).toBe(plan.changes)
            const totals = { changes: 0, transactions: 0, actions: 0 }
            let next = plan
            for (let round = 0; round < 500; round++) {
              const run = yield* Retention.purge(next, options)
              totals.changes += run.changes
              totals.transactions += run.transactions
              totals.actions += run.actions
              expect(yield* orphans).toBe(0)
              if (run.state === "completed") {
                break
              }
              expect(run.state).toBe("stopped")
              next = yield* Retention.plan(policy, narrowed)
            }
            expect(totals).toEqual(going)
            expect(yield* idsOf("audit_changes")).toEqual(model.changes.sort((a, b) => Number(a) - Number(b)))
            expect(yield* idsOf("audit_transactions")).toEqual(model.transactions)
            expect(yield* idsOf("audit_actions")).toEqual(model.actions)
          }
        })
      yield* Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(fc.array(entry, { minLength: 1, maxLength: 14 }), setting, async (entries, given) => {
            const { runPromise } = await import("effect/Runtime")
            await runPromise(runtime)(check(entries, { ...given, holds: given.holds.filter(ofKnownRows(entries)) }))
          }),
          { numRuns: 12, endOnFailure: true }
        )
      )
    })
  )
})
