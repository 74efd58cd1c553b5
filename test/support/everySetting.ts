/**
 * One story and everything that Threadline says of it, in a database whose sessions begin with given settings. The story's own
 * statements mean the same whatever these are.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Actor from "../../src/Actor.js"
import * as Audit from "../../src/Audit.js"
import * as Capture from "../../src/Capture.js"
import * as Continuity from "../../src/Continuity.js"
import * as Evidence from "../../src/Evidence.js"
import * as Export from "../../src/Export.js"
import * as ExportJobs from "../../src/ExportJobs.js"
import * as Feed from "../../src/Feed.js"
import * as Health from "../../src/Health.js"
import { stringify } from "../../src/internal/core/json.js"
import * as Migrations from "../../src/Migrations.js"
import * as Query from "../../src/Query.js"
import * as Retention from "../../src/Retention.js"
import * as SavedViews from "../../src/SavedViews.js"
import * as Threadline from "../../src/Threadline.js"
import { clientOf } from "../harness/client.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { instantNow } from "./instantNow.js"

/** Types of keys, each with two values that are different keys. */
const keyTypes: ReadonlyArray<readonly [type: string, one: string, other: string]> = [
  ["numrange", "numrange(100, 200.50)", "numrange(300, 400)"],
  ["nummultirange", "nummultirange(numrange(1, 2.0))", "nummultirange(numrange(3.10, 4), numrange(5, 6))"],
  ["interval", "make_interval(months => 1, days => -3)", "make_interval(hours => 5)"],
  ["numeric", "1.10", "-0.00020"],
  ["bpchar(8)", "'a '::bpchar", "'b'::bpchar"],
  ["float8", "0.1::float8 + 0.2::float8", "1e-7::float8"],
  ["timestamptz", "'2024-02-29 23:30:00.5+01'::timestamptz", "'infinity'::timestamptz"],
  ["timestamp", "'2024-02-29 23:30:00'::timestamp", "'2024-03-01'::timestamp"],
  ["date", "'2024-02-03'::date", "'0044-03-15 BC'::date"],
  ["tstzrange", "tstzrange('2024-02-03 00:00+00', '2024-03-04 00:00+00')", "tstzrange(null, null)"],
  ["daterange", "daterange('2024-02-03', '2024-03-04')", "daterange('2024-03-03', null)"],
  ["bytea", "decode('00ff5c', 'hex')", "decode('27', 'hex')"],
  ["text", "chr(92) || 'a' || chr(39) || chr(10)", "'null'::text"],
  ["boolean", "true", "false"],
  ["uuid", "'00000000-0000-0000-0000-00000000000a'::uuid", "'10000000-0000-0000-0000-00000000000a'::uuid"],
  ["text[]", "array['NULL', null, chr(92)]", "array[]::text[]"],
  ["numeric[]", "array[1.10, null]", "array[2.0]"],
  ["interval[]", "array[make_interval(days => 1)]", "array[make_interval(months => 1)]"],
  ["jsonb", "jsonb_build_object('a', 1.0)", "jsonb_build_array(null, chr(92))"],
  ["mood", "'fine'::mood", "'so so'::mood"],
  ["inside", "row(1.10, make_interval(days => 1), null)::inside", "row(null, null, 'b')::inside"],
  ["moment", "'2024-02-29 23:30:00+01'::timestamptz::moment", "'2024-03-29 23:30:00+01'::timestamptz::moment"],
  ["inet", "'10.0.0.1'::inet", "'::1'::inet"],
  ["bit(3)", "B'101'", "B'011'"],
  ["oid", "5", "6"]
]

const keyed = keyTypes.map(([type, one, other], place) => ({ table: `k${place}`, type, one, other }))

