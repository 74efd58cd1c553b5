import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as v8 from "node:v8"
import * as vm from "node:vm"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import * as Host from "../../support/auditedHost.js"
import { auditError, reasonOf } from "../../support/errors.js"

const alice = Actor.user("alice")
const options = { action: "post.created", actor: alice } as const

layer(Host.layerWith({ maxConnections: 1 }), { excludeTestServices: true })(
  "a session of audited transactions",
  (it) => {
    it.effect("carries nothing over, neither after COMMIT nor after ROLLBACK", () =>
      Effect.gen(function* () {
        yield* Host.reset
        const sql = yield* SqlClient.SqlClient
        const settings = sql<{ readonly all: string | null }>`
        select concat_ws(
          ',',
          nullif(current_setting('threadline.context', true), ''),
          nullif(current_setting('threadline.transaction', true), ''),
          nullif(current_setting('threadline.actions', true), ''),
          nullif(current_setting('threadline.parts', true), '')
        ) as all
      `
        yield* Audit.transaction(Host.insertPost(1), options)
        expect(yield* settings).toEqual([{ all: "" }])
        yield* Host.insertPost(2)
        yield* Effect.either(Audit.transaction(Effect.zipRight(Host.insertPost(3), Effect.fail("undo")), options))
        expect(yield* settings).toEqual([{ all: "" }])
        yield* sql.withTransaction(Host.insertPost(4))
        yield* Effect.either(
          sql.withTransaction(Effect.zipRight(Audit.transaction(Host.insertPost(5), options), Effect.fail("undo")))
        )
        yield* Host.insertPost(6)
        expect((yield* Host.changes).map(({ actor, row }) => [row, actor])).toEqual([
          ["1", "user:alice"],
          ["2", null],
          ["4", null],
          ["6", null]
        ])
        const errors = (yield* Host.transactions).map((transaction) => transaction["context_error"])
        expect(errors).toEqual([null, null, null, null])
        expect((yield* Host.actions).length).toBe(1)
      })
    )

    it.effect("never takes its actor from a context that was set for the session, or leaked", () =>
      Effect.gen(function* () {
        yield* Host.reset
        const sql = yield* SqlClient.SqlClient
        const audited = yield* Audit.transaction(
          Effect.zipRight(
            Host.insertPost(1),
            sql<{ readonly context: string; readonly transaction: string }>`
            select current_setting('threadline.context') as context,
              current_setting('threadline.transaction') as transaction
          `
          ),
          options
        )
        const real = audited.value[0]
        const forged = [
          real?.context ?? "",
          `{"actor": {"type": "admin", "id": "mallory"}}`,
          `${Date.now() / 1000} {"actor": {"type": "admin", "id": "mallory"}}`
        ]
        for (const [index, context] of forged.entries()) {
          yield* sql`select set_config('threadline.context', ${context}, false)`
          yield* sql`select set_config('threadline.transaction', ${real?.transaction ?? ""}, false)`
          yield* Host.insertPost(10 + index)
          const nothing = yield* Audit.transaction(Effect.void, { actor: Actor.user("bob") })
          expect(nothing.transactionId).toEqual(Option.none())
          yield* Audit.transaction(Host.insertPost(20 + index), { action: "a", actor: Actor.user("bob") })
        }
        yield* sql`reset all`
        const changes = yield* Host.changes
        expect(changes.map(({ actor, row }) => [row, actor])).toEqual([
          ["1", "user:alice"],
          ["10", null],
          ["20", "user:bob"],
          ["11", null],
          ["21", "user:bob"],
          ["12", null],
          ["22", "user:bob"]
        ])
        const wrong = (yield* Host.transactions).filter((transaction) => transaction["actor_id"] === null)
        expect(wrong.map((transaction) => transaction["context_error"])).toEqual(
          forged.map(() => expect.stringContaining("context"))
        )
        expect(new Set(changes.map(({ transaction }) => transaction)).size).toBe(7)
      })
    )

    it.effect(
      "keeps nothing of 3,000 of them, here or in the session",
      () =>
        Effect.gen(function* () {
          yield* Host.reset
          const owner = yield* Host.Owner
          const sql = yield* SqlClient.SqlClient
          const role = yield* (yield* TestDatabase.TestDatabase).role("app")
          yield* owner`grant pg_read_all_stats to ${owner.literal(role.name)}`
          v8.setFlagsFromString("--expose-gc")
          const heap = Effect.sync(() => {
            vm.runInNewContext("gc()")
            return process.memoryUsage().heapUsed
          })
          const backend = Effect.map(
            sql<{ readonly used: number }>`select sum(used_bytes)::float8 as used from pg_backend_memory_contexts`,
            (rows) => rows[0]?.used ?? 0
          )
          yield* sql`insert into ledger (id, amount) values (1, 0)`
          const oneTransaction = Audit.transaction(sql`update ledger set amount = amount + 1 where id = 1`, options)
          const batch = Effect.gen(function* () {
            for (let n = 0; n < 500; n++) {
              yield* oneTransaction
            }
            return { heap: yield* heap, backend: yield* backend }
          })
          // Code is compiled and caches are filled in the first.
          yield* batch
          const first = yield* batch
          yield* batch
          yield* batch
          yield* batch
          const last = yield* batch
          expect(yield* sql`select amount from ledger`).toEqual([{ amount: 3000 }])
          // Of the process a kilobyte a transaction, of its session a hundred bytes: what is kept of each would be more.
          expect(last.heap - first.heap).toBeLessThan(2_000_000)
          expect(last.backend - first.backend).toBeLessThan(200_000)
        }),
      300_000
    )
  }
)

