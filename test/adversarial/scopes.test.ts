/** What a tenant learns who tries: through names, errors, answers and cursors of scopes that are not theirs. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Statement from "@effect/sql/Statement"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { inspect } from "node:util"
import * as Export from "../../src/Export.js"
import * as Feed from "../../src/Feed.js"
import * as rowsBudget from "../../src/internal/rows/keyWalk.js"
import { Budget } from "../../src/internal/search/budget.js"
import * as Query from "../../src/Query.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { errorOf } from "../support/errors.js"
import { asA, at, type ChangeSeed, type Log, ofTenant, reset, write } from "../support/query.js"

const services = Layer.mergeAll(Query.layer, Feed.layer, Export.layerWith({ record: false })).pipe(
  Layer.provideMerge(TestDatabase.layer)
)

const anything = Schema.Record({ key: Schema.String, value: Schema.Unknown })

type Reader = Query.Query | Feed.Feed

const onChanges =
  (condition: (columns: Query.ChangeColumns) => Statement.Fragment | boolean): Query.ReadScope =>
  (...asked) =>
    asked[0] === "changes" && condition(asked[1])

const textOf = (value: unknown): string =>
  JSON.stringify(value, (_, one: unknown) => (typeof one === "bigint" ? String(one) : one))

const row = (id: number, tenant: string, secret = `secret of ${tenant}`) => ({ id, tenant, secret })

const log: Log = {
  transactions: [
    { id: "1", xid: "7", occurredAt: at(0), actor: { type: "user", id: "a" }, correlationId: "c", actionId: "1" },
    { id: "2", xid: "7", occurredAt: at(10), actor: { type: "user", id: "b" }, correlationId: "c", actionId: "2" },
    { id: "3", occurredAt: at(20), actor: { type: "user", id: "b" }, requestId: "r", actionId: "3" }
  ],
  actions: [
    { id: "1", transactionId: "1", name: "of A", correlationId: "c", occurredAt: at(0), data: { tenant: "A" } },
    { id: "2", transactionId: "2", name: "of B", correlationId: "c", occurredAt: at(10), data: { tenant: "B" } },
    {
      id: "3",
      transactionId: "3",
      name: "for A",
      actor: { type: "user", id: "b" },
      requestId: "r",
      occurredAt: at(20),
      data: { tenant: "A" }
    }
  ],
  changes: [
    { id: "1", transactionId: "1", at: at(0), op: "insert", key: "1", after: row(1, "A") },
    { id: "2", transactionId: "2", at: at(10), op: "insert", key: "2", after: row(2, "B") },
    {
      id: "3",
      transactionId: "1",
      at: at(11),
      op: "update",
      key: "1",
      fields: ["secret"],
      from: { secret: "older" },
      after: row(1, "A")
    },
    { id: "4", transactionId: "3", at: at(20), op: "delete", key: "3", from: row(3, "B") }
  ]
}

/** Reads of every kind of statement. */
const reads: Readonly<Record<string, Effect.Effect<unknown, Query.ReadError, Reader>>> = {
  timeline: Query.timeline(),
  "timeline of a row": Query.timeline({ table: "posts", key: "1" }),
  "timeline by contents": Query.timeline({ contains: { secret: "secret of A" }, changedField: "secret" }),
  "timeline of a correlation": Query.timeline({ correlationId: "c", includeCaptureOnly: true }),
  "timeline of an actor": Query.timeline({ actor: { type: "user", id: "a" }, table: "posts" }),
  count: Query.count(),
  history: Query.history("posts", "1"),
  asOf: Query.asOf("posts", "1", at(5)),
  "asOf before": Query.asOf("posts", "1", "2026-01-01"),
  asOfRows: Query.asOfRows("posts", at(15)),
  diff: Query.diff("3"),
  transactions: Query.transactions({ op: "insert" }),
  actions: Query.actions(),
  actorWindow: Query.actorWindow({ type: "user", id: "a" }),
  correlation: Query.correlation("c"),
  incident: Query.incident("1"),
  feed: Effect.map(
    Effect.flatMap(Feed.Feed, (feed) => feed.read()),
    ({ changes }) => changes
  )
}