const images: ReadonlyArray<readonly [column: string, type: string, value: string]> = [
  ...keyed.map(({ one, type }, place): [string, string, string] => [`c${place}`, type, one]),
  ["x", "xml", "xmlparse(content '<a/>text')"],
  ["m", "money", "1234.5::numeric::money"],
  ["p", "point", "point(0.1::float8 + 0.2::float8, 1 / 3.0)"],
  ["f4", "float4", "1.1::float4 / 3"],
  ["rel", "regclass", `'"Odd Table"'::regclass`],
  ["typ", "regtype", "'inside'::regtype"],
  ["tz", "timetz", "'12:00+02'::timetz"],
  ["js", "json", `'{"a": 1.10, "a": 2}'::json`],
  ["tsa", "timestamptz[]", "array['2024-02-29 23:30:00+01'::timestamptz, null]"],
  ["bya", "bytea[]", "array[decode('00', 'hex')]"],
  ["v", "tsvector", "to_tsvector('simple', 'some words')"]
]

const tables: ReadonlyArray<Capture.TableConfig> = [
  ...keyed.map(({ table }, place): Capture.TableConfig => ({ table, mode: place % 5 === 4 ? "row" : "statement" })),
  { table: "images", mask: [] },
  { table: "imagesrow", mode: "row" },
  { table: "jobs" },
  { table: "jobsrow", mode: "row" },
  {
    table: `"Odd Table"`,
    exclude: ["doc.token"],
    mask: ["card", { column: "phone", as: "last4" }, { column: "mail", as: "hash" }],
    truncate: "rows"
  },
  { table: "stays", dropGuard: true },
  { table: "old" },
  { table: "bare" }
]

const world: ReadonlyArray<string> = [
  "create schema other",
  "create type mood as enum ('fine', 'so so')",
  "create type inside as (n numeric, i interval, t text)",
  "create domain moment as timestamptz",
  `create table "Odd Table" (id int primary key, doc jsonb, card text, phone text, mail text, "a.b" text)`,
  ...keyed.map(({ table, type }) => `create table ${table} (k ${type} primary key, v text)`),
  `create table images (id int primary key, ${images.map(([column, type]) => `${column} ${type}`).join(", ")})`,
  `create table imagesrow (id int primary key, ${images.map(([column, type]) => `${column} ${type}`).join(", ")})`,
  ...["jobs", "jobsrow"].flatMap((table) => [
    `create table ${table} (id int, state text, v text, primary key (id, state)) partition by list (state)`,
    `create table ${table}_a partition of ${table} for values in ('a')`,
    `create table other.${table}_b partition of ${table} for values in ('b')`
  ]),
  "create table stays (zone text, id int primary key, bed text)",
  "create table bare (v text, n int)",
  "create table old (id int primary key, v text)",
  "insert into stays values ('north', 1, 'a'), ('north', 4, 'd')",
  `insert into "Odd Table" values (9, null, '4000', '555', 'x@y', 'z')`
]

const context = (name: string): string =>
  `select threadline.set_context(jsonb_build_object('actor', jsonb_build_object('type', 'user', 'id', '${name}', 'label', 'Q' || chr(92) || chr(39)), 'correlationId', 'c-${name}', 'meta', jsonb_build_object('a', null, 'b', array['x', null])))`

