/** DDL of capture against writers that hold a partition and want its root: a write is never what a deadlock costs. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "@effect/sql/SqlClient"
import type pg from "pg"
import * as Capture from "../../../src/Capture.js"
import { clientOf } from "../../harness/client.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { as, changes, fresh, run, value } from "../../support/capture.js"

const deadlockTimeout = 400

const outcome = (session: pg.Client, statement: string) =>
  Effect.promise(() =>
    session.query(statement).then(
      () => "done",
      (error: unknown) => String(error)
    )
  )

/** A partitioned table of four rows, and sessions that look for deadlocks after a shorter time than usual. */
const preparedWith = (deadlockTimeout: number) =>
  Effect.gen(function* () {
    const database = yield* TestDatabase.TestDatabase
    yield* run(
      "create table busy (id int primary key, n int not null default 0) partition by list (id)",
      ...[1, 2, 3].map((id) => `create table busy_${id} partition of busy for values in (${id})`),
      "insert into busy select g from generate_series(1, 3) g",
      `do $$ begin execute format('alter database %I set deadlock_timeout = ${deadlockTimeout}', current_database()); end $$`
    )
    const client = clientOf(database.url)
    const capture = yield* Effect.provide(Capture.Capture, yield* Layer.build(Layer.provide(Capture.layer, client)))
    return { capture, session: database.rawClient() }
  })

/** Of a role that may make triggers and no more. */
const triggerOnly = () =>
  Effect.gen(function* () {
    const { capture, sql } = yield* as("deployer")
    const [row] = yield* sql<{ name: string }>`select quote_ident(current_user) as name`
    const deployer = row?.name ?? ""
    const database = yield* TestDatabase.TestDatabase
    const owner = yield* database.ownOwner
    yield* run(
      `grant ${owner} to ${deployer}`,
      `grant trigger on busy, busy_1, busy_2, busy_3 to ${deployer}`,
      `grant select on busy, busy_1, busy_2, busy_3 to ${owner}`
    )
    return capture
  })

const prepared = preparedWith(deadlockTimeout)

const isWaiting = Effect.repeat(
  value(
    "select count(*)::int from pg_locks join pg_database d on d.oid = database where not granted and locktype = 'relation' and datname = current_database() and mode <> 'RowExclusiveLock'"
  ),
  { until: (waiting) => waiting === 1 }
)

/** Writers hold all partitions. Those that end first make room, each of them for long; the last one wants the root. */
const severalPartitions = (
  before: (
    capture: Capture.Capture["Type"]
  ) => Effect.Effect<
    Capture.Capture["Type"],
    unknown,
    Capture.Capture | SqlClient.SqlClient | TestDatabase.TestDatabase | Scope.Scope
  >,
  config: Capture.TableConfig
) =>
  fresh(
    Effect.gen(function* () {
      const deadlockTimeout = 2000
      const { capture, session } = yield* preparedWith(deadlockTimeout)
      const deploying = yield* before(capture)
      const [last, ...holders] = [yield* session, yield* session, yield* session]
      for (const [index, holder] of [...holders, last].entries()) {
        yield* Effect.promise(() => holder.query(`begin; update busy_${index + 1} set n = 1`))
      }
      const applying = yield* Effect.fork(deploying.apply([config], { lockTimeout: "1 minute" }))
      yield* isWaiting
      const writing = yield* Effect.fork(
        Effect.forEach(["insert into busy values (2, 0) on conflict do nothing", "commit"], (statement) =>
          outcome(last, statement)
        )
      )
      for (const holder of holders) {
        yield* Effect.sleep(deadlockTimeout * 0.4)
        yield* Effect.promise(() => holder.query("commit"))
      }
      expect(yield* Fiber.join(writing)).toEqual(["done", "done"])
      yield* Fiber.join(applying)
      yield* run("update busy set n = 2 where id = 3")
      expect(yield* changes).toContain("busy update 3")
    })
  )

