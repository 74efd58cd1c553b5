import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as AuditContext from "../../../src/AuditContext.js"
import * as Capture from "../../../src/Capture.js"
import * as Feed from "../../../src/Feed.js"
import * as Grants from "../../../src/Grants.js"
import * as Migrations from "../../../src/Migrations.js"
import * as Query from "../../../src/Query.js"
import * as Semantics from "../../../src/Semantics.js"
import * as TableName from "../../../src/TableName.js"
import { InvalidRequest } from "../../../src/ThreadlineError.js"
import * as TestDatabase from "../../harness/TestDatabase.js"

/** What a caller without a type checker may give. */
const hostile: ReadonlyArray<readonly [label: string, value: unknown]> = [
  ["null", null],
  ["a number", 7],
  ["NaN", Number.NaN],
  ["a string", "x"],
  ["true", true],
  ["a bigint", 1n],
  ["a symbol", Symbol("s")],
  ["an array", [null]],
  ["a function", () => 1],
  ["an object without prototype", Object.create(null)],
  ["an object that cannot be made a string", { toString: null, valueOf: null }],
  ["an invalid date", new Date(Number.NaN)]
]

type Services = Audit.Audit | Semantics.Semantics | Capture.Capture | Feed.Feed | Query.Query | SqlClient.SqlClient

type Call = (value: never) => unknown

/** A misspelt option must not be ignored silently, whatever its value. */
const unknownOption = (value: never): object => ({ misspelt: value })

/** Every public function, with a wrong value in one place. */
const calls: { readonly [name: string]: Call } = {
  "Actor.invalid": (value) => Actor.invalid(value),
  "Audit.transaction, its options": (value) => Audit.transaction(Effect.void, value),
  ...Object.fromEntries(
    [
      ...[
        "action",
        "captureOnly",
        "actor",
        "allowMissingActor",
        "meta",
        "source",
        "correlationId",
        "requestId",
        "jobId"
      ],
      ...["traceId", "remoteIp", "isolation", "requireChanges", "onFailure", "reason", "comment", "retry"]
    ].map((option): readonly [string, Call] => [
      `Audit.transaction, ${option}`,
      (value) => Audit.transaction(Effect.void, { allowMissingActor: true, [option]: value })
    ])
  ),
  "Audit.scoped": (value) => Effect.scoped(Audit.scoped(value)),
  "Audit.record, its action": (value) => Audit.record(value, { actor: Actor.user("1") }),
  "Audit.record, its options": (value) => Audit.record("did", value),
  "Semantics.record": (value) => Semantics.record(value, value),
  "AuditContext.toSql": (value) => AuditContext.toSql(value),
  "AuditContext.toSql, its options": (value) => AuditContext.toSql({}, value),
  "AuditContext.toSql, its schema": (value) => AuditContext.toSql({}, { schema: value }),
  "AuditContext.encode": (value) => AuditContext.encode(value),
  "AuditContext.invalid": (value) => AuditContext.invalid(value),
  "AuditContext.withActor": (value) => Audit.record("did").pipe(AuditContext.withActor(value)),
  "AuditContext.withMeta": (value) =>
    Audit.record("did", { actor: Actor.user("1") }).pipe(AuditContext.withMeta(value)),
  "AuditContext.withContext": (value) => Audit.record("did").pipe(AuditContext.withContext(value)),
  "Capture.plan": (value) => Capture.plan(value),
  "Capture.plan, its options": (value) => Capture.plan([], value),
  "Capture.apply, a table": (value) => Capture.apply([value]),
  "Capture.apply, its options": (value) => Capture.apply([], value),
  "Capture.apply, lockTimeout": (value) => Capture.apply([{ table: "posts" }], { lockTimeout: value }),
  "Capture.apply, retries": (value) => Capture.apply([{ table: "posts" }], { retries: value }),
  "Capture.apply, an unknown option": (value) => Capture.apply([], unknownOption(value)),
  "Capture.remove": (value) => Capture.remove(value),
  "Capture.remove, a table": (value) => Capture.remove([value]),
  "Capture.remove, its options": (value) => Capture.remove([], value),
  "Capture.status": (value) => Capture.status(value),
  "Capture.print": (value) => Capture.print(value),
  "Feed.read": (value) => Feed.read(value),
  "Feed.read, a field": (value) => Feed.read({ tables: value, limit: value, from: value, checkpoint: value }),
  "Feed.consume, its name": (value) => Feed.consume(value, () => Effect.void),
  "Feed.consume, its options": (value) => Feed.consume("one", () => Effect.void, value),
  "Feed.consume, lease": (value) => Feed.consume("one", () => Effect.void, { lease: value }),
  "Feed.forget": (value) => Feed.forget(value),
  "Feed.stream": (value) => Stream.runDrain(Feed.stream(value)),
  "Grants.render": (value) => Grants.render(value),
  "Grants.render, its roles": (value) => Grants.render({ writers: value, readers: [], operators: [] }),
  "Grants.apply, a role": (value) => Grants.apply({ writers: [value], readers: [], operators: [] }),
  "Migrations.run": (value) => Migrations.run(value),
  "Migrations.run, a field": (value) => Migrations.run({ schema: value, ownerRole: value, to: value }),
  "Migrations.run, lockTimeout": (value) => Migrations.run({ lockTimeout: value }),
  "Migrations.run, an unknown option": (value) => Migrations.run(unknownOption(value)),
  "Grants.apply, an unknown field": (value) => Grants.apply({ readers: ["support"], ...unknownOption(value) }),
  "Migrations.status": (value) => Migrations.status(value),
  "Migrations.status, schema": (value) => Migrations.status({ schema: value }),
  "Migrations.render": (value) => Migrations.render(value),
  "Migrations.generate": (value) => Migrations.generate(value),
  "Query.timeline": (value) => Query.timeline(value),
  ...Object.fromEntries(
    ["table", "key", "op", "contains", "changedField", "actor", "meta", "from", "limit", "cursor", "order"].map(
      (field): readonly [string, Call] => [
        `Query.timeline, ${field}`,
        (value) => Query.timeline({ table: "posts", [field]: value })
      ]
    )
  ),
  "Query.history, its table": (value) => Query.history(value, "1"),
  "Query.history, its key": (value) => Query.history("posts", value),
  "Query.history, its options": (value) => Query.history("posts", "1", value),
  "Query.asOf, its table": (value) => Query.asOf(value, "1", new Date()),
  "Query.asOf, its key": (value) => Query.asOf("posts", value, new Date()),
  "Query.asOf, its instant": (value) => Query.asOf("posts", "1", value),
  "Query.asOfKeys": (value) => Query.asOfKeys("posts", value, new Date()),
  "Query.asOfRows, its options": (value) => Query.asOfRows("posts", new Date(), value),
  "Query.asOfRows, where": (value) => Query.asOfRows("posts", new Date(), { where: value }),
  "Query.asOfWith": (value) => Query.asOfWith("posts", "1", new Date(), value),
  "Query.asOfWith, a relation": (value) => Query.asOfWith("posts", "1", new Date(), { one: value }),
  "Query.diff": (value) => Query.diff(value),
  "Query.diffBetween": (value) => Query.diffBetween("posts", "1", value, value),
  "Query.incident": (value) => Query.incident(value),
  "Query.incident, its options": (value) => Query.incident("1", value),
  "Query.transactions": (value) => Query.transactions(value),
  "Query.unattributed": (value) => Query.unattributed(value),
  "Query.actions": (value) => Query.actions(value),
  "Query.actorWindow": (value) => Query.actorWindow(value),
  "Query.actorWindow, its options": (value) => Query.actorWindow({ type: "user", id: "1" }, value),
  "Query.correlation": (value) => Query.correlation(value),
  "Query.correlation, its options": (value) => Query.correlation("c", value),
  "Query.count": (value) => Query.count(value),
  "Query.count, its options": (value) => Query.count({}, value),
  "Query.collect": (value) => Query.collect({}, value),
  "Query.timelineStream": (value) => Stream.runDrain(Query.timelineStream(value)),
  "Query.filterFromUrl": (value) => Query.filterFromUrl(value),
  "Query.withScope": (value) => Query.timeline().pipe(Query.withScope(value)),
  "TableName.parse": (value) => TableName.parse(value)
}