const written: ReadonlyArray<string> = [
  ...keyed.flatMap(({ one, other, table }) => [
    `insert into ${table} values (${one}, 'a'), (${other}, 'b')`,
    `update ${table} set v = 'c' where k = ${one}`,
    `delete from ${table} where k = ${other}`,
    `update ${table} set k = ${other}`,
    `update ${table} set v = null`
  ]),
  ...["images", "imagesrow"].flatMap((table) => [
    `insert into ${table} select 1, ${images.map(([, , value]) => value).join(", ")}`,
    `insert into ${table} (id) values (2), (3)`,
    `update ${table} set ${images.map(([column, , value]) => `${column} = ${value}`).join(", ")} where id = 2`,
    `update ${table} set f4 = f4 * 2, c5 = c5, m = m * 2 where id < 3`,
    `update ${table} set ${images.map(([column]) => `${column} = null`).join(", ")} where id = 1`
  ]),
  ...["jobs", "jobsrow"].flatMap((table) => [
    `insert into ${table} select n, 'a', 'v' from generate_series(1, 4) n`,
    `update ${table} set state = 'b' where id = 1`,
    `merge into ${table} j using (select 2 as id) s on j.id = s.id when matched then update set state = 'b', v = 'moved'`,
    `merge into ${table} j using (select generate_series(3, 5) as id) s on j.id = s.id
      when matched then update set state = 'b', v = j.v || '.' when not matched then insert values (s.id, 'a', 'new')`,
    `with gone as (delete from ${table} where id = 3 returning *) insert into ${table} select id, 'a', 'again' from gone`
  ]),
  `insert into "Odd Table" values (1, jsonb_build_object('token', 's3', 'a', null), '4111', '0123456789', 'a@b.c', 'dot')`,
  `update "Odd Table" set doc = jsonb_set(doc, array['token'], '1'), card = '4222', "a.b" = chr(92)`,
  `update "Odd Table" set doc = jsonb_build_object('token', 's4', 'b', array[1, null]), phone = '9876543210'`,
  `truncate "Odd Table"`,
  "insert into bare values ('a', 1), ('a', 1), (null, null)",
  "update bare set n = null where v = 'a'",
  "delete from bare where v is null",
  "truncate bare",
  "insert into stays values ('south', 2, 'x'), ('south', 3, 'x')",
  "update stays set bed = 'y' where id in (2, 3)",
  "delete from stays where id = 2",
  "insert into old values (1, 'a'), (2, 'b')",
  "update old set v = 'c' where id = 1"
]

/** As the owner of the record, partitions back to last year; the changes of one table are moved there. */
const aged: ReadonlyArray<string> = [
  `select set_config('role', pg_get_userbyid(nspowner), false) from pg_namespace where nspname = 'threadline'`,
  "select threadline.ensure_partitions(now() - interval '400 days', now())",
  "reset role",
  "update threadline.audit_changes set captured_at = captured_at - interval '150 days' where table_name in ('stays', 'old')",
  `update threadline.audit_transactions t set occurred_at = occurred_at - interval '150 days'
   where exists (select from threadline.audit_changes c where c.transaction_id = t.id and c.table_name in ('stays', 'old'))`,
  "update threadline.capture_policies set captured_since = captured_since - interval '390 days' where table_name in ('stays', 'old', 'k0')"
]

const altered: ReadonlyArray<string> = [
  "alter table old add column w interval",
  "alter table old rename column v to label",
  "alter table old rename to older",
  "update older set label = 'd' where id = 1",
  "create table jobs_c partition of jobs for values in ('c')",
  "alter table jobs detach partition other.jobs_b",
  "alter table images disable trigger all",
  "update images set f4 = 0",
  "alter table k3 alter column k type numeric(20, 4)",
  "alter type mood rename value 'so so' to 'bad'",
  "alter type inside rename attribute t to u",
  "alter table k1 drop constraint k1_pkey",
  "alter table bare drop column n",
  'drop trigger "0_threadline_insert" on k2',
  "drop table other.jobsrow_b",
  "drop table k4",
  "alter table k8 alter column k type timestamp"
]

/** Those that the story leaves as they are named, each with a key. */
const remaining = tables.filter(({ table }) => !["old", "k1", "k4"].includes(table))

type Answer = Effect.Effect<unknown, unknown, Threadline.Services | SqlClient.SqlClient | Scope.Scope>

const textOf = (options: Export.StreamOptions): Answer =>
  Effect.map(Stream.runCollect(Stream.decodeText(Export.stream(options))), (parts) => [...parts].join(""))

const listed = <A, E>(stream: Stream.Stream<A, E, Threadline.Services>): Answer =>
  Effect.map(Stream.runCollect(stream), (found) => [...found])

