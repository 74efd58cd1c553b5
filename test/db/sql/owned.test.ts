import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { expect, layer } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberStatus from "effect/FiberStatus"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as Capture from "../../../src/Capture.js"
import * as Feed from "../../../src/Feed.js"
import * as Migrations from "../../../src/Migrations.js"
import * as Query from "../../../src/Query.js"
import * as Semantics from "../../../src/Semantics.js"
import * as Grants from "../../../src/internal/schema/grants.js"
import * as Owned from "../../../src/internal/sql/owned.js"
import * as Testing from "../../../src/testing.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import * as Probe from "../../support/probe.js"

const probe: Probe.Probe = { around: Probe.idle }

/** The sessions that a test needs beside the pool under test. */
class Sessions extends Context.Tag("threadline/test/Sessions")<Sessions, { readonly admin: PgClient.PgClient }>() {}

/** A pool of so many connections, which tells of its messages, and all services over it. */
const pool = (maxConnections: number) => {
  const clients = Layer.scopedContext(
    Effect.gen(function* () {
      const admin = yield* PgClient.PgClient
      const database = yield* TestDatabase.TestDatabase
      yield* database.role("app", "superuser")
      yield* admin.unsafe("create role public_reader").pipe(Effect.either)
      yield* admin.unsafe(`
        create table posts (id int primary key, title text);
        create table authors (id int primary key);
        create table books (id int primary key, author int references authors deferrable initially deferred)
      `)
      yield* Effect.flatMap(Capture.Capture, (capture) => capture.apply([{ table: "posts" }])).pipe(
        Effect.provide(Capture.layer)
      )
      yield* admin`insert into posts values (0, 'zero')`
      const app = yield* database.connect("app", { maxConnections, applicationName: "under-test" })
      return Context.make(SqlClient.SqlClient, app).pipe(Context.add(Sessions, { admin }))
    })
  )
  return Layer.fresh(
    Layer.mergeAll(Audit.layer, Semantics.layer, Capture.layer, Feed.layer, Query.layer, Testing.layer).pipe(
      Layer.provideMerge(Layer.fresh(Probe.clientWith(probe))),
      Layer.provideMerge(clients),
      Layer.provideMerge(TestDatabase.layer)
    )
  )
}

type Services =
  | Audit.Audit
  | Semantics.Semantics
  | Capture.Capture
  | Feed.Feed
  | Query.Query
  | Testing.Testing
  | SqlClient.SqlClient
  | Sessions

const insert = (id: number) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into posts values (${id}, 'x')`)

const actor = Actor.user("alice")

/** The calls that own a transaction, and those that send one statement. */
const owning: { readonly [name: string]: Effect.Effect<unknown, unknown, Services> } = {
  "Migrations.status": Migrations.status(),
  "Migrations.run": Migrations.run(),
  "Capture.plan": Effect.flatMap(Capture.Capture, (capture) => capture.plan([{ table: "posts", mask: ["title"] }])),
  "Capture.apply": Effect.flatMap(Capture.Capture, (capture) => capture.apply([{ table: "posts", mask: ["title"] }])),
  "Capture.status": Effect.flatMap(Capture.Capture, (capture) => capture.status()),
  "Capture.migration": Effect.flatMap(Capture.Capture, (capture) => capture.migration([{ table: "posts" }])),
  "Capture.print": Effect.flatMap(Capture.Capture, (capture) => capture.print([{ table: "posts" }])),
  "Feed.read": Feed.read(),
  "Testing.rolledBack": Testing.rolledBack(insert(1)),
  "Testing.withoutCapture": Testing.withoutCapture(insert(1)),
  "Grants.apply": Grants.apply({ writers: [], readers: ["public_reader"], operators: [] }),
  "Audit.transaction": Audit.transaction(insert(1), { action: "post.created", actor }),
  "Audit.scoped": Effect.scoped(
    Effect.flatMap(Audit.scoped({ actor }), (audit) => Effect.zipRight(audit.run(insert(2)), audit.commit))
  )
}

const single: typeof owning = {
  "Feed.consume": Feed.consume("a consumer", () => Effect.void),
  "Audit.record": Audit.record("report.read", { actor }),
  "Query.timeline": Query.timeline(),
  "Query.history": Query.history("posts", "0"),
  "Query.asOf": Query.asOf("posts", "0", new Date()),
  "Query.incident": Query.incident("1")
}

const everything = { ...owning, ...single }

/** What everything above waits for. */
const locks = `
  begin;
  lock table threadline.migrations, threadline.capture_policies, threadline.installs, threadline.feed_checkpoints,
    threadline.audit_changes, threadline.audit_transactions, threadline.audit_actions, posts
  in access exclusive mode;
  grant select on all tables in schema threadline to public
