import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it as test, layer as suite } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Capture from "../../../src/Capture.js"
import * as Feed from "../../../src/Feed.js"
import * as Query from "../../../src/Query.js"
import { apply as grant } from "../../../src/internal/schema/grants.js"
import * as snapshots from "../../../src/internal/feed/snapshot.js"
import { StorageSchema } from "../../../src/internal/sql/storageSchema.js"
import { InvalidRequest } from "../../../src/ThreadlineError.js"
import { clientOf } from "../../harness/client.js"
import { emptiedLog } from "../../support/emptied.js"
import { connect, drain } from "../../support/feed.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { eventually } from "../../support/until.js"

const setup = Layer.scopedDiscard(
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* sql`create table posts (id int primary key, title text, tenant text)`
    yield* sql`create table notes (id int primary key, body text)`
    const capture = yield* Capture.Capture
    yield* capture.apply([{ table: "posts" }, { table: "notes" }])
  })
).pipe(Layer.provide(Capture.layer))

const layer = Layer.merge(Feed.layer, setup).pipe(Layer.provideMerge(TestDatabase.layer))

/** An empty log and empty tables. */
const reset = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`truncate posts, notes, threadline.feed_checkpoints`
  yield* sql.unsafe(emptiedLog)
})

let serial = 0

/** So many transactions of one post each; their ids in order. */
const posts = (count: number, tenant = "a") =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    return yield* Effect.forEach(Array.from({ length: count }), () => {
      const id = ++serial
      return Effect.as(sql`insert into posts values (${id}, 'title', ${tenant})`, String(id))
    })
  })

const keys = (changes: Feed.Batch["changes"]) => changes.map(({ rowKey }) => rowKey)

const failureOf = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.flip(effect)