const reads = (at: string): Readonly<Record<string, Answer>> => ({
  timeline: listed(Query.timelineStream({})),
  "timeline of a key": Query.timeline({ table: ["old"], key: "1" }),
  "timeline of fields": Query.timeline({ table: ["images"], changedField: ["f4", "c0"] }),
  "timeline of updates": Query.timeline({ op: ["update"], table: ["k0", "k15", "jobs"], limit: 7 }),
  "timeline of content": Query.timeline({ table: [`"Odd Table"`], contains: { id: 1 } }),
  "timeline of no content": Query.timeline({ contains: { v: null } }),
  "timeline of an actor": Query.timeline({ actor: { type: "user", id: "42" }, limit: 5 }),
  "timeline of a label": Query.timeline({ actorLabel: "Q\\'", limit: 5 }),
  "timeline of a correlation": Query.timeline({ correlationId: "c-42", limit: 5 }),
  "timeline of meta": Query.timeline({ meta: { a: null }, limit: 5 }),
  "timeline of a time": Query.timeline({ from: "2020-01-01", to: at, limit: 5, op: ["delete"] }),
  unattributed: listed(Query.unattributedStream({})),
  transactions: listed(Query.transactionsStream({})),
  actions: listed(Query.actionsStream({})),
  "schema events": listed(Query.schemaEventsStream({})),
  count: Query.count({ op: ["insert"] }),
  correlation: Query.correlation("c-42"),
  "actor window": Query.actorWindow({ type: "user", id: "42" }),
  ...Object.fromEntries(
    ["old", "k0", "stays", "jobs", "Odd Table"].flatMap((table) => [
      [`names of ${table}`, Query.names(table === "Odd Table" ? `"Odd Table"` : table)],
      [`columns of ${table}`, Query.columns(table === "Odd Table" ? `"Odd Table"` : table)],
      [`knowledge of ${table}`, Query.knowledge(table === "Odd Table" ? `"Odd Table"` : table)]
    ])
  ),
  ...Object.fromEntries(
    [...keyed.map(({ table }) => table), "old", "stays", "jobs", "jobsrow", "images", `"Odd Table"`].flatMap(
      (table) => [
        [`rows of ${table}`, Query.asOfRows(table, at)],
        [
          `rows of ${table} one by one`,
          Effect.flatMap(Query.timeline({ table: [table], limit: 100 }), ({ items }) =>
            Effect.forEach(
              [...new Map(items.flatMap(({ rowKey, rowPk }) => (rowPk === null ? [] : [[rowKey, rowPk]]))).values()],
              (key) => Effect.all([Effect.exit(Query.asOf(table, key, at)), Effect.exit(Query.history(table, key))])
            )
          )
        ]
      ]
    )
  ),
  "rows before they were there": Effect.forEach(["2025-01-01", "2025-12-01", at], (instant) =>
    Effect.all([
      Effect.exit(Query.asOf("old", "1", instant)),
      Effect.exit(Query.asOf("stays", "1", instant)),
      Effect.exit(Query.asOf("stays", "3", instant))
    ])
  ),
  "history with events": Query.historyWithEvents("old", "1"),
  diffs: Effect.flatMap(Query.timeline({ op: ["update"], limit: 40 }), ({ items }) =>
    Effect.forEach(items, ({ id }) => Effect.exit(Query.diff(id)))
  ),
  "diff between": Query.diffBetween("old", "1", "2026-01-01", at),
  incidents: Effect.flatMap(Query.transactions({ limit: 6 }), ({ items }) =>
    Effect.forEach(items, ({ transaction: { id } }) => Effect.exit(Query.incident(id)))
  ),
  feed: Effect.map(Feed.read({ limit: 1000 }), ({ changes }) => changes),
  "feed consumed": Effect.map(
    Effect.timeoutOption(
      Feed.consume("consumer", () => Effect.void),
      "2 seconds"
    ),
    () => null
  ),
  checkpoints: Feed.checkpoints,
  ...Object.fromEntries(
    (["csv", "ndjson", "json"] as const).map((format) => [`export as ${format}`, textOf({ format })])
  ),
  ...Object.fromEntries(
    (["ocsf", "cloudevents", "debezium"] as const).map((shape) => [
      `export as ${shape}`,
      textOf({ format: "ndjson", shape })
    ])
  ),
  parquet: Effect.map(Stream.runCollect(Export.stream({ format: "parquet" })), (parts) => [...parts].length > 0),
  "job queued": ExportJobs.queue({ format: "csv", filter: { table: ["old"], contains: { a: null } } }),
  jobs: ExportJobs.list(),
  "view saved": SavedViews.save({ owner: Actor.user("42"), name: "a\\b'", filter: { contains: { a: null } } }),
  "view run": Effect.flatMap(SavedViews.get(Actor.user("42"), "a\\b'"), (view) => SavedViews.run(view)),
  views: SavedViews.list(),
  "capture status": Effect.map(Capture.status(tables), (all) =>
    all.map((status) => [status, status.findings.map(Capture.describeFinding)])
  ),
  "capture plan": Capture.plan(remaining),
  "capture plan of others": Capture.plan([{ table: "older" }]),
  "capture print": Capture.print(remaining),
  "migration status": Migrations.status(),
  coverage: Health.coverage({ all: true }),
  health: Health.report({ tables: remaining }),
  policies: Health.policies({ tables }),
  canary: Health.canary,
  continuity: Continuity.check(),
  "continuity report": Continuity.report(),
  plan: Retention.plan({
    keep: "90 days",
    tables: { "public.k0": "1 day" },
    holds: [{ table: "stays", key: "3", reason: "r" }]
  }),
  runs: Retention.runs()
})