describe("a scope and the names that its host uses", () => {
  it.layer(services)("in every read", (it) => {
    const prepared = Effect.gen(function* () {
      yield* reset
      yield* write(log)
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table if not exists membership_of_host (actor_id text, tenant text)`
      yield* sql`truncate membership_of_host`
      yield* sql`insert into membership_of_host values ('a', 'A'), ('b', 'B')`
    })

    /** By who acted, through a table of the host's under an alias. */
    const through =
      (table: string, alias: string): Query.ReadScope =>
      (_, { actorId, sql }) =>
        sql`exists (
          select from ${sql.literal(table)} ${sql.literal(alias)}
          where ${sql.literal(alias)}.actor_id = ${actorId} and ${sql.literal(alias)}.tenant = ${"A"}
        )`

    const keywords = new Set([
      "and",
      "as",
      "cross",
      "from",
      "group",
      "join",
      "left",
      "limit",
      "offset",
      "on",
      "order",
      "or"
    ])
    const others = new Set([
      "over",
      "select",
      "then",
      "union",
      "where",
      "window",
      "end",
      "desc",
      "asc",
      "is",
      "else",
      "when"
    ])

    /** Every alias in the statements of the reads: what stands behind a table, a subquery or a common table expression. */
    const aliases = Effect.gen(function* () {
      const texts: Array<string> = []
      yield* Effect.forEach(Object.values(reads), (read) => Effect.either(read), { discard: true }).pipe(
        Query.withScope(through("membership_of_host", "own_alias")),
        Statement.withTransformer((statement) =>
          Effect.sync(() => {
            texts.push(statement.compile()[0])
            return statement
          })
        )
      )
      const behind = /(?:"\."\w+"|\)|\bthreadline_\w+)\s+(?:as\s+)?([a-z_]+)\b/g
      const names = texts.flatMap((text) => [...text.matchAll(behind)].map(([, name = ""]) => name))
      return [...new Set(names)].filter((name) => !keywords.has(name) && !others.has(name))
    })

    it.effect(
      "take no alias and no table of the host's for one of Threadline's",
      () =>
        Effect.gen(function* () {
          yield* prepared
          const sql = yield* SqlClient.SqlClient
          const names = yield* aliases
          for (const expected of ["a", "c", "t", "e", "scope_t", "acted"]) {
            expect(names).toContain(expected)
          }
          const kinds = Object.entries(reads).filter(([name]) =>
            ["timeline by contents", "history", "asOfRows", "transactions", "correlation", "incident", "feed"].includes(
              name
            )
          )
          const answers = (scope: Query.ReadScope) =>
            Effect.map(
              Effect.forEach(kinds, ([name, read]) =>
                Effect.map(Effect.either(Query.withScope(read, scope)), (result) =>
                  Either.isLeft(result) ? [name, String(result.left)] : [name, textOf(result.right)]
                )
              ),
              textOf
            )
          const expected = yield* answers(through("membership_of_host", "own_alias"))
          expect(expected).toContain("secret of A")
          expect(expected).not.toContain("secret of B")
          // One that no statement knows is not let through either: the scope is not just true.
          expect(yield* answers(through("(select 'nobody' actor_id, 'A' tenant)", "x"))).not.toContain("secret")
          // Several at once, each of them in a scope of its own.
          for (let from = 0; from < names.length; from += 8) {
            const some = names.slice(from, from + 8)
            const scopes = some.map((name) => through("membership_of_host", `"${name}"`))
            const allAnswers = scopes.reduce<Effect.Effect<string, never, Reader>>(
              (read, scope) => Query.withScope(read, scope),
              answers(through("membership_of_host", "own_alias"))
            )
            expect(yield* allAnswers, some.join(", ")).toBe(expected)
          }
          const ctes = [
            ...["found", "own", "seen", "judged", "truncates", "looked", "moved", "up_to", "limits", "transactions"],
            ...["entering", "taken", "walk", "ahead", "bound", "open", "rest", "page", "reached", "frontier"],
            ...["still_open", "state"]
          ]
          for (const name of ctes) {
            yield* sql`create table if not exists ${sql(name)} (actor_id text, tenant text)`
            yield* sql`insert into ${sql(name)} select * from membership_of_host`
          }
          for (let from = 0; from < ctes.length; from += 8) {
            const scopes = ctes.slice(from, from + 8).map((name) => through(name, name))
            const allAnswers = scopes.reduce<Effect.Effect<string, never, Reader>>(
              (read, scope) => Query.withScope(read, scope),
              answers(through("membership_of_host", "own_alias"))
            )
            expect(yield* allAnswers).toBe(expected)
          }
        }),
      300_000
    )

    it.effect("end with the line a comment at the end of a condition", () =>
      Effect.gen(function* () {
        yield* prepared
        const scope = onChanges(({ image, sql }) => sql`${image} ->> 'tenant' = 'A' -- and nobody else`)
        expect((yield* Query.withScope(Query.timeline(), scope)).items.map(({ id }) => id)).toEqual(["3", "1"])
      })
    )
  })
})

describe("a scope on the key of a row", () => {
  it.layer(services)("of rows that move between keys of tenants", (it) => {
    const ofKeys = (prefix: string) => onChanges(({ rowKey, sql }) => sql`${rowKey} like ${`${prefix}%`}`)
    const moved: ReadonlyArray<ChangeSeed> = [
      { id: "1", transactionId: "1", at: at(0), op: "insert", key: "b1", after: { id: "b1", note: "old secret" } },
      {
        id: "2",
        transactionId: "1",
        at: at(10),
        op: "update",
        key: "a1",
        previousKey: "b1",
        fields: ["id", "note"],
        from: { id: "b1", note: "old secret" },
        after: { id: "a1", note: "new" }
      }
    ]
    const record = (changes: ReadonlyArray<ChangeSeed>) =>
      Effect.andThen(
        reset,
        write({
          transactions: [{ id: "1", occurredAt: at(0) }],
          changes: changes.map((change) => ({ ...change, table: "notes" }))
        })
      )

    it.effect("judges the row before a change by the key before it", () =>
      Effect.gen(function* () {
        // All of it, and what retention leaves of it.
        for (const changes of [moved, moved.slice(1)]) {
          yield* record(changes)
          const a = Query.withScope(ofKeys("a"))
          const answersTold: ReadonlyArray<unknown> = [
            yield* a(Query.timeline()),
            yield* a(Query.timeline({ table: "notes", key: "a1" })),
            yield* a(Query.timeline({ table: "notes", key: "b1" })),
            yield* a(Query.history("notes", "a1")),
            yield* a(Query.history("notes", "b1")),
            yield* a(Query.diff("2")),
            yield* a(Query.incident("1")),
            yield* a(Query.asOf("notes", "a1", at(5))),
            yield* a(Query.asOf("notes", "b1", at(5))),
            yield* a(Query.asOf("notes", "b1", at(15))),
            yield* a(Query.asOfRows("notes", at(5))),
            yield* a(Query.asOfKeys("notes", ["b1"], at(5))),
            yield* a(Query.typed("notes", anything).history("a1")),
            yield* a(Effect.flatMap(Feed.Feed, (feed) => Effect.map(feed.read(), (batch) => batch.changes)))
          ]
          expect(textOf(answersTold)).not.toMatch(/old secret|"MovedTo"|"previousRowKey":"b1"/)
          expect((yield* a(Query.timeline())).items).toMatchObject([
            { id: "2", previousRowKey: null, changedFrom: null, changedFields: null }
          ])
          for (const filter of [
            { contains: { note: "old secret" } },
            { changedField: "note" },
            { changedField: "id" }
          ]) {
            expect((yield* a(Query.timeline(filter))).items).toEqual([])
            expect(yield* a(Query.count(filter))).toEqual({ count: 0, exact: true })
          }
          // For the reader whose key it was, the row is there until then.
          const b = Query.withScope(ofKeys("b"))
          expect(yield* b(Query.asOf("notes", "b1", at(5)))).toMatchObject({
            _tag: "Present",
            row: { note: "old secret" }
          })
          expect(yield* b(Query.asOf("notes", "b1", at(15)))).toMatchObject({ _tag: "BeforeCapture" })
          expect((yield* b(Query.timeline())).items).toHaveLength(changes.length - 1)
        }
        // Where both keys are visible nothing is left out.
        yield* record(moved)
        const both = Query.withScope(onChanges(({ rowKey, sql }) => sql`${rowKey} like '_1'`))
        expect((yield* both(Query.history("notes", "a1"))).items[0]).toMatchObject({
          previousRowKey: "b1",
          changedFrom: { note: "old secret" }
        })
        expect(yield* both(Query.asOf("notes", "b1", at(15)))).toMatchObject({ _tag: "MovedTo", key: "a1" })
      })
    )
  })
})

describe("an error that a scope meets", () => {
  it.layer(services)("in every read", (it) => {
    const raising: ReadonlyArray<readonly [condition: (value: string) => string, state: string]> = [
      [(value) => `pg_has_role(${value}, 'member')`, "42704"],
      [(value) => `to_tsquery(${value}) is not null`, "42601"],
      [(value) => `current_setting(${value}) is not null`, "42704"],
      [(value) => `(${value})::regclass is not null`, "42P01"],
      [(value) => `has_table_privilege(${value}, 'select')`, "42P01"],
      [(value) => `has_database_privilege(${value}, 'connect')`, "3D000"],
      [(value) => `has_schema_privilege(${value}, 'usage')`, "3F000"],
      [(value) => `(${value})::jsonpath is not null`, "42601"],
      [(value) => `query_to_xml(${value}, false, false, '') is not null`, "42601"],
      [(value) => `(${value})::int = 1`, "22P02"],
      [(value) => `raised_by_host(${value})`, "57014"]
    ]

    it.effect("that the row raises is not quoted, whatever its SQLSTATE", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write({
          ...log,
          changes: (log.changes ?? []).map((change) => ({
            ...change,
            ...(change.after === undefined ? {} : { after: { ...change.after, secret: "hush hush 4711" } }),
            ...(change.op === "delete" ? { from: { ...change.from, secret: "hush hush 4711" } } : {})
          }))
        })
        const sql = yield* SqlClient.SqlClient
        yield* sql`
          create or replace function raised_by_host(value text) returns boolean language plpgsql as $$
            begin
              raise exception 'met %', value using errcode = 'query_canceled';
            end
          $$`
        for (const [condition] of raising) {
          const scope = onChanges(
            ({ image, sql }) => sql`${sql.literal(condition(`${fragmentText(image)} ->> 'secret'`))}`
          )
          for (const [name, read] of Object.entries(reads)) {
            if (name === "actions") {
              continue
            }
            const failed = yield* errorOf(Query.withScope(read, scope))
            expect(failed, `${name} under ${condition("secret")}`).toBeDefined()
            expect(
              inspect(failed, { depth: null, showHidden: true }),
              `${name} under ${condition("secret")}`
            ).not.toMatch(/hush|4711/)
          }
          const where = Query.asOfRows("posts", at(15), {
            where: (image, sql) => sql.literal(condition(`${fragmentText(image)} ->> 'secret'`))
          })
          expect(inspect(yield* errorOf(where), { depth: null })).not.toMatch(/hush|4711/)
          // What is hidden is not even met.
          expect(yield* errorOf(Query.withScope(where, ofTenant("C")))).toBeUndefined()
        }
      })
    )

    it.effect("that is one of its text is quoted", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write(log)
        const ruleOf = (condition: string) =>
          errorOf(
            Query.withScope(
              Query.timeline(),
              onChanges(({ sql }) => sql.literal(condition))
            )
          )
        expect(yield* ruleOf("nowhere.f(1)")).toMatchObject({
          field: "scope",
          rule: expect.stringContaining('"nowhere"')
        })
        expect(yield* ruleOf("'x'::int = 1")).toMatchObject({ rule: expect.stringContaining("invalid input syntax") })
        expect(yield* ruleOf("count(*) > 1 and no_such_column")).toMatchObject({
          rule: expect.stringContaining("no_such_column")
        })
      })
    )
  })
})

const fragmentText = (fragment: Statement.Fragment): string =>
  fragment.segments.map((segment) => (segment._tag === "Literal" ? segment.value : "?")).join("")

describe("what a scope answers", () => {
  it.layer(services)("as a condition or a boolean", (it) => {
    const prepared = Effect.andThen(reset, write(log))
    const untyped = (answer: unknown) => (() => answer) as Query.ReadScope

    it.effect("is refused where it is anything else, or the scope throws", () =>
      Effect.gen(function* () {
        yield* prepared
        const odd = [1, 0, "true", "", undefined, null, [], {}, Promise.resolve(true), Effect.succeed(true), () => true]
        for (const answer of odd) {
          for (const [name, read] of Object.entries(reads)) {
            const failed = yield* errorOf(Query.withScope(read, untyped(answer)))
            expect(failed, `${name} under ${inspect(answer)}`).toMatchObject({
              field: "scope",
              rule: "must answer with an SQL condition, or with true or false"
            })
          }
        }
        const logged: Array<unknown> = []
        const logger = Logger.replace(
          Logger.defaultLogger,
          Logger.make(({ cause, message }) => void logged.push(message, String(cause)))
        )
        const throwing: Query.ReadScope = () => {
          throw new Error("no tenant for somebody")
        }
        for (const [name, read] of Object.entries(reads)) {
          const failed = yield* errorOf(Query.withScope(read, throwing).pipe(Effect.provide(logger)))
          expect(failed, name).toMatchObject({
            field: "scope",
            rule: "threw an exception instead of answering with a condition"
          })
          expect(String(failed)).not.toContain("somebody")
        }
        expect(String(logged)).toContain("no tenant for somebody")
        const untellable = () => {
          throw new Error("nobody may ask")
        }
        const thrown: ReadonlyArray<unknown> = [
          1n,
          Symbol("thrown"),
          undefined,
          null,
          Object.defineProperty(new Error("no"), "message", { get: untellable }),
          Object.defineProperty(new Error("no"), "stack", { get: untellable }),
          Object.defineProperty({}, "message", { get: untellable }),
          { toString: untellable, toJSON: untellable, [inspect.custom]: untellable },
          Object.assign(new Error("a number"), { n: 1n })
        ]
        for (const one of thrown) {
          const scope: Query.ReadScope = () => {
            throw one
          }
          // They make texts, and write them nowhere.
          for (const form of [Logger.jsonLogger, Logger.logfmtLogger, Logger.stringLogger]) {
            const layer = Logger.replace(Logger.defaultLogger, form)
            expect(yield* errorOf(Query.withScope(Query.timeline(), scope).pipe(Effect.provide(layer)))).toMatchObject({
              field: "scope",
              rule: "threw an exception instead of answering with a condition"
            })
          }
        }
        const broken: ReadonlyArray<unknown> = [
          [null],
          [undefined],
          [1],
          [{}],
          [{ _tag: "ArrayHelper" }],
          [{ _tag: "Identifier" }],
          [{ _tag: "Custom" }],
          [Object.defineProperty({}, "_tag", { get: untellable })]
        ]
        const sql = yield* SqlClient.SqlClient
        for (const segments of broken) {
          const failed = yield* errorOf(
            Query.withScope(Query.timeline(), untyped({ ...sql`true`, [Statement.FragmentId]: sql`true`, segments }))
          )
          expect(failed, inspect(segments)).toMatchObject({ field: "scope" })
        }
        expect(
          yield* errorOf(
            Query.withScope(
              Query.timeline(),
              untyped(Object.defineProperty({ ...sql`true` }, "segments", { get: untellable }))
            )
          )
        ).toMatchObject({ field: "scope" })
        const where = (answer: unknown) =>
          errorOf(Query.asOfRows("posts", at(15), { where: () => answer as Statement.Fragment }))
        expect(yield* where(1)).toMatchObject({ field: "where" })
      })
    )

    it.effect("hides everything where it is made of an empty list", () =>
      Effect.gen(function* () {
        yield* prepared
        const none: ReadonlyArray<string> = []
        const ofNone: ReadonlyArray<Query.ReadScope> = [
          (...[surface, columns]) =>
            surface === "changes" && columns.sql`${columns.image} ->> 'tenant' in ${columns.sql.in(none)}`,
          (...[surface, columns]) =>
            surface === "changes" && columns.sql`not (${columns.image} ->> 'tenant' in ${columns.sql.in(none)})`,
          (_, { sql }) => sql.in("tenant", none),
          (_, { actorId, sql }) => sql.or(none.map((one) => sql`${actorId} = ${one}`)),
          (_, { actorId, sql }) => sql`(${sql.or(none.map((one) => sql`${actorId} = ${one}`))}) or false`,
          (_, { sql }) => sql.and([]),
          (_, { actorId, sql }) => sql`${actorId} = any (${none})`
        ]
        for (const scope of ofNone) {
          expect((yield* Query.withScope(Query.timeline(), scope)).items).toEqual([])
          expect((yield* Query.withScope(Query.transactions(), scope)).items).toEqual([])
          expect((yield* Query.withScope(Query.asOfRows("posts", at(15)), scope)).items).toEqual([])
          expect(yield* Query.withScope(reads["feed"] ?? Effect.void, scope)).toEqual([])
        }
      })
    )
  })
})

describe("transactions under a scope", () => {
  it.layer(services)("of two tenants", (it) => {
    const prepared = Effect.andThen(reset, write(log))
    const idsOf = (page: { readonly items: ReadonlyArray<Query.TransactionSummary> }) =>
      page.items.map(({ transaction }) => transaction.id)

    it.effect("are not found if they are hidden, whichever of their siblings is seen", () =>
      Effect.gen(function* () {
        yield* prepared
        const unknown = yield* errorOf(asA(Query.incident("99")))
        expect(unknown).toMatchObject({ subject: "transaction", id: "99" })
        expect(yield* errorOf(asA(Query.incident("2")))).toMatchObject({ subject: "transaction", id: "2" })
        expect(yield* errorOf(asA(Stream.runCollect(Query.incidentStream("2"))))).toMatchObject({ id: "2" })
        expect((yield* asA(Query.incident("1"))).siblings).toEqual([])
        const asB = Query.withScope(ofTenant("B"))
        expect((yield* asB(Query.incident("2"))).transaction.id).toBe("2")
      })
    )

    it.effect("are listed as they have an incident if they are seen by an action alone", () =>
      Effect.gen(function* () {
        yield* prepared
        expect((yield* asA(Query.incident("3"))).changes.items).toEqual([])
        for (const order of ["newest", "oldest"] as const) {
          const expected = order === "newest" ? ["3", "1"] : ["1", "3"]
          const page = yield* asA(Query.transactions({ order }))
          expect(idsOf(page)).toEqual(expected)
          const last = page.items.find(({ transaction }) => transaction.id === "3")
          expect(last).toMatchObject({ changes: { count: 0, exact: true }, tables: [] })
          const streamed = yield* asA(Stream.runCollect(Query.transactionsStream({ order, limit: 1 })))
          expect([...streamed].map(({ transaction }) => transaction.id)).toEqual(expected)
        }
        expect(idsOf(yield* asA(Query.transactions({ transactionId: "3" })))).toEqual(["3"])
        expect(idsOf(yield* asA(Query.transactions({ actor: { type: "user", id: "b" } })))).toEqual(["3"])
        expect(idsOf(yield* asA(Query.transactions({ action: "for A" })))).toEqual(["3"])
        expect(idsOf(yield* asA(Query.transactions({ requestId: "r" })))).toEqual(["3"])
        expect(idsOf(yield* asA(Query.transactions({ from: at(15), to: at(25) })))).toEqual(["3"])
        expect(idsOf((yield* asA(Query.actorWindow({ type: "user", id: "b" }))).transactions)).toEqual(["3"])
        // What is asked of its changes is asked of those that are seen.
        for (const filter of [
          { table: "posts" },
          { op: "delete" },
          { contains: { tenant: "B" } },
          { table: "posts", key: "3" },
          { schema: "public" }
        ] as const) {
          expect(idsOf(yield* asA(Query.transactions(filter)))).not.toContain("3")
        }
        expect(idsOf(yield* asA(Query.transactions({ from: at(21) })))).toEqual([])
        expect(idsOf(yield* asA(Query.transactions({ transactionId: "2" })))).toEqual([])
      })
    )

    it.effect("show what is seen of them: actions, and the context only with a change", () =>
      Effect.gen(function* () {
        yield* reset
        const boss = { type: "user", id: "boss", label: "Boss of B" }
        const clerk = { type: "user", id: "clerk" }
        const context = {
          actor: boss,
          correlationId: "secret",
          requestId: "secret-r",
          meta: { m: "B meta" },
          source: "secret-s"
        }
        const hidden = { name: "secret.layoff", actor: boss, correlationId: "secret", status: "error" as const }
        const seen = {
          name: "public.note",
          actor: clerk,
          correlationId: "seen",
          requestId: "seen-r",
          data: { tenant: "A" }
        }
        yield* write({
          transactions: [
            { id: "1", xid: "7", occurredAt: at(0), ...context, actionId: "1" },
            { id: "2", xid: "7", occurredAt: at(10), ...context, actionId: "3" },
            { id: "3", occurredAt: at(20), correlationId: "seen", actionId: null },
            { id: "4", occurredAt: at(30), correlationId: "secret", actor: clerk, actionId: "5" }
          ],
          actions: [
            { id: "1", transactionId: "1", ...hidden, data: { tenant: "B" } },
            { id: "2", transactionId: "1", ...seen },
            { id: "3", transactionId: "2", ...hidden, data: { tenant: "B" } },
            { id: "4", transactionId: "2", ...seen },
            { id: "5", transactionId: "4", name: "public.other", correlationId: "other", data: { tenant: "A" } }
          ],
          changes: [
            { id: "1", transactionId: "1", at: at(0), op: "insert", key: "1", after: row(1, "B") },
            { id: "2", transactionId: "2", at: at(10), op: "insert", key: "2", after: row(2, "A") },
            { id: "3", transactionId: "3", at: at(20), op: "insert", key: "3", after: row(3, "A") },
            { id: "4", transactionId: "4", at: at(30), op: "insert", key: "4", after: row(4, "B") }
          ]
        })
        const action = { id: "2", name: "public.note", status: "ok", correlationId: "seen" }
        const transaction = {
          id: "1",
          occurredAt: at(0),
          actor: clerk,
          correlationId: "seen",
          requestId: "seen-r",
          jobId: null,
          traceId: null,
          source: null,
          remoteIp: null,
          meta: {},
          contextError: null,
          dbUser: null,
          applicationName: null,
          clientAddr: null
        }
        const [listed] = (yield* asA(Query.transactions({ transactionId: "1" }))).items
        expect(listed).toEqual({ transaction, action, changes: { count: 0, exact: true }, tables: [] })
        const incident = yield* asA(Query.incident("1"))
        expect(incident.transaction).toEqual(transaction)
        expect(incident.siblings).toMatchObject([{ transaction: { id: "2", ...context }, action: { id: "4" } }])
        // The fourth one is of the hidden correlation, by its own context that no visible change shows.
        expect(incident.related.map((one) => one.transaction.id)).toEqual(["3"])
        expect((yield* asA(Query.incident("2"))).siblings).toEqual([{ transaction, action }])
        expect((yield* asA(Query.incident("2"))).related.map((one) => one.transaction.id)).toEqual(["3"])
        // Every read of what the second one changed shows its context, and the action that is seen.
        const shown = [{ transactionId: "2", transaction: context, action: { id: "4", name: "public.note" } }]
        const bundle = yield* asA(Query.correlation("seen"))
        const window = yield* asA(Query.actorWindow({ type: "user", id: "boss" }))
        const fed = yield* asA(Effect.flatMap(Feed.Feed, (feed) => feed.read()))
        for (const changes of [
          (yield* asA(Query.timeline({ transactionId: "2" }))).items,
          (yield* asA(Query.history("posts", "2"))).items,
          [(yield* asA(Query.diff("2"))).change],
          bundle.changes.items.filter((change) => change.transactionId === "2"),
          window.changes.items,
          fed.changes.filter((change) => change.transactionId === "2")
        ]) {
          expect(changes).toMatchObject(shown)
        }
        const lines = yield* asA(
          Export.stream({ format: "ndjson", filter: { transactionId: "2" } }).pipe(
            Stream.decodeText(),
            Stream.runFold("", (text, chunk) => text + chunk)
          )
        )
        expect(lines).toContain("public.note")
        expect(lines).not.toContain("secret.layoff")
        expect(idsOf(bundle.transactions)).toEqual(["3", "2", "1"])
        // Neither do filters tell what is not shown.
        expect(idsOf(window.transactions)).toEqual(["2"])
        for (const filter of [
          { actor: { type: "user", id: "boss" } },
          { actorLabel: "Boss" },
          { requestId: "secret-r" },
          { source: "secret-s" },
          { meta: { m: "B meta" } },
          { dbUser: "app", to: at(15) }
        ] as const) {
          expect(idsOf(yield* asA(Query.transactions(filter)))).toEqual(["2"])
        }
        for (const [id, count] of [
          ["secret", 0],
          ["seen", 2]
        ] as const) {
          expect((yield* asA(Query.transactions({ correlationId: id }))).items).toHaveLength(count)
        }
        // Without a scope nothing is left out.
        expect((yield* Query.transactions({ transactionId: "1" })).items).toMatchObject([
          { transaction: context, action: { id: "1", name: "secret.layoff" } }
        ])
      })
    )

    it.effect("are found by a correlation as the actions that are seen have it", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write({
          transactions: [
            { id: "1", occurredAt: at(0), correlationId: "c", actionId: "1" },
            { id: "2", occurredAt: at(10), correlationId: "c", actionId: "2" },
            { id: "3", occurredAt: at(20), correlationId: "c" }
          ],
          actions: [
            {
              id: "1",
              transactionId: "1",
              name: "hidden",
              correlationId: "x",
              occurredAt: at(0),
              data: { tenant: "B" }
            },
            { id: "2", transactionId: "2", name: "seen", correlationId: "y", occurredAt: at(9), data: { tenant: "A" } }
          ],
          changes: ["1", "2", "3"].map((id, index) => ({
            id,
            transactionId: id,
            at: at(index * 10),
            op: "insert",
            key: id,
            after: row(index, "A")
          }))
        })
        const wide = { correlationId: "c", includeCaptureOnly: true }
        // Of the second one an action is seen that carries another id.
        expect((yield* asA(Query.timeline(wide))).items.map(({ id }) => id)).toEqual(["3", "1"])
        expect(yield* asA(Query.count(wide))).toEqual({ count: 2, exact: true })
        const bundle = yield* asA(Query.correlation("c"))
        expect(bundle.changes.items.map(({ id }) => id)).toEqual(["3", "1"])
        expect(idsOf(bundle.transactions)).toEqual(["3", "1"])
        expect((yield* asA(Query.timeline({ correlationId: "c" }))).items).toEqual([])
        expect((yield* asA(Query.timeline({ correlationId: "x", includeCaptureOnly: true }))).items).toEqual([])
        // Without a scope an action is an action.
        expect((yield* Query.timeline(wide)).items.map(({ id }) => id)).toEqual(["3"])
      })
    )

    it.effect("are nowhere told from none, however many are hidden", () =>
      Effect.gen(function* () {
        yield* reset
        const many = Array.from({ length: 12 }, (_, index) => String(index + 1))
        yield* write({
          transactions: many.map((id) => ({
            id: `${id}0`,
            occurredAt: at(0),
            actor: { type: "user", id: "b" },
            correlationId: "c",
            requestId: "r",
            jobId: "j",
            traceId: "t"
          })),
          actions: many.map((id) => ({
            id,
            transactionId: "10",
            name: "of B",
            actor: { type: "user", id: "b" },
            correlationId: "c",
            requestId: "r",
            occurredAt: at(0),
            data: { tenant: "B" }
          })),
          changes: [
            ...many.map((id) => ({ id, transactionId: "10", at: at(1), key: "7" })),
            ...many.slice(1).map((id) => ({ id: `1${id}`, transactionId: `${id}0`, at: at(1), key: `["b",${id}]` }))
          ].map((change): ChangeSeed => ({ ...change, table: "posts", op: "insert", after: row(7, "B") }))
        })
        const few = <A, E, R>(read: Effect.Effect<A, E, R>) =>
          asA(read).pipe(
            Effect.provideService(Budget, { probe: 2, changes: 3, transactions: 3, visits: 3 }),
            Effect.provideService(rowsBudget.Budget, { entries: 4, stretch: 2, keys: 3, few: 4 })
          )
        const filters: ReadonlyArray<readonly [there: Query.FilterInput, elsewhere: Query.FilterInput]> = [
          [{ transactionId: "10" }, { transactionId: "99" }],
          [
            { table: "posts", key: "7" },
            { table: "posts", key: "8" }
          ],
          [
            { correlationId: "c", includeCaptureOnly: true },
            { correlationId: "d", includeCaptureOnly: true }
          ],
          [{ correlationId: "c" }, { correlationId: "d" }],
          [{ actor: { type: "user", id: "b" } }, { actor: { type: "user", id: "c" } }],
          [{ requestId: "r" }, { requestId: "s" }],
          [{ jobId: "j" }, { jobId: "k" }],
          [{ traceId: "t" }, { traceId: "u" }]
        ]
        for (const [there, elsewhere] of filters) {
          for (const order of ["newest", "oldest"] as const) {
            expect(yield* few(Query.timeline({ ...there, order }))).toEqual(
              yield* few(Query.timeline({ ...elsewhere, order }))
            )
            expect(yield* few(Query.transactions({ ...there, order }))).toEqual(
              yield* few(Query.transactions({ ...elsewhere, order }))
            )
          }
          expect(yield* few(Query.count(there))).toEqual({ count: 0, exact: true })
          expect(yield* few(Query.collect(there))).toEqual([])
        }
        for (const actions of [
          { transactionId: "10" },
          { correlationId: "c" },
          { actor: { type: "user", id: "b" } }
        ] as const) {
          expect(yield* few(Query.actions(actions))).toMatchObject({ items: [], hasMore: false, partial: false })
        }
        expect(textOf(yield* few(Query.correlation("c")))).toBe(textOf(yield* few(Query.correlation("d"))))
        expect(textOf(yield* few(Query.actorWindow({ type: "user", id: "b" })))).toBe(
          textOf(yield* few(Query.actorWindow({ type: "user", id: "c" })))
        )
        expect(yield* few(Query.history("posts", "7"))).toEqual(yield* few(Query.history("posts", "8")))
        // Keys of several columns that begin with what somebody guesses.
        yield* write({
          changes: Array.from({ length: 12 }, (_, index) => ({
            id: `5${index}`,
            transactionId: "10",
            at: at(2),
            table: "members",
            op: "insert",
            key: `["b","${index}"]`,
            after: { account: "b", person: index, tenant: "B" }
          }))
        })
        expect(yield* few(Query.asOfRows("members", at(5), { contains: { account: "b" } }))).toEqual(
          yield* few(Query.asOfRows("members", at(5), { contains: { account: "c" } }))
        )
      })
    )
  })
})

describe("a condition of the reader", () => {
  it.layer(services)("over rows at an instant", (it) => {
    it.effect("sees the one row that it judges", () =>
      Effect.gen(function* () {
        yield* Effect.andThen(
          reset,
          write({
            transactions: [{ id: "1", occurredAt: at(0) }],
            changes: ["A", "B", "A", "B"].map((tenant, index) => ({
              id: String(index + 1),
              transactionId: "1",
              at: at(index),
              op: "insert",
              key: String(index + 1),
              after: row(index + 1, tenant)
            }))
          })
        )
        const keys = (where: Query.ImageCondition) =>
          Effect.map(Effect.either(asA(Query.asOfRows("posts", at(15), { where }))), (result) =>
            Either.isLeft(result) ? String(result.left) : result.right.items.map(({ rowKey }) => rowKey)
          )
        const allKeys = ["1", "3"]
        expect(yield* keys((_, sql) => sql`true`)).toEqual(allKeys)
        expect(yield* keys((image, sql) => sql`lag(${image}) over () is null`)).toEqual(allKeys)
        expect(yield* keys((image, sql) => sql`bool_or(${image} ->> 'tenant' = 'B') over ()`)).toEqual([])
        expect(yield* keys((_, sql) => sql`row_number() over () = 1`)).toEqual(allKeys)
        expect(yield* keys((_, sql) => sql`count(*) over () = 1`)).toEqual(allKeys)
        expect(yield* keys((_, sql) => sql`count(*) = 1`)).toEqual(allKeys)
        expect(yield* keys((image, sql) => sql`bool_or(${image} ->> 'tenant' = 'B')`)).toEqual([])
        expect(yield* keys((image, sql) => sql`(select max(${image} ->> 'tenant')) = 'A'`)).toEqual(allKeys)
        for (const name of ["seen", "judged", "threadline_judged", "threadline_own", "threadline_truncates"]) {
          expect(yield* keys((_, sql) => sql`exists (select from ${sql(name)})`), name).toContain("does not exist")
        }
        // Nor do window functions and aggregates of a scope.
        const scope = onChanges(({ image, sql }) => sql`row_number() over () = 1 and ${image} ->> 'tenant' = 'A'`)
        expect((yield* Query.withScope(Query.timeline(), scope)).items.map(({ id }) => id)).toEqual(["3", "1"])
        expect((yield* Query.withScope(Query.asOfRows("posts", at(15)), scope)).items).toHaveLength(2)
      })
    )
  })
})

describe("a stream under a scope", () => {
  it.layer(services)("of changes", (it) => {
    const ids = (stream: Stream.Stream<{ readonly id: string }, Query.ReadError, Query.Query>) =>
      Effect.map(Stream.runCollect(stream), (items) => [...items].map(({ id }) => id))

    it.effect("has a form of its own, and takes its scope along where an effect results in it", () =>
      Effect.gen(function* () {
        yield* Effect.andThen(reset, write(log))
        expect(yield* ids(Query.timelineStream())).toEqual(["4", "2", "3", "1"])
        const scoped = Query.timelineStream().pipe(Query.withScopeStream(ofTenant("A")))
        expect(yield* ids(scoped)).toEqual(["3", "1"])
        expect(yield* ids(Query.withScopeStream(scoped, ofTenant("B")))).toEqual([])
        expect(yield* asA(ids(Query.timelineStream()))).toEqual(["3", "1"])
        // Made under the scope and run outside.
        expect(yield* ids(yield* asA(Effect.succeed(Query.timelineStream())))).toEqual(["3", "1"])
        expect(yield* ids(Stream.unwrap(asA(Effect.sync(() => Query.historyStream("posts", "2")))))).toEqual([])
        const batches = yield* asA(Effect.succeed(Feed.stream()))
        const fed = yield* Stream.runCollect(batches)
        expect([...fed].flatMap(({ changes }) => changes.map(({ id }) => id))).toEqual(["1", "3"])
      })
    )

    it.effect("fails where a scope is required and it is run without", () =>
      Effect.gen(function* () {
        yield* Effect.andThen(reset, write(log))
        const required = Layer.fresh(Query.layerScopeRequired)
        const outside = Effect.flatMap(asA(Effect.succeed({ stream: Query.timelineStream() })), ({ stream }) =>
          ids(stream)
        )
        expect(yield* errorOf(Effect.provide(outside, required))).toMatchObject({ field: "scope" })
        const inside = ids(Query.timelineStream().pipe(Query.withScopeStream(ofTenant("A"))))
        expect(yield* Effect.provide(inside, required)).toEqual(["3", "1"])
      })
    )
  })
})

describe("a cursor of a scope", () => {
  it.layer(services)("of one tenant", (it) => {
    it.effect("does not page under the same scope of another tenant", () =>
      Effect.gen(function* () {
        yield* Effect.andThen(reset, write(log))
        const cursor = Option.getOrUndefined((yield* asA(Query.timeline({ limit: 1 }))).nextCursor)
        expect(cursor).toBeDefined()
        expect((yield* asA(Query.timeline({ limit: 1, cursor }))).items.map(({ id }) => id)).toEqual(["1"])
        const another = errorOf(Query.withScope(Query.timeline({ limit: 1, cursor }), ofTenant("B")))
        expect(yield* another).toMatchObject({ field: "cursor", rule: "is not a cursor of this query" })
      })
    )
  })
})