`

/**
 * Gives an effect 0.2 seconds, and expects that it ends about then: within so many milliseconds. A busy machine only ever adds, so one of
 * three attempts has to.
 */
const heedsTimeout = (effect: Effect.Effect<unknown, unknown, Services>, milliseconds: number) =>
  Effect.gen(function* () {
    let fastest = Number.POSITIVE_INFINITY
    for (let attempt = 0; attempt < 3 && fastest > milliseconds; attempt++) {
      const began = performance.now()
      const outcome = yield* Effect.timeoutOption(Effect.exit(effect), "200 millis")
      expect(Option.isNone(outcome)).toBe(true)
      fastest = Math.min(fastest, performance.now() - began)
    }
    expect(fastest).toBeLessThan(milliseconds)
  })

/** Every connection of the pool can be used, and none is in a transaction. */
const isUsable = (connections: number) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const { admin } = yield* Sessions
    const answers = yield* Effect.all(
      Array.from({ length: connections }, () =>
        Effect.scoped(Effect.flatMap(sql.reserve, (one) => one.executeValues("select 1", [])))
      ),
      { concurrency: "unbounded" }
    ).pipe(Effect.timeout("1 minute"))
    expect(answers.length).toBe(connections)
    const [open] = yield* admin<{ readonly count: number }>`
      select count(*)::int as count
      from pg_stat_activity
      where application_name = 'under-test' and state like 'idle in transaction%'`
    expect(open?.count).toBe(0)
  })

layer(pool(1), { excludeTestServices: true })("in a pool of one connection", (it) => {
  for (const [name, call] of Object.entries(everything)) {
    it.effect(
      `${name} heeds a timeout while it waits for the connection, and does not lose it`,
      () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const release = yield* Deferred.make<void>()
          const holds = yield* Deferred.make<void>()
          const holder = yield* Effect.fork(
            Effect.scoped(
              Effect.zipRight(sql.reserve, Effect.zipRight(Deferred.succeed(holds, undefined), Deferred.await(release)))
            )
          )
          yield* Deferred.await(holds)
          yield* heedsTimeout(call, name === "Feed.consume" ? 2000 : 1000)
          yield* Deferred.succeed(release, undefined)
          yield* Fiber.join(holder)
          yield* isUsable(1)
        }),
      300_000
    )

    it.effect(
      `${name} heeds a timeout while a statement of its own waits for a lock`,
      () =>
        Effect.gen(function* () {
          const { admin } = yield* Sessions
          yield* Effect.scoped(
            Effect.gen(function* () {
              const session = yield* admin.reserve
              yield* Effect.addFinalizer(() => Effect.orDie(session.executeRaw("rollback", [])))
              yield* session.executeRaw(locks, [])
              yield* heedsTimeout(call, name === "Feed.consume" ? 3000 : 2000)
              // What it left is cancelled, and holds no lock that others would wait for.
              if (name in owning) {
                yield* Effect.repeat(
                  admin<{ readonly count: number }>`
                    select count(*)::int as count
                    from pg_stat_activity
                    where application_name = 'under-test' and wait_event_type = 'Lock'`,
                  { until: ([waiting]) => waiting?.count === 0 }
                ).pipe(Effect.timeout("1 minute"))
              }
            })
          )
          yield* isUsable(1)
        }),
      300_000
    )
  }

  it.effect("Migrations.status that is interrupted while it waits does not lose the connection", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* sql.reserve
          const waiting = yield* Effect.fork(Migrations.status())
          yield* Effect.repeat(Fiber.status(waiting), { until: FiberStatus.isSuspended })
          expect(Exit.isInterrupted(yield* Fiber.interrupt(waiting))).toBe(true)
        })
      )
      yield* isUsable(1)
    })
  )
})

const backend = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(sql<{ readonly pid: number }>`select pg_backend_pid() as pid`, ([row]) => row?.pid)
)

const said = (code: string) =>
  new SqlError({ cause: Object.assign(new Error("no"), { code, severity: "ERROR" }), message: "no" })

const sql = SqlClient.SqlClient

layer(pool(1), { excludeTestServices: true })("a transaction of Threadline's own", (it) => {
  for (const [name, call] of Object.entries(owning)) {
    it.effect(`${name} throws its connection away if ROLLBACK fails`, () =>
      Effect.gen(function* () {
        const before = yield* backend
        let sent = 0
        probe.around = (message, send) =>
          message === "rollback" ? said("XX000") : ++sent === 2 ? Effect.zipRight(send, said("XX000")) : send
        const exit = yield* Effect.exit(call)
        probe.around = Probe.idle
        expect(Exit.isFailure(exit) && Cause.isFailType(exit.cause)).toBe(true)
        yield* isUsable(1)
        expect(yield* backend).not.toBe(before)
      })
    )
  }

  for (const [name, call] of Object.entries(owning).filter(([owner]) => /^(Feed|Audit)/.test(owner))) {
    it.effect(`${name} throws its connection away if ROLLBACK is not answered`, () =>
      Effect.gen(function* () {
        const before = yield* backend
        let sent = 0
        probe.around = (message, send) =>
          message === "rollback" ? Effect.never : ++sent === 2 ? Effect.zipRight(send, said("XX000")) : send
        const exit = yield* Effect.exit(call)
        probe.around = Probe.idle
        expect(Exit.isFailure(exit) && Cause.isFailType(exit.cause)).toBe(true)
        yield* isUsable(1)
        expect(yield* backend).not.toBe(before)
      })
    )
  }

  it.effect("is a typed failure if COMMIT fails", () =>
    Effect.gen(function* () {
      const client = yield* sql
      const error = yield* Effect.flip(
        Owned.transaction(client, Owned.beginWriting(), client`insert into books values (1, 7)`)
      )
      expect(error).toMatchObject({ _tag: "SqlError", cause: { code: "23503" } })
      yield* isUsable(1)
    })
  )

  it.effect("is a typed failure if COMMIT answers ROLLBACK", () =>
    Effect.gen(function* () {
      const client = yield* sql
      const error = yield* Effect.flip(
        Owned.transaction(client, Owned.beginWriting(), Effect.either(client`select 1 / 0`))
      )
      expect(error).toMatchObject({ _tag: "SqlError", cause: { code: "25P02" } })
      expect(error.message).toContain("COMMIT did not commit")
      yield* isUsable(1)
    })
  )

  it.effect("says that its outcome is unknown if the connection is lost while COMMIT is under way", () =>
    Effect.gen(function* () {
      const client = yield* sql
      probe.around = (message, send) => (message === "commit" ? Effect.zipRight(send, said("57P01")) : send)
      const error = yield* Effect.flip(
        Owned.transaction(client, Owned.beginWriting(), client`insert into authors values (1)`)
      )
      probe.around = Probe.idle
      expect(error.message).toContain("may or may not have happened")
      expect(yield* client`select id from authors`).toEqual([{ id: 1 }])
    })
  )

  it.effect("is a savepoint inside a transaction of the caller's, which goes on if it fails", () =>
    Effect.gen(function* () {
      const client = yield* sql
      const inner = (id: number, then: Effect.Effect<unknown, unknown, never>) =>
        Owned.transactionOrSavepoint(
          client,
          Owned.beginWriting(),
          Effect.zipRight(client`insert into posts values (${id}, 'inner')`, then)
        )
      yield* client.withTransaction(
        Effect.gen(function* () {
          yield* client`insert into posts values (100, 'outer')`
          yield* inner(101, Effect.void)
          expect(yield* Effect.either(inner(102, client`select 1 / 0`))).toMatchObject({ _tag: "Left" })
          expect(yield* Effect.either(inner(103, inner(104, Effect.fail("no"))))).toMatchObject({ left: "no" })
          yield* inner(105, Effect.either(inner(106, client`select 1 / 0`)))
        })
      )
      const rows = yield* client<{ readonly id: number }>`select id from posts where id >= 100 order by id`
      expect(rows.map(({ id }) => id)).toEqual([100, 101, 105])
    })
  )

  it.effect("gives the caller its settings back after a read inside the caller's transaction", () =>
    Effect.gen(function* () {
      const client = yield* sql
      const settings = client<{ readonly path: string; readonly jit: string; readonly sort: string }>`
        select current_setting('search_path') as path, current_setting('jit') as jit, current_setting('enable_sort') as sort`
      yield* client.withTransaction(
        Effect.gen(function* () {
          yield* client.unsafe(`set local search_path = "$user", public, "Odd, Name"`)
          const before = yield* settings
          yield* Effect.flatMap(Capture.Capture, (capture) => capture.status())
          yield* Feed.read()
          yield* Effect.either(Owned.snapshot(client, { search_path: "pg_catalog, pg_temp" }, Effect.fail("no")))
          expect(yield* settings).toEqual(before)
        })
      )
    })
  )
})

/** What a call has done, all or nothing. */
const titles = Effect.flatMap(Sessions, ({ admin }) =>
  Effect.map(
    admin<{ readonly state: string }>`
      select json_build_array(
        (select masked from threadline.capture_policies where table_name = 'posts' and removed_at is null),
        (select count(*) from pg_trigger where tgrelid = 'posts'::regclass and not tgisinternal),
        (select count(*) from posts where id in (1, 2)),
        (select count(*) from threadline.audit_changes where row_key in ('1', '2'))
      )::text as state`,
    ([row]) => row?.state
  )
)

layer(pool(2), { excludeTestServices: true })("interrupted at every message", (it) => {
  for (const [name, call] of Object.entries(owning)) {
    it.effect(
      `${name} is all or nothing, and loses no connection`,
      () =>
        Effect.gen(function* () {
          const { admin } = yield* Sessions
          const reset = Effect.gen(function* () {
            yield* admin`delete from posts where id in (1, 2)`
            yield* admin`delete from threadline.audit_changes where row_key in ('1', '2')`
            yield* Effect.flatMap(Capture.Capture, (capture) =>
              capture.apply([{ table: "posts" }], { allowLessRedaction: true })
            )
          })
          yield* reset
          const clean = yield* titles
          const at = (moment: number, phase: Probe.Phase) =>
            Effect.gen(function* () {
              if ((yield* titles) !== clean) {
                yield* reset
                expect(yield* titles).toBe(clean)
              }
              const { exit, sent } = yield* Probe.interruptedAt(probe, moment, phase, call)
              yield* isUsable(2)
              return { sent, exit, after: yield* titles }
            })
          const whole = yield* at(0, "before")
          expect(Exit.isSuccess(whole.exit)).toBe(true)
          for (let moment = 1; moment <= whole.sent; moment++) {
            for (const phase of Probe.phases) {
              const { after, exit } = yield* at(moment, phase)
              expect([clean, whole.after]).toContain(after)
              if (Exit.isSuccess(exit)) {
                expect(after).toBe(whole.after)
              }
            }
          }
        }),
      300_000
    )
  }
})