const works: Readonly<Record<string, Answer>> = {
  baseline: Continuity.baseline({ batchSize: 2, tables: ["k0", `"Odd Table"`, "stays"] }),
  "baseline recorded": Query.timeline({ op: ["baseline"] }),
  purge: Effect.flatMap(
    Retention.plan({ keep: "90 days", holds: [{ table: "stays", key: "3", reason: "r" }] }),
    (plan) => Retention.purge(plan, { actor: Actor.admin("1"), pause: 0 })
  ),
  maintain: Retention.maintain(),
  "runs later": Retention.runs(),
  ...Object.fromEntries(
    Evidence.subjects.map((subject) => [
      `evidence of ${subject}`,
      Evidence.derive(subject, { reference: "r", policy: { keep: "90 days" } })
    ])
  ),
  "apply later": Effect.flatMap(Capture.apply([...remaining, { table: "older" }]), (steps) =>
    Effect.succeed(steps.map((step) => [step.kind, step.table, Capture.describeStep(step)]))
  ),
  "health later": Health.report({}),
  "old rows later": Effect.forEach(["2025-01-01", "2026-09-01"], (instant) =>
    Effect.all([Effect.exit(Query.asOf("stays", "1", instant)), Effect.exit(Query.asOf("stays", "3", instant))])
  ),
  "timeline later": listed(Query.timelineStream({ op: ["update", "delete", "truncate"] })),
  evidence: Evidence.list(),
  overview: Evidence.overview,
  proof: Evidence.proof({ from: "2020-01-01", to: "2099-01-01" })
}

/** A text of an answer that another database gives too. */
const normal = (value: unknown, names: ReadonlyArray<string>): string =>
  names
    .reduce(
      (text, name, place) => text.replaceAll(name, `NAME${place}`),
      typeof value === "string" ? value : stringify(value)
    )
    .replaceAll(/\d{4}-\d\d-(?!01T00:00:00)\d\dT[\d:.]+(?:Z|\+00:00)/g, "T")
    .replaceAll(/hmac:[0-9a-f]{8}:[0-9a-f]+/g, "H")
    .replaceAll(/\b1[78]\d{11}(?:\d{3})?(?:\d{3})?\b/g, "N")
    .replaceAll(
      /("(?:snapshot|xid|oid|relation|backendPid|lagMillis|durationMillis|bytes|sha256|nextCursor|cursor|estimate|epoch|checkpoint|processId|clientAddress|clientAddr|position|lease|token|fence|pages|spent|keyId)":)(?:"[^"]*"|\d+|\{[^{}]*\})/g,
      "$1_"
    )

/** Settings of the sessions that install, write and read; the defaults unless given. */
export interface Settings {
  readonly installing?: ReadonlyArray<string>
  readonly writing?: ReadonlyArray<string>
  readonly reading?: ReadonlyArray<string>
}