const ddl = {
  apply: {
    held: "busy_1",
    before: () => Effect.void,
    change: (capture: Capture.Capture["Type"]) => capture.apply([{ table: "busy" }]),
    steps: ["attach public.busy"]
  },
  remove: {
    held: "busy_1",
    before: (capture: Capture.Capture["Type"]) => capture.apply([{ table: "busy" }]),
    change: (capture: Capture.Capture["Type"]) => capture.remove(["busy"]),
    steps: ["detach public.busy"]
  },
  prune: {
    held: "busy_1",
    before: (capture: Capture.Capture["Type"]) => capture.apply([{ table: "busy" }]),
    change: (capture: Capture.Capture["Type"]) => capture.apply([], { prune: true }),
    steps: ["detach public.busy"]
  },
  "apply to a new partition": {
    held: "busy_4",
    before: (capture: Capture.Capture["Type"]) =>
      Effect.zipRight(
        capture.apply([{ table: "busy" }]),
        run("create table busy_4 partition of busy for values in (4)")
      ),
    change: (capture: Capture.Capture["Type"]) => capture.apply([{ table: "busy" }]),
    steps: ["attach partition public.busy"]
  }
} as const

describe("deadlocks with writers", () => {
  for (const [kind, { before, change, held, steps }] of Object.entries(ddl)) {
    it.live(`cost no write if ${kind} waits for a partition that the writer holds, and the writer for the root`, () =>
      fresh(
        Effect.gen(function* () {
          const { capture, session } = yield* prepared
          yield* before(capture)
          const writer = yield* session
          yield* Effect.promise(() => writer.query(`begin; lock table ${held} in row exclusive mode`))
          const changing = yield* Effect.fork(change(capture))
          yield* isWaiting
          // Later than when the one that waits first has looked, and found nothing.
          yield* Effect.sleep(deadlockTimeout * 1.3)
          expect(yield* outcome(writer, "update busy set n = n + 1 where id = 2")).toBe("done")
          expect(yield* outcome(writer, "commit")).toBe("done")
          expect((yield* Fiber.join(changing)).map((step) => `${step.kind} ${step.table}`)).toEqual([...steps])
        })
      )
    )
  }

  it.live("cost no write if the role of the writer looks for deadlocks sooner than that of capture", () =>
    fresh(
      Effect.gen(function* () {
        const { capture } = yield* preparedWith(5000)
        const database = yield* TestDatabase.TestDatabase
        const app = yield* database.role("app")
        yield* run(
          `grant all on busy, busy_1, busy_2, busy_3 to ${app.name}`,
          `alter role ${app.name} in database ${database.name} set deadlock_timeout = '0.3s'`
        )
        const writer = yield* database.rawClient("app")
        yield* Effect.promise(() => writer.query("begin; update busy_1 set n = 1"))
        const changing = yield* Effect.fork(capture.apply([{ table: "busy" }], { lockTimeout: "1 minute" }))
        yield* isWaiting
        expect(yield* outcome(writer, "update busy set n = n + 1 where id = 2")).toBe("done")
        expect(yield* outcome(writer, "commit")).toBe("done")
        expect((yield* Fiber.join(changing)).map(({ kind }) => kind)).toEqual(["attach"])
      })
    )
  )

  it.live("cost no write if one attempt waits for several partitions, one after the other", () =>
    severalPartitions(Effect.succeed, { table: "busy" })
  )

  it.live("cost no write if the role that does it may only make triggers", () =>
    severalPartitions(triggerOnly, { table: "busy", mode: "row" })
  )

  it.live("cost no write if PostgreSQL makes the missing triggers in all partitions at once", () =>
    severalPartitions(
      (capture) =>
        Effect.as(
          Effect.zipRight(
            capture.apply([{ table: "busy", mode: "row" }]),
            run(
              `do $$ begin
                 execute (
                   select format('drop trigger %I on busy', tgname)
                   from pg_trigger
                   where tgrelid = 'busy'::regclass and tgtype & 1 = 1
                   limit 1
                 );
               end $$`
            )
          ),
          capture
        ),
      { table: "busy", mode: "row" }
    )
  )
})
