/**
 * A host's program that uses every service of the package. `check-hosts` compiles and runs it in projects with other versions of
 * the peers, and on other versions of Node.js; it fails where an answer is not what it should be.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { deepStrictEqual } from "node:assert"
import {
  Actor,
  Audit,
  AuditContext,
  Capture,
  Feed,
  Grants,
  Migrations,
  Query,
  Semantics,
  ThreadlineLive
} from "threadline"

const Note = Schema.Struct({ id: Schema.Number, text: Schema.String })

const ofTenant =
  (tenant: number): Query.ReadScope =>
  (surface, columns) =>
    surface === "changes" && columns.sql`${columns.image} ->> 'tenant' = ${String(tenant)}`

const alice = Actor.user("alice", { label: "Alice" })

class Refused extends Schema.TaggedError<Refused>()("Refused", {}) {}

/** A schema of the record, two captured tables, and roles that the host gives rights to. */
const setUp = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* Migrations.run()
  yield* Migrations.check
  deepStrictEqual((yield* Migrations.status()).pending, [])
  yield* sql`create table notes (id int primary key, tenant int, text text)`
  yield* sql`create table tags (note int, tag text, primary key (note, tag))`
  const { apply, plan, status } = yield* Capture.Capture
  const tables = [{ table: "notes" }, { table: "tags" }]
  deepStrictEqual((yield* plan(tables)).length, 2)
  yield* apply(tables)
  deepStrictEqual(
    (yield* status(tables)).map(({ captured, table }) => [table, captured]),
    [
      ["public.notes", true],
      ["public.tags", true]
    ]
  )
})

/** Writes of every kind: audited, nested, failed, in a scope, without Effect's knowledge. */
const write = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const first = yield* Audit.transaction(sql`insert into notes values (1, 7, 'one'), (2, 8, 'two')`, {
    action: "notes.imported",
    reason: "smoke"
  })
  const failed = yield* Effect.either(
    Audit.transaction(Effect.zipRight(sql`delete from notes`, Effect.fail(new Refused())), {
      action: "notes.deleted",
      onFailure: "record"
    })
  )
  deepStrictEqual(Either.isLeft(failed), true)
  yield* Audit.transaction(
    Effect.zipRight(
      sql`update notes set text = 'uno' where id = 1`,
      Audit.transaction(sql`insert into tags values (1, 'new')`, { actor: Actor.job("tagger") })
    ),
    { action: "notes.edited" }
  )
  yield* Effect.scoped(
    Effect.gen(function* () {
      const audit = yield* Audit.scoped({ action: "notes.removed" })
      yield* audit.run(sql`delete from notes where id = 2`)
      yield* audit.commit
    })
  )
  yield* Semantics.record("notes.read", { reason: "smoke" })
  yield* sql`insert into notes values (3, 7, 'three')`
  return Option.getOrThrow(first.transactionId)
}).pipe(AuditContext.withActor(alice), AuditContext.withCorrelationId("smoke"))

/** Reads of every kind. */
const read = Effect.fnUntraced(function* (transactionId: string) {
  const timeline = yield* Query.timeline()
  deepStrictEqual(
    timeline.items.map(({ op, rowKey, tableName }) => `${tableName} ${op} ${rowKey ?? ""}`),
    [
      "notes insert 3",
      "notes delete 2",
      'tags insert ["1","new"]',
      "notes update 1",
      "notes insert 2",
      "notes insert 1"
    ]
  )
  const streamed = yield* Stream.runCollect(
    Query.timelineStream({ table: "notes", actor: { type: "user", id: "alice" } })
  )
  deepStrictEqual(streamed.length, 4)
  const history = yield* Query.history("notes", 1)
  deepStrictEqual(
    history.items.map(({ op }) => op),
    ["update", "insert"]
  )
  const typed = yield* Query.typed("notes", Note).history(1)
  deepStrictEqual(
    typed.items.map(({ after }) => (after !== null && Either.isRight(after) ? after.right : after)),
    [
      { id: 1, text: "uno" },
      { id: 1, text: "one" }
    ]
  )
  const incident = yield* Query.incident(transactionId)
  deepStrictEqual(incident.changes.items.length, 2)
  const now = new Date(Date.now() + 60_000)
  deepStrictEqual((yield* Query.asOf("notes", 2, now))._tag, "Deleted")
  const rows = yield* Query.asOfRows("notes", now)
  deepStrictEqual(
    rows.items.map(({ rowKey }) => rowKey),
    ["1", "3"]
  )
  deepStrictEqual((yield* Query.transactions({ correlationId: "smoke" })).items.length, 3)
  deepStrictEqual(
    (yield* Query.actions({ actionStatus: "error" })).items.map(({ name }) => name),
    ["notes.deleted"]
  )
  deepStrictEqual((yield* Query.unattributed()).items.length, 1)
  const visible = yield* Query.timeline().pipe(Query.withScope(ofTenant(8)))
  deepStrictEqual(visible.items.length, 2)
  return yield* Stream.runCollect(Query.correlationStream("smoke"))
})

/** The feed: read, streamed, and consumed under a name. */
const follow = Effect.gen(function* () {
  const batch = yield* Feed.read({ limit: 4 })
  const rest = yield* Feed.read({ checkpoint: batch.checkpoint })
  deepStrictEqual([batch.changes.length, rest.changes.length, rest.caughtUp], [4, 2, true])
  const streamed = yield* Stream.runFold(Feed.stream(), 0, (count, { changes }) => count + changes.length)
  deepStrictEqual(streamed, 6)
  let consumed = 0
  yield* Feed.consume("smoke", ({ changes }) => Effect.sync(() => (consumed += changes.length)))
  deepStrictEqual(consumed, 6)
  deepStrictEqual(
    (yield* Feed.checkpoints).map(({ name }) => name),
    ["smoke"]
  )
})

const Database = PgClient.layerConfig({
  url: Config.map(Config.nonEmptyString("DATABASE_URL"), Redacted.make),
  applicationName: Config.succeed("smoke")
})

const program = Effect.gen(function* () {
  yield* Effect.provide(setUp, Capture.layer)
  const services = Effect.gen(function* () {
    yield* read(yield* write)
    yield* follow
  })
  yield* Effect.provide(services, ThreadlineLive)
  deepStrictEqual((yield* Grants.render({ readers: ["support"] })).includes("support"), true)
}).pipe(Effect.provide(Database))

await Effect.runPromise(program)
console.log("every service answers")