/** Everything that is asked, each with its answer as a text. */
export const answersUnder = ({
  installing = [],
  reading = [],
  writing = []
}: Settings): Effect.Effect<ReadonlyMap<string, string>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const database = yield* TestDatabase.make({ schema: false })
    const role = yield* database.role("Reader", "superuser")
    const begin = (some: ReadonlyArray<string>) =>
      Effect.zipRight(
        TestDatabase.administer(`alter role ${role.name} reset all`),
        TestDatabase.administer(...some.map((setting) => `alter role ${role.name} set ${setting}`))
      )
    const client = Effect.map(Layer.build(clientOf(role.url, 4)), (built) => Context.get(built, SqlClient.SqlClient))
    const found = new Map<string, string>()
    const ask = (answers: Readonly<Record<string, Answer>>) =>
      Effect.gen(function* () {
        const sql = yield* client
        const services = Threadline.layer({ writer: Layer.succeed(SqlClient.SqlClient, sql) })
        for (const [name, answer] of Object.entries(answers)) {
          const exit = yield* Effect.exit(
            Effect.scoped(Effect.provide(answer, services)).pipe(Effect.provideService(SqlClient.SqlClient, sql))
          )
          found.set(
            name,
            normal(
              Exit.isSuccess(exit)
                ? (JSON.parse(stringify(exit.value ?? null)) as unknown)
                : `failed: ${Cause.pretty(exit.cause)}`,
              [role.name, database.name, database.ownerRole]
            )
          )
        }
      }).pipe(Effect.scoped)
    const told = (statements: ReadonlyArray<string>) =>
      Effect.gen(function* () {
        const session = yield* database.rawClient("Reader")
        let last: unknown
        for (const statement of statements) {
          last = yield* Effect.promise(() =>
            session.query(statement).then(
              (result: { readonly rows: ReadonlyArray<Record<string, unknown>> }) =>
                Object.values(result.rows[0] ?? {})[0],
              (error: unknown) => {
                found.set(`failed: ${statement}`, String(error))
              }
            )
          )
        }
        return String(last)
      }).pipe(Effect.scoped, Effect.orDie)

    yield* begin(installing)
    yield* Effect.flatMap(client, (sql) =>
      Effect.gen(function* () {
        yield* Migrations.run({ watchSchema: true, ownerRole: database.ownerRole })
        yield* told(world)
        yield* Effect.provide(
          Effect.zipRight(Capture.apply(tables), Continuity.baseline({ tables: ["stays"] })),
          Layer.merge(Capture.layer, Continuity.layer)
        )
      }).pipe(Effect.provideService(SqlClient.SqlClient, sql))
    ).pipe(Effect.scoped, Effect.orDie)
    yield* begin(writing)
    yield* told([
      "begin",
      context("42"),
      ...written.slice(0, 40),
      context("43"),
      ...written.slice(40, 80),
      "commit",
      ...written.slice(80)
    ])
    yield* ask({
      audited: Audit.transaction(
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into stays values ('west', 7, 'q')`),
        { actor: Actor.user("44", { label: "\\'" }), action: { name: "stay.opened", data: { a: null, b: "\\" } } }
      )
    })
    yield* told(aged)
    const at = yield* told([...altered, instantNow])
    yield* begin(reading)
    yield* ask(reads(at))
    yield* ask(works)
    // Someone drops a partition with changes of the record.
    yield* told([
      "set default_transaction_read_only = off",
      `do $$ declare leaf regclass; begin
         select tableoid::regclass into leaf from threadline.audit_changes where captured_at < now() - interval '100 days' limit 1;
         if leaf is not null then execute 'drop table ' || leaf; end if; end $$`
    ])
    yield* ask({
      "rows whose changes were dropped": Effect.forEach(["2025-01-01", "2025-12-01", "2026-06-01", at], (instant) =>
        Effect.all([Effect.exit(Query.asOf("stays", "1", instant)), Effect.exit(Query.asOf("older", "1", instant))])
      ),
      "coverage at the end": Health.coverage()
    })
    return found
  }).pipe(Effect.orDie)