suite(layer, { excludeTestServices: true, timeout: 300_000 })("Feed", (it) => {
  describe("read", () => {
    it.effect("delivers what was committed once, in batches, and says when that is all", () =>
      Effect.gen(function* () {
        yield* reset
        const written = yield* posts(7)
        const first = yield* Feed.read({ limit: 3 })
        expect(keys(first.changes)).toEqual(written.slice(0, 3))
        expect(first.caughtUp).toBe(false)
        const feed = yield* Feed.Feed
        const others = yield* drain(feed, { limit: 3, checkpoint: first.checkpoint })
        expect(others.batches.flatMap(({ changes }) => keys(changes))).toEqual(written.slice(3))
        const again = yield* Feed.read({ checkpoint: others.checkpoint })
        expect(again).toMatchObject({ changes: [], caughtUp: true })
        const [more] = yield* posts(1)
        expect(keys((yield* Feed.read({ checkpoint: again.checkpoint })).changes)).toEqual([more])
        // A checkpoint is no state: read again, it gives the same.
        expect(keys((yield* Feed.read({ checkpoint: again.checkpoint })).changes)).toEqual([more])
        expect(again.checkpoint.length).toBeLessThan(200)
      })
    )

    it.effect("gives a change whole, with its transaction and action", () =>
      Effect.gen(function* () {
        yield* reset
        const sql = yield* SqlClient.SqlClient
        const { checkpoint } = yield* Feed.read({ from: "now" })
        yield* sql`select threadline.set_context('{"actor":{"type":"user","id":"7"},"correlationId":"c"}')`.pipe(
          Effect.zipRight(sql`insert into posts values (0, 'a', 't')`),
          Effect.zipRight(sql`update posts set title = 'b' where id = 0`),
          Effect.zipRight(sql`select threadline.finish('{"action":{"name":"post.edited"}}')`),
          sql.withTransaction
        )
        const { changes } = yield* Feed.read({ checkpoint })
        expect(changes).toMatchObject([
          { op: "insert", tableSchema: "public", tableName: "posts", rowPk: { id: "0" }, changedFields: null },
          {
            op: "update",
            rowKey: "0",
            changedFields: ["title"],
            changedFrom: { title: "a" },
            dataAfter: { id: 0, title: "b", tenant: "t" },
            details: null,
            transaction: { actor: { type: "user", id: "7" }, correlationId: "c" },
            action: { name: "post.edited", status: "ok" }
          }
        ])
      })
    )

    it.effect("begins now with what is not committed yet", () =>
      Effect.gen(function* () {
        yield* reset
        yield* posts(2)
        const database = yield* TestDatabase.TestDatabase
        const late = yield* database.rawClient()
        yield* Effect.promise(() => late.query("begin; insert into notes values (1, 'late')"))
        const { changes, checkpoint } = yield* Feed.read({ from: "now" })
        expect(changes).toEqual([])
        const [after] = yield* posts(1)
        const next = yield* Feed.read({ checkpoint })
        expect(keys(next.changes)).toEqual([after])
        yield* Effect.promise(() => late.query("commit"))
        expect((yield* Feed.read({ checkpoint: next.checkpoint })).changes).toMatchObject([{ tableName: "notes" }])
      }).pipe(Effect.scoped)
    )

    it.effect("does not deliver what its own transaction wrote and may roll back", () =>
      Effect.gen(function* () {
        yield* reset
        const sql = yield* SqlClient.SqlClient
        const { checkpoint } = yield* Feed.read({ from: "now" })
        const inside = yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`insert into notes values (2, 'own')`
            const settings = sql`select name, setting from pg_settings where name ~ '^(enable_|jit|work_mem)' order by name`
            const before = yield* settings
            const nextBatch = yield* Feed.read({ checkpoint })
            // What a read sets for itself is not left to the host.
            expect(yield* settings).toEqual(before)
            return nextBatch
          })
        )
        expect(inside.changes).toEqual([])
        expect((yield* Feed.read({ checkpoint: inside.checkpoint })).changes).toMatchObject([{ rowKey: "2" }])
      })
    )

    it.effect("delivers only the tables that are asked for, and passes over the rest", () =>
      Effect.gen(function* () {
        yield* reset
        const sql = yield* SqlClient.SqlClient
        yield* posts(3)
        yield* sql`insert into notes values (3, 'n')`
        yield* posts(3)
        const { checkpoint, ...batch } = yield* Feed.read({ tables: ["notes"], limit: 1 })
        expect(batch.changes).toMatchObject([{ tableName: "notes" }])
        const feed = yield* Feed.Feed
        const rest = yield* drain(feed, { tables: ["public.notes", "notes"], checkpoint, limit: 1 })
        expect(rest.ids).toEqual([])
        expect(yield* Feed.read({ tables: ["notes"], checkpoint: rest.checkpoint })).toMatchObject({ caughtUp: true })
        expect((yield* drain(feed, { tables: ["posts", "notes"] })).ids).toHaveLength(7)
      })
    )

    it.effect("does not begin with a table that nobody knows, and does not ask again", () =>
      Effect.gen(function* () {
        yield* reset
        const sql = yield* SqlClient.SqlClient
        const refusal = { _tag: "threadline/NotFound", subject: "table", id: "public.nosuch" }
        const nobody = () => Effect.dieMessage("nothing to handle")
        for (const from of ["beginning", "now"] as const) {
          for (const tables of [["nosuch"], ["posts", "nosuch"]]) {
            expect(yield* failureOf(Feed.read({ from, tables }))).toMatchObject(refusal)
            expect(yield* failureOf(Stream.runDrain(Feed.stream({ from, tables, live: true })))).toMatchObject(refusal)
            expect(yield* failureOf(Feed.consume("c", nobody, { from, tables, live: true }))).toMatchObject(refusal)
          }
        }
        expect(yield* Feed.checkpoints).toEqual([])
        // Known by its policy, by that of a capture that was removed, or by its changes alone.
        yield* sql`create table former (id int primary key)`
        yield* sql`create table forgotten (id int primary key)`
        const capture = yield* Effect.provide(Capture.Capture, Capture.layer)
        yield* capture.apply([{ table: "former" }, { table: "forgotten" }])
        yield* capture.remove(["former"])
        yield* sql`insert into forgotten values (1)`
        yield* capture.remove(["forgotten"])
        yield* sql`delete from threadline.capture_policies where table_name = 'forgotten'`
        const knownBatch = yield* Feed.read({ tables: ["notes", "former", "forgotten"] })
        expect(knownBatch.changes).toMatchObject([{ tableName: "forgotten" }])
        yield* Feed.consume("c", () => Effect.void, { tables: ["forgotten"] })
        const checkpoint = (yield* Feed.read({ tables: ["forgotten"] })).checkpoint
        // As retention leaves it: whoever goes on is not asked again.
        yield* sql`truncate threadline.audit_changes, threadline.audit_transactions`
        expect(yield* failureOf(Feed.read({ tables: ["forgotten"] }))).toMatchObject({ _tag: "threadline/NotFound" })
        expect(yield* Feed.read({ tables: ["forgotten"], checkpoint })).toMatchObject({ changes: [] })
        expect(yield* Feed.consume("c", nobody, { tables: ["forgotten"] })).toMatchObject({ outcome: "CaughtUp" })
        yield* Feed.forget("c")
        expect(yield* failureOf(Feed.consume("c", nobody, { tables: ["forgotten"] }))).toMatchObject({
          _tag: "threadline/NotFound"
        })
      })
    )

    it.effect("pages through a transaction of any size, and others beside it, in the order of their changes", () =>
      Effect.gen(function* () {
        yield* reset
        const sql = yield* SqlClient.SqlClient
        const database = yield* TestDatabase.TestDatabase
        const long = yield* database.rawClient()
        yield* Effect.promise(() =>
          long.query("begin; insert into notes select n, 'x' from generate_series(1, 5000) n")
        )
        yield* posts(20)
        yield* Effect.promise(() => long.query("update notes set body = 'y'"))
        yield* posts(20)
        yield* Effect.promise(() => long.query("commit"))
        const feed = yield* Feed.Feed
        const { batches, ids } = yield* drain(feed, { limit: 700 })
        expect(ids).toHaveLength(10_040)
        const [{ order }] = yield* sql<{
          readonly order: string
        }>`select string_agg(id::text, ',' order by id) as order from threadline.audit_changes`.pipe(
          Effect.map((rows) => [rows[0] ?? { order: "" }] as const)
        )
        expect(ids.join(",")).toBe(order)
        expect(Math.max(...batches.map(({ changes }) => changes.length))).toBe(700)
        expect(Math.max(...batches.map(({ checkpoint }) => checkpoint.length))).toBeLessThan(1000)
      }).pipe(Effect.scoped)
    )

    it.effect("refuses a checkpoint that is none, of other tables, of another version, or of another cluster", () =>
      Effect.gen(function* () {
        yield* reset
        yield* posts(5)
        const { checkpoint } = yield* Feed.read({ limit: 2 })
        const parts = Buffer.from(checkpoint, "base64url").toString().split(" ")
        const forged = (change: (parts: Array<string>) => void) => {
          const copy = [...parts]
          change(copy)
          return Buffer.from(copy.join(" ")).toString("base64url")
        }
        expect(parts.length).toBe(9)
        const none = "is not a checkpoint of a feed"
        for (const [given, rule] of [
          ["", none],
          ["nonsense", none],
          [`${checkpoint}=`, none],
          [forged((all) => all.pop()), none],
          [forged((all) => all.push("1")), none],
          [forged((all) => (all[4] = "-1:")), none],
          [forged((all) => (all[4] = "5:9")), none],
          [forged((all) => (all[4] = "5:1+999999")), none],
          [forged((all) => (all[6] = "99999999999999999999")), none],
          [forged((all) => (all[7] = "1,2")), none],
          [forged((all) => (all[2] = "x")), none],
          [forged((all) => (all[0] = "2")), "was made by another version of Threadline"],
          [
            forged((all) => (all[3] = "AAAAAAAAAAAA")),
            "belongs to another database: this one never was on its cluster"
          ],
          [forged((all) => (all[2] = "7")), "belongs to another database: this one never was on its cluster"],
          [
            forged((all) => (all[5] = `${2n ** 40n}:`)),
            "is ahead of this database, which was set back to an earlier state"
          ]
        ] as const) {
          expect(yield* failureOf(Feed.read({ checkpoint: given })), given).toMatchObject({
            _tag: "threadline/InvalidRequest",
            field: "checkpoint",
            rule
          })
        }
        expect((yield* Feed.read({ checkpoint, tables: undefined, from: "now" })).changes).toHaveLength(3)
        expect(yield* failureOf(Feed.consume("none", () => Effect.void, { tables: [] }))).toMatchObject({
          field: "tables",
          rule: "must not be empty: leave it out for changes of every table"
        })
        expect(yield* failureOf(Feed.read({ checkpoint, tables: ["posts"] }))).toMatchObject({
          field: "checkpoint",
          rule: "belongs to a feed of other tables"
        })
        for (const [options, field] of [
          [{ limit: 0 }, "limit"],
          [{ limit: 10_001 }, "limit"],
          [{ limit: 1.5 }, "limit"],
          [{ tables: ["a.b.c"] }, "tables"],
          [{ tables: [""] }, "tables"],
          [{ tables: [] }, "tables"]
        ] as const) {
          expect(yield* failureOf(Feed.read(options)), field).toMatchObject({
            _tag: "threadline/InvalidRequest",
            field
          })
        }
      })
    )
  })

  describe("stream", () => {
    it.effect("ends where it is caught up, and goes on where it is live", () =>
      Effect.gen(function* () {
        yield* reset
        const written = yield* posts(5)
        const batches = yield* Stream.runCollect(Feed.stream({ limit: 2 }))
        expect([...batches].flatMap(({ changes }) => keys(changes))).toEqual(written)
        const first = yield* Deferred.make<void>()
        const seen = yield* Ref.make<ReadonlyArray<string | null>>([])
        const live = yield* Feed.stream({ limit: 2, live: true, poll: Schedule.spaced("5 millis") }).pipe(
          Stream.tap(({ changes }) => Ref.update(seen, (all) => [...all, ...keys(changes)])),
          Stream.tap(({ caughtUp }) => (caughtUp ? Deferred.succeed(first, undefined) : Effect.void)),
          Stream.takeUntilEffect(() => Effect.map(Ref.get(seen), (all) => all.length >= 8)),
          Stream.runDrain,
          Effect.fork
        )
        yield* Deferred.await(first)
        const more = yield* posts(3)
        yield* Fiber.join(live)
        expect(yield* Ref.get(seen)).toEqual([...written, ...more])
        // A schedule that ends ends the stream.
        expect((yield* Stream.runCollect(Feed.stream({ live: true, poll: Schedule.recurs(0) }))).length).toBe(1)
      })
    )
  })

  describe("scope", () => {
    const tenant =
      (name: string): Feed.ReadScope =>
      (...asked) =>
        asked[0] === "changes" && asked[1].sql`${asked[1].image} ->> 'tenant' = ${name}`

    it.effect("hides what it hides, and the checkpoint passes over it", () =>
      Effect.gen(function* () {
        yield* reset
        const sql = yield* SqlClient.SqlClient
        yield* posts(4, "a")
        const mine = yield* posts(3, "b")
        yield* sql`delete from posts where id = ${Number(mine[0])}`
        yield* sql`insert into notes values (9, 'without a tenant')`
        yield* sql`truncate posts`
        const feed = yield* Feed.Feed
        const scoped = feed.scoped(tenant("b"))
        const scopedBatches = yield* drain(scoped, { limit: 2 })
        expect(scopedBatches.batches.flatMap(({ changes }) => keys(changes))).toEqual([...mine, mine[0]])
        expect(yield* scoped.read({ checkpoint: scopedBatches.checkpoint })).toMatchObject({
          changes: [],
          caughtUp: true
        })
        // A scope on a scope hides more.
        expect((yield* drain(scoped.scoped(tenant("a")))).ids).toEqual([])
        const handled: Array<string | null> = []
        yield* scoped.consume("scoped", ({ changes }) => Effect.sync(() => handled.push(...keys(changes))))
        expect(handled).toEqual([...mine, mine[0]])
      })
    )

    it.effect("holds in the feed of its context if Query.withScope gives it", () =>
      Effect.gen(function* () {
        yield* reset
        const theirs = yield* posts(2, "a")
        const mine = yield* posts(2, "b")
        const asB = Query.withScope(tenant("b"))
        expect(keys((yield* asB(Feed.read())).changes)).toEqual(mine)
        expect(keys((yield* Feed.read().pipe(Query.withScope(tenant("a")), asB)).changes)).toEqual([])
        expect(
          keys(
            (yield* Feed.read().pipe(
              Query.withScope(() => true),
              asB
            )).changes
          )
        ).toEqual(mine)
        const streamed = yield* asB(Stream.runCollect(Feed.stream()))
        expect([...streamed].flatMap(({ changes }) => keys(changes))).toEqual(mine)
        const handled: Array<string | null> = []
        yield* asB(Feed.consume("of b", ({ changes }) => Effect.sync(() => handled.push(...keys(changes)))))
        expect(handled).toEqual(mine)
        expect(keys((yield* Feed.read()).changes)).toEqual([...theirs, ...mine])
        // Where a scope is required this is one.
        const database = yield* TestDatabase.TestDatabase
        const required = yield* connect(database.url, Feed.layerScopeRequired)
        const read = Effect.provideService(asB(Feed.read()), Feed.Feed, required)
        expect(keys((yield* read).changes)).toEqual(mine)
      }).pipe(Effect.provide(Query.layer), Effect.scoped)
    )

    it.effect("is named if it is wrong, without the values that it met", () =>
      Effect.gen(function* () {
        yield* reset
        yield* posts(1, "a secret")
        const feed = yield* Feed.Feed
        const wrong: ReadonlyArray<readonly [condition: string, rule: string]> = [
          ["no_such_column = 1", 'is not understood by the database: column "no_such_column" does not exist'],
          [
            "no_such_function(c.data_after)",
            "is not understood by the database: function no_such_function(jsonb) does not exist"
          ],
          ["exists (select from nowhere)", 'is not understood by the database: relation "nowhere" does not exist'],
          ["true and", 'is not understood by the database: syntax error at or near ")"'],
          [
            "(c.data_after ->> 'tenant')::int = 1",
            "raised an error on a stored row (SQLSTATE 22P02); it must work for every row"
          ]
        ]
        for (const [condition, rule] of wrong) {
          const scoped = feed.scoped((_, { sql }) => sql.literal(condition))
          const refusal = { _tag: "threadline/InvalidRequest", field: "scope", rule }
          expect(yield* failureOf(scoped.read()), condition).toMatchObject(refusal)
          expect(yield* failureOf(Stream.runDrain(scoped.stream())), condition).toMatchObject(refusal)
          expect(yield* failureOf(scoped.consume("wrong", () => Effect.void)), condition).toMatchObject(refusal)
        }
        const sql = yield* SqlClient.SqlClient
        const missing = yield* Effect.provide(
          Feed.Feed,
          Feed.layer.pipe(
            Layer.provide(Layer.succeed(StorageSchema, "nowhere")),
            Layer.provide(Layer.succeed(SqlClient.SqlClient, sql))
          )
        )
        expect(yield* failureOf(missing.scoped(tenant("b")).read())).toMatchObject({ reason: "NotMigrated" })
      })
    )

    it.effect("lets no member do anything without one if it is required", () =>
      Effect.gen(function* () {
        yield* reset
        yield* posts(1, "b")
        yield* Feed.consume("siem", () => Effect.void)
        const database = yield* TestDatabase.TestDatabase
        const feed = yield* connect(database.url, Feed.layerScopeRequired)
        type Members = Exclude<keyof Feed.Service, "scoped">
        const escapes = (from: Feed.Service): { readonly [M in Members]: Effect.Effect<unknown, Feed.FeedError> } => ({
          read: from.read(),
          stream: Stream.runDrain(from.stream()),
          consume: from.consume("x", () => Effect.void),
          checkpoints: from.checkpoints,
          forget: from.forget("siem")
        })
        expect(Object.keys(escapes(feed)).sort()).toEqual(
          Object.keys(feed)
            .filter((name) => name !== "scoped")
            .sort()
        )
        for (const [member, escape] of Object.entries(escapes(feed))) {
          expect(yield* failureOf(escape), member).toMatchObject({ _tag: "threadline/InvalidRequest", field: "scope" })
        }
        expect((yield* Feed.checkpoints).map(({ name }) => name)).toEqual(["siem"])
        const scoped = feed.scoped(tenant("b"))
        expect((yield* scoped.read()).changes).toHaveLength(1)
        for (const escape of Object.values(escapes(scoped))) {
          yield* escape
        }
        expect((yield* Feed.checkpoints).map(({ name }) => name)).toEqual(["x"])
      }).pipe(Effect.scoped)
    )
  })

  describe("consume", () => {
    it.effect("hands everything over once where nothing goes wrong, and remembers how far it came", () =>
      Effect.gen(function* () {
        yield* reset
        const written = yield* posts(5)
        const handled: Array<string | null> = []
        const handler = ({ changes }: Feed.Batch) => Effect.sync(() => handled.push(...keys(changes)))
        expect(yield* Feed.consume("siem", handler, { limit: 2 })).toEqual({
          outcome: "CaughtUp",
          batches: 3,
          changes: 5
        })
        expect(yield* Feed.consume("siem", handler)).toEqual({ outcome: "CaughtUp", batches: 0, changes: 0 })
        const more = yield* posts(2)
        yield* Feed.consume("siem", handler)
        expect(handled).toEqual([...written, ...more])
        const [consumer, ...others] = yield* Feed.checkpoints
        expect(others).toEqual([])
        expect(consumer).toMatchObject({ name: "siem", lag: Option.none(), leasedUntil: Option.none() })
        expect(yield* failureOf(Feed.consume("siem", handler, { tables: ["posts"] }))).toMatchObject({
          field: "checkpoint",
          rule: "belongs to a feed of other tables"
        })
      })
    )

    it.effect("hands a failed or interrupted batch over again, to the next runner", () =>
      Effect.gen(function* () {
        yield* reset
        const written = yield* posts(6)
        const handled: Array<ReadonlyArray<string | null>> = []
        const failing = ({ changes }: Feed.Batch) =>
          Effect.suspend(() => {
            handled.push(keys(changes))
            return handled.length === 2 ? Effect.fail("no" as const) : Effect.void
          })
        expect(yield* failureOf(Feed.consume("c", failing, { limit: 2 }))).toBe("no")
        const started = yield* Deferred.make<void>()
        const stuck = yield* Effect.fork(
          Feed.consume("c", () => Effect.zipRight(Deferred.succeed(started, undefined), Effect.never), { limit: 2 })
        )
        yield* Deferred.await(started)
        expect(yield* Feed.consume("c", failing, { limit: 2 })).toMatchObject({ outcome: "Busy", batches: 0 })
        yield* Fiber.interrupt(stuck)
        yield* Feed.consume("c", failing, { limit: 2 })
        expect(handled).toEqual([written.slice(0, 2), written.slice(2, 4), written.slice(2, 4), written.slice(4)])
      })
    )

    it.effect("tries again as its schedule says, which starts anew after each batch that was delivered", () =>
      Effect.gen(function* () {
        yield* reset
        const written = yield* posts(6)
        const handled: Array<string | null> = []
        const waits: Array<number> = []
        let attempts = 0
        // Each batch fails twice: without a new start, the third batch would be its fifth failure.
        const failing = ({ changes }: Feed.Batch) =>
          Effect.suspend(() => {
            attempts++
            if (attempts % 3 !== 0) {
              return Effect.fail(new InvalidRequest({ field: "of the handler", rule: "is retried too" }))
            }
            handled.push(...keys(changes))
            return Effect.void
          })
        const retry = Schedule.recurs(2).pipe(Schedule.tapOutput((count) => Effect.sync(() => void waits.push(count))))
        expect(yield* Feed.consume("r", failing, { limit: 2, retry })).toEqual({
          outcome: "CaughtUp",
          batches: 3,
          changes: 6
        })
        expect(handled).toEqual(written)
        expect(waits).toEqual([0, 1, 0, 1, 0, 1])
        yield* posts(1)
        let refused = 0
        const never = () => Effect.suspend(() => Effect.fail(++refused))
        expect(yield* failureOf(Feed.consume("r", never, { retry: Schedule.recurs(2) }))).toBe(3)
        // What is wrong with the options is wrong again.
        expect(
          yield* failureOf(Feed.consume("r", never, { tables: ["posts"], retry: Schedule.forever }))
        ).toMatchObject({
          field: "checkpoint"
        })
        expect(yield* failureOf(Feed.consume("r", never, { retry: 3 as never }))).toMatchObject({ field: "retry" })
      })
    )

    it.effect("remembers that it began now before it has handled anything", () =>
      Effect.gen(function* () {
        yield* reset
        yield* posts(2)
        const nobody = () => Effect.dieMessage("nothing to handle")
        expect(yield* Feed.consume("n", nobody, { from: "now" })).toMatchObject({ batches: 0 })
        const written = yield* posts(2)
        const handled: Array<string | null> = []
        yield* Feed.consume("n", ({ changes }) => Effect.sync(() => handled.push(...keys(changes))), { from: "now" })
        expect(handled).toEqual(written)
      })
    )

    it.effect("lets several runners take turns: never two at once, and everything at least once, in order", () =>
      Effect.gen(function* () {
        yield* reset
        const database = yield* TestDatabase.TestDatabase
        const written = yield* posts(40)
        const feeds = yield* Effect.forEach([1, 2, 3], () => connect(database.url))
        const handled: Array<string | null> = []
        let running = 0
        let most = 0
        const handler = ({ changes }: Feed.Batch) =>
          Effect.sync(() => {
            most = Math.max(most, ++running)
          }).pipe(
            Effect.zipRight(Effect.yieldNow()),
            Effect.zipRight(
              Effect.sync(() => {
                running--
                handled.push(...keys(changes))
              })
            )
          )
        // Each gives the name back after a run, so that another one goes on.
        const runner = (feed: Feed.Service) =>
          feed
            .consume("shared", handler, { limit: 3, live: true, poll: Schedule.recurs(3) })
            .pipe(Effect.repeat({ until: () => handled.length >= written.length }))
        yield* Effect.forEach(feeds, runner, { concurrency: "unbounded" })
        expect(most).toBe(1)
        expect(handled).toEqual(written)
      }).pipe(Effect.scoped)
    )

    it.effect("stops a runner that lost its lease, and lets it move nothing", () =>
      Effect.gen(function* () {
        yield* reset
        const sql = yield* SqlClient.SqlClient
        const written = yield* posts(4)
        const started = yield* Deferred.make<void>()
        const go = yield* Deferred.make<void>()
        const slow = yield* Effect.fork(
          Feed.consume("l", () => Effect.zipRight(Deferred.succeed(started, undefined), Deferred.await(go)), {
            limit: 2
          })
        )
        yield* Deferred.await(started)
        // As if its process had been stopped for longer than the lease.
        yield* sql`update threadline.feed_checkpoints set lease_until = clock_timestamp() - interval '1 second'`
        const handled: Array<string | null> = []
        const other = yield* Feed.consume("l", ({ changes }) => Effect.sync(() => handled.push(...keys(changes))), {
          limit: 2
        })
        expect(other).toEqual({ outcome: "CaughtUp", batches: 2, changes: 4 })
        expect(handled).toEqual(written)
        const before = yield* sql`select checkpoint from threadline.feed_checkpoints`
        yield* Deferred.succeed(go, undefined)
        expect(yield* Fiber.join(slow)).toMatchObject({ outcome: "Busy" })
        expect(yield* sql`select checkpoint from threadline.feed_checkpoints`).toEqual(before)
      })
    )

    it.effect("keeps the lease for a handler that takes longer, and ends a handler that loses it", () =>
      Effect.gen(function* () {
        yield* reset
        const sql = yield* SqlClient.SqlClient
        yield* posts(1)
        const interrupted = yield* Deferred.make<void>()
        const started = yield* Deferred.make<void>()
        const running = yield* Effect.fork(
          Feed.consume(
            "h",
            () =>
              Effect.zipRight(
                Deferred.succeed(started, undefined),
                Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
              ),
            { lease: "1 second" }
          )
        )
        yield* Deferred.await(started)
        // Renewed at least once: the time of the lease moves.
        const leasedUntil = sql<{ readonly at: string }>`
          select lease_until::text as at from threadline.feed_checkpoints`.pipe(Effect.map(([row]) => row?.at))
        const first = yield* leasedUntil
        yield* eventually("the lease is renewed", leasedUntil, (at) => at !== first)
        yield* sql`update threadline.feed_checkpoints set lease_token = 'somebody else altogether'`
        yield* Deferred.await(interrupted)
        expect(yield* Fiber.join(running)).toMatchObject({ outcome: "Busy", batches: 0 })
      })
    )

    it.effect("fails if its lease cannot be renewed because the handler has the only connection of the pool", () =>
      Effect.gen(function* () {
        yield* reset
        const database = yield* TestDatabase.TestDatabase
        yield* posts(1)
        const alone = Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          return yield* Feed.consume("alone", () => sql.withTransaction(Effect.never), {
            lease: "1 second",
            live: true
          })
        })
        expect(
          yield* Effect.flip(
            alone.pipe(Effect.provide(Feed.layer), Effect.provide(clientOf(database.url, 1)), Effect.scoped)
          )
        ).toMatchObject({ _tag: "ThreadlineError", reason: "Unreachable" })
        const { batches } = yield* Feed.consume("alone", () => Effect.void)
        expect(batches).toBe(1)
      })
    )

    it.effect("refuses a name, a lease and a request that are wrong, before it asks the database", () =>
      Effect.gen(function* () {
        const feed = yield* Feed.Feed
        const wrong: ReadonlyArray<readonly [run: Effect.Effect<unknown, unknown>, field: string]> = [
          [feed.consume("", () => Effect.void), "name"],
          [feed.consume("ä".repeat(129), () => Effect.void), "name"],
          [feed.consume("a\0", () => Effect.void), "name"],
          [feed.consume("a", () => Effect.void, { lease: "10 millis" }), "lease"],
          [feed.consume("a", () => Effect.void, { lease: "2 days" }), "lease"],
          [feed.consume("a", () => Effect.void, { limit: 0 }), "limit"],
          [feed.forget(""), "name"]
        ]
        for (const [run, field] of wrong) {
          expect(yield* failureOf(run)).toMatchObject({ _tag: "threadline/InvalidRequest", field })
        }
        yield* feed.consume("ä".repeat(128), () => Effect.void)
        expect(yield* feed.forget("ä".repeat(128))).toBe(true)
        expect(yield* feed.forget("ä".repeat(128))).toBe(false)
      })
    )
  })

  describe("the horizon of retention", () => {
    const horizon = Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const [row] = yield* sql<{ readonly id: string | null }>`select threadline.feed_horizon()::text as id`
      return row?.id
    })

    it.effect("is the oldest change that a consumer still needs", () =>
      Effect.gen(function* () {
        yield* reset
        const sql = yield* SqlClient.SqlClient
        const database = yield* TestDatabase.TestDatabase
        expect(yield* horizon).toBe(null)
        const late = yield* database.rawClient()
        yield* Effect.promise(() => late.query("begin; insert into notes values (100, 'late')"))
        yield* posts(6)
        expect(yield* horizon).toBe(null)
        const idOf = (table: string, place: number) =>
          Effect.map(
            sql<{ readonly id: string }>`
              select id::text from threadline.audit_changes where table_name = ${table} order by id offset ${place} limit 1`,
            ([row]) => row?.id
          )
        // Three batches are handled, then it stops.
        let batches = 0
        const some = () => Effect.suspend(() => (++batches > 2 ? Effect.fail("stop") : Effect.void))
        expect(yield* failureOf(Feed.consume("slow", some, { limit: 2 }))).toBe("stop")
        const needed = Number(yield* idOf("posts", 4))
        const held = Number(yield* horizon)
        expect(held).toBeGreaterThan(Number(yield* idOf("posts", 3)))
        expect(held).toBeLessThanOrEqual(needed)
        yield* Feed.consume("quick", () => Effect.void)
        expect(Number(yield* horizon)).toBe(held)
        yield* Feed.consume("slow", () => Effect.void)
        expect(yield* horizon).toBe(null)
        // Everything later is delivered by now; what was written before it and committed after it is not.
        yield* Effect.promise(() => late.query("commit"))
        expect(yield* horizon).toBe(yield* idOf("notes", 0))
        const [consumer] = yield* Feed.checkpoints
        expect(Option.map(consumer?.lag ?? Option.none(), Duration.greaterThan(Duration.zero))).toEqual(
          Option.some(true)
        )
        yield* Feed.consume("quick", () => Effect.void)
        expect(yield* horizon).toBe(yield* idOf("notes", 0))
        expect(yield* Feed.forget("slow")).toBe(true)
        expect(yield* horizon).toBe(null)
      }).pipe(Effect.scoped)
    )

    it.effect("says of a consumer that has stored no checkpoint that it is behind since the oldest transaction", () =>
      Effect.gen(function* () {
        yield* reset
        yield* posts(1)
        const sql = yield* SqlClient.SqlClient
        // As a runner leaves it that dies before it has stored where it begins.
        yield* sql`select from threadline.feed_claim('died', ${"x".repeat(16)}, 1)`
        const [consumer] = yield* Feed.checkpoints
        expect(consumer).toMatchObject({ name: "died", checkpoint: Option.none() })
        expect(Option.isSome(consumer?.lag ?? Option.none())).toBe(true)
        yield* Feed.forget("died")
      })
    )

    it.effect("passes over what a consumer of some tables does not want", () =>
      Effect.gen(function* () {
        yield* reset
        const sql = yield* SqlClient.SqlClient
        yield* posts(3)
        const some = Feed.consume("notes", () => Effect.void, { tables: ["notes"], limit: 1 })
        expect(yield* some).toMatchObject({ changes: 0 })
        expect(yield* horizon).toBe(null)
        yield* posts(1)
        yield* sql`insert into notes values (200, 'wanted')`
        yield* posts(1)
        expect(Number(yield* horizon)).toBeGreaterThan(0)
        expect(yield* some).toMatchObject({ changes: 1 })
        expect(yield* horizon).toBe(null)
      })
    )

    it.effect("asked by the statement that deletes, spares what was prepared long before and committed since", () =>
      Effect.gen(function* () {
        yield* reset
        const sql = yield* SqlClient.SqlClient
        const database = yield* TestDatabase.TestDatabase
        const remove = sql`
          delete from threadline.audit_changes
          where id < coalesce((select threadline.feed_horizon()), 9223372036854775807)`
        const prepared = yield* database.rawClient()
        const name = `prepared_${database.name}`
        // No database is dropped while a transaction is prepared in it.
        yield* Effect.addFinalizer(() =>
          Effect.promise(() => prepared.query(`rollback prepared '${name}'`).catch(() => undefined))
        )
        yield* Effect.promise(() =>
          prepared.query(`begin; insert into notes values (300, 'early'); prepare transaction '${name}'`)
        )
        yield* posts(3)
        yield* Feed.consume("slow", () => Effect.void)
        yield* Feed.consume("quick", () => Effect.void)
        yield* remove
        expect(yield* sql`select id from threadline.audit_changes`).toEqual([])
        yield* posts(2)
        yield* Feed.consume("quick", () => Effect.void)
        yield* Effect.promise(() => prepared.query(`commit prepared '${name}'`))
        yield* remove
        const handled: Array<string | null> = []
        const handler = ({ changes }: Feed.Batch) => Effect.sync(() => handled.push(...keys(changes)))
        yield* Feed.consume("quick", handler)
        expect(handled).toEqual(["300"])
        yield* Feed.consume("slow", handler)
        expect(handled).toHaveLength(4)
        yield* remove
        expect(yield* sql`select id from threadline.audit_changes`).toEqual([])
        expect(yield* horizon).toBe(null)
      }).pipe(Effect.scoped)
    )

    it.effect("sees beyond transactions of which nothing is left, and into epochs that are not stored yet", () =>
      Effect.gen(function* () {
        yield* reset
        const sql = yield* SqlClient.SqlClient
        yield* sql`
          select threadline.feed_claim('behind', 'a token of some length', 1)`
        yield* posts(1)
        yield* sql`
          select threadline.feed_store(
            'behind', 'a token of some length', null, 'c', epoch, '1:1:'::pg_snapshot, null, null, 1
          ) from threadline.installs`
        // As retention of a single table leaves it, thousands of transactions long.
        yield* sql`
          insert into threadline.audit_transactions (xid, epoch, occurred_at, db_user, backend_pid)
          select n::text::xid8, epoch, now(), 'app', 1
          from generate_series(3, 3002) n, threadline.installs`
        const ids = sql<{ readonly id: string }>`select id::text from threadline.audit_changes order by id`
        expect(yield* horizon).toBe((yield* ids)[0]?.id)
        yield* sql`truncate threadline.audit_changes, threadline.audit_transactions`
        expect(yield* horizon).toBe(null)
        // The first write after a promotion whose epoch another transaction stores, and has not committed.
        yield* sql`update threadline.installs set timeline = 99, postmaster_started_at = 'epoch'`
        const database = yield* TestDatabase.TestDatabase
        const first = yield* database.rawClient()
        yield* Effect.promise(() => first.query("begin; insert into notes values (400, 'first')"))
        yield* posts(1)
        expect(yield* sql`select epoch from threadline.installs`).toHaveLength(1)
        expect(yield* horizon).toBe((yield* ids)[0]?.id)
        yield* Effect.promise(() => first.query("rollback"))
        expect(yield* horizon).toBe((yield* ids)[0]?.id)
        expect(keys((yield* Feed.read()).changes)).toHaveLength(1)
        yield* posts(1)
        expect(yield* sql`select epoch from threadline.installs`).toHaveLength(2)
        expect(keys((yield* Feed.read()).changes)).toHaveLength(2)
      }).pipe(Effect.scoped)
    )

    it.effect("is the beginning for a consumer that has no checkpoint yet", () =>
      Effect.gen(function* () {
        yield* reset
        const sql = yield* SqlClient.SqlClient
        yield* posts(1)
        yield* sql`select threadline.feed_claim('new', 'a token of some length', 1)`
        expect(yield* horizon).toBe("0")
      })
    )
  })

  describe("privileges", () => {
    it.effect("let a reader read and an operator consume, and a writer and a stranger do neither", () =>
      Effect.gen(function* () {
        yield* reset
        const database = yield* TestDatabase.TestDatabase
        const written = yield* posts(2)
        const [reader, operator, writer, stranger] = yield* Effect.all([
          database.role("reader"),
          database.role("operator"),
          database.role("writer"),
          database.role("stranger")
        ])
        yield* grant({ readers: [reader.name], operators: [operator.name], writers: [writer.name] })
        const denied = { _tag: "ThreadlineError", reason: "InsufficientPrivilege" }
        const nobody = () => Effect.dieMessage("nothing to handle")

        const reads = yield* connect(reader.url)
        expect(keys((yield* reads.read()).changes)).toEqual(written)
        expect(yield* reads.checkpoints).toEqual([])
        expect(yield* failureOf(reads.consume("r", nobody))).toMatchObject(denied)
        expect(yield* failureOf(reads.forget("r"))).toMatchObject(denied)

        const consumes = yield* connect(operator.url)
        expect(yield* consumes.consume("o", () => Effect.void)).toMatchObject({ changes: 2 })
        expect(yield* consumes.checkpoints).toHaveLength(1)

        for (const url of [writer.url, stranger.url]) {
          const feed = yield* connect(url)
          expect(yield* failureOf(feed.read())).toMatchObject(denied)
          expect(yield* failureOf(feed.consume("o", nobody))).toMatchObject(denied)
          expect(yield* failureOf(feed.forget("o"))).toMatchObject(denied)
          expect(yield* failureOf(feed.checkpoints)).toMatchObject(denied)
        }
        for (const url of [reader.url, operator.url, writer.url, stranger.url]) {
          const sql = yield* Effect.map(Layer.build(clientOf(url, 1)), (context) =>
            Effect.runSync(Effect.provide(SqlClient.SqlClient, context))
          )
          for (const statement of [
            "insert into threadline.feed_checkpoints (name) values ('x')",
            "update threadline.feed_checkpoints set checkpoint = null",
            "delete from threadline.feed_checkpoints",
            "truncate threadline.feed_checkpoints"
          ]) {
            const exit = yield* Effect.exit(sql.unsafe(statement))
            expect(Exit.isFailure(exit), `${statement} by ${url}`).toBe(true)
          }
        }
        expect(yield* consumes.forget("o")).toBe(true)
      }).pipe(Effect.scoped)
    )
  })
})