layer(Host.layerWith({ maxConnections: 1 }), { excludeTestServices: true })(
  "a client that transforms names and types",
  (it) => {
    it.effect("does not disturb an audited transaction", () =>
      Effect.gen(function* () {
        yield* Host.reset
        const database = yield* TestDatabase.TestDatabase
        const client = yield* database.connect("app", {
          maxConnections: 1,
          transformResultNames: (name) => name.toUpperCase(),
          transformQueryNames: (name) => name.toLowerCase(),
          types: { getTypeParser: (oid: number) => (text: unknown) => (oid === 25 ? text : `<${String(text)}>`) }
        })
        const audited = yield* Audit.transaction(
          Effect.zipRight(client`insert into posts (id, title) values (1, 'x')`, Audit.record("read")),
          { action: "post.created", actor: alice, meta: { snake_case: 1 } }
        ).pipe(Effect.provide(Layer.fresh(Audit.layer).pipe(Layer.provide(Layer.succeed(SqlClient.SqlClient, client)))))
        expect(Option.isSome(audited.transactionId)).toBe(true)
        expect(yield* Host.transactions).toMatchObject([{ actor_id: "alice", meta: { snake_case: 1 } }])
        expect((yield* Host.actions).map(({ name }) => name)).toEqual(["read", "post.created"])
      }).pipe(Effect.scoped)
    )
  }
)

layer(Host.layer, { excludeTestServices: true })("Audit.transaction, if the database cannot be used", (it) => {
  const auditAs = (client: SqlClient.SqlClient) =>
    Layer.fresh(Audit.layer).pipe(Layer.provide(Layer.succeed(SqlClient.SqlClient, client)))

  it.effect("fails with InsufficientPrivilege before the body runs, if the role has no grant", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const stranger = yield* (yield* TestDatabase.TestDatabase).connect("stranger")
      const error = yield* auditError(Audit.transaction(Effect.die("not run"), options)).pipe(
        Effect.provide(auditAs(stranger))
      )
      expect(error).toMatchObject({ reason: "InsufficientPrivilege", sqlState: "42501" })
      expect(error.message).toContain("threadline grant")
      expect(yield* reasonOf(Audit.record("read", { actor: alice })).pipe(Effect.provide(auditAs(stranger)))).toBe(
        "InsufficientPrivilege"
      )
    }).pipe(Effect.scoped)
  )

  it.effect("rolls back and fails with InsufficientPrivilege, if finish alone is not granted", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const owner = yield* Host.Owner
      const role = owner.literal((yield* (yield* TestDatabase.TestDatabase).role("app")).name)
      yield* owner`revoke execute on function threadline.finish(jsonb) from ${role}`
      expect(yield* reasonOf(Audit.transaction(Host.insertPost(1), options))).toBe("InsufficientPrivilege")
      yield* owner`grant execute on function threadline.finish(jsonb) to ${role}`
      expect(yield* Host.postIds).toEqual([])
      expect(yield* Host.poolIsClean(5)).toBe(true)
    })
  )

  it.effect("fails with Unreachable, if the role may not log in any more", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const database = yield* TestDatabase.TestDatabase
      const owner = yield* Host.Owner
      const role = yield* database.role("app")
      yield* Host.poolIsClean(1)
      yield* owner`alter role ${owner.literal(role.name)} nologin`
      yield* owner`select pg_terminate_backend(pid) from pg_stat_activity where usename = ${role.name}`
      const sessions = owner`select from pg_stat_activity where usename = ${role.name}`
      yield* Effect.repeat(sessions, { until: (rows) => rows.length === 0 })
      const reasons = yield* Effect.forEach([1, 2, 3, 4, 5, 6], () => reasonOf(Audit.transaction(Effect.void, options)))
      expect(reasons.at(-1)).toBe("Unreachable")
      yield* owner`alter role ${owner.literal(role.name)} login`
      yield* Audit.transaction(Host.insertPost(1), options)
      expect(yield* Host.postIds).toEqual([1])
    })
  )
})

layer(TestDatabase.layerEmpty, { excludeTestServices: true })(
  "Audit.transaction in a database without Threadline",
  (it) => {
    it.effect("fails with NotMigrated, and the body does not run", () =>
      Effect.gen(function* () {
        const error = yield* auditError(Audit.transaction(Effect.die("not run"), options))
        expect(error).toMatchObject({ reason: "NotMigrated", sqlState: "3F000" })
        expect(error.message).toContain("threadline migrate up")
        expect(yield* reasonOf(Audit.record("read", { actor: alice }))).toBe("NotMigrated")
      }).pipe(Effect.provide(Audit.layer))
    )
  }
)