/** Fine, or the typed failure; undefined is what nobody should see: a defect, or an exception that is no `InvalidRequest`. */
const outcome = (call: Call, value: unknown): Effect.Effect<string, never, Services> =>
  Effect.suspend(() => {
    let made: unknown
    try {
      made = call(value as never)
    } catch (error) {
      return Effect.succeed(error instanceof InvalidRequest ? "InvalidRequest" : `thrown: ${String(error)}`)
    }
    if (Either.isEither(made)) {
      return Effect.succeed(Either.isLeft(made) && !(made.left instanceof InvalidRequest) ? "another left" : "Either")
    }
    if (!Effect.isEffect(made)) {
      return Effect.succeed("a value")
    }
    return Effect.map(Effect.exit(made as Effect.Effect<unknown, unknown, Services>), (exit) =>
      Exit.isSuccess(exit)
        ? "success"
        : Chunk.isNonEmpty(Cause.defects(exit.cause))
          ? `defect: ${String(Chunk.unsafeHead(Cause.defects(exit.cause)))}`
          : Option.match(Cause.failureOption(exit.cause), {
              onNone: () => "interrupted",
              onSome: (error) => (error as { readonly _tag?: string })._tag ?? "untagged"
            })
    )
  })

layer(
  Layer.mergeAll(Audit.layer, Semantics.layer, Capture.layer, Feed.layer, Query.layer).pipe(
    Layer.provideMerge(TestDatabase.layer)
  ),
  { excludeTestServices: true }
)("A wrongly typed call", (it) => {
  for (const [name, call] of Object.entries(calls)) {
    it.effect(`of ${name} is a typed failure, never a defect or a TypeError`, () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table if not exists posts (id int primary key)`
        const wrong: Array<string> = []
        for (const [label, value] of hostile) {
          const outcomeOfCall = yield* outcome(call, value)
          if (/^(defect|thrown|another|interrupted)/.test(outcomeOfCall)) {
            wrong.push(`${label}: ${outcomeOfCall}`)
          }
        }
        expect(wrong).toEqual([])
      })
    )
  }

  it.effect("of AuditContext.toSql names what is wrong", () =>
    Effect.sync(() => {
      expect(() => AuditContext.toSql(null as never)).toThrow(InvalidRequest)
      expect(() => AuditContext.toSql({}, { schema: 7 as never })).toThrow(InvalidRequest)
    })
  )

  it.effect("of Audit.transaction names what is wrong, and runs nothing", () =>
    Effect.gen(function* () {
      let ran = false
      const body = Effect.sync(() => {
        ran = true
      })
      const error = yield* Effect.flip(Audit.transaction(body, null as never))
      expect(error).toMatchObject({ _tag: "threadline/InvalidRequest", field: "options" })
      expect(ran).toBe(false)
    })
  )
})