describe("snapshots", () => {
  test("are what PostgreSQL writes, and add up", () => {
    const a = snapshots.parse("10:20:10,15")
    const b = snapshots.parse("12:18:12,15,16")
    if (a === undefined || b === undefined) {
      throw new Error("not parsed")
    }
    const seen = (of: snapshots.Snapshot) =>
      Array.from({ length: 30 }, (_, xid) => BigInt(xid)).filter((xid) => snapshots.isVisible(of, xid))
    const both = snapshots.union(a, b)
    expect(seen(both)).toEqual([...new Set([...seen(a), ...seen(b)])].sort((x, y) => Number(x - y)))
    expect(snapshots.union(b, a)).toEqual(both)
    expect(snapshots.includes(both, a) && snapshots.includes(both, b)).toBe(true)
    expect(snapshots.includes(a, b)).toBe(false)
    expect(snapshots.includes(b, a)).toBe(false)
    expect(snapshots.format(a)).toBe("10:20:10,15")
    expect(snapshots.format(snapshots.nothing)).toBe("1:1:")
    expect(snapshots.includes(a, snapshots.nothing)).toBe(true)
    expect(snapshots.includes(snapshots.everything, a)).toBe(true)
    expect(snapshots.parse("10:20")).toBe(undefined)
    expect(seen(snapshots.without(snapshots.everything, [3n]))).not.toContain(3n)
  })
})
