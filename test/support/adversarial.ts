/** What the adversarial tests share: a database of a test's own, sessions that show every value as its text, the chain of images. */
import { SqlError } from "@effect/sql/SqlError"
import { layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type pg from "pg"
import * as Capture from "../../src/Capture.js"
import * as Feed from "../../src/Feed.js"
import { stringify } from "../../src/internal/core/json.js"
import { sqlState } from "../../src/internal/sql/sqlState.js"
import * as Migrations from "../../src/Migrations.js"
import * as Query from "../../src/Query.js"
import { clientOf } from "../harness/client.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { emptied } from "./emptied.js"
import { instantNow } from "./instantNow.js"

/** A row with every value as PostgreSQL's own text. */
export type Row = Readonly<Record<string, string | null>>

export interface Session {
  /** Runs each text as one simple message, which may hold several statements. */
  readonly run: (...messages: ReadonlyArray<string>) => Effect.Effect<void, SqlError>
  readonly rows: (query: string, values?: ReadonlyArray<string | null>) => Effect.Effect<ReadonlyArray<Row>, SqlError>
  /** The first value of the first row. */
  readonly value: (
    query: string,
    values?: ReadonlyArray<string | null>
  ) => Effect.Effect<string | null | undefined, SqlError>
  /** The first value of every row. */
  readonly column: (query: string) => Effect.Effect<ReadonlyArray<string | null>, SqlError>
  /** The SQLSTATE with which a statement fails; `ok` if it does not. */
  readonly outcome: (message: string) => Effect.Effect<string>
}

const asText = { getTypeParser: () => (text: string | null) => text }

export const sessionOf = (client: pg.Client): Session => {
  const ask = (text: string, values?: ReadonlyArray<string | null>): Effect.Effect<ReadonlyArray<Row>, SqlError> =>
    Effect.tryPromise({
      try: async () => {
        const found: { readonly rows?: ReadonlyArray<Row> } = await client.query<Record<string, string | null>>({
          text,
          types: asText,
          ...(values === undefined ? {} : { values: [...values] })
        })
        return found.rows ?? []
      },
      catch: (cause) =>
        new SqlError({
          cause,
          message: `${cause instanceof Error ? cause.message : String(cause)} <- ${text.slice(0, 200)}`
        })
    })
  const rows: Session["rows"] = (query, values) => ask(query, values)
  return {
    run: (...messages) => Effect.forEach(messages, (message) => ask(message), { discard: true }),
    rows,
    value: (query, values) =>
      Effect.map(rows(query, values), ([first]) => (first === undefined ? undefined : Object.values(first)[0])),
    column: (query) => Effect.map(rows(query), (found) => found.map((row) => Object.values(row)[0] ?? null)),
    outcome: (message) =>
      ask(message).pipe(
        Effect.as("ok"),
        Effect.catchAll((error) => Effect.succeed(sqlState(error) ?? error.message))
      )
  }
}

/** Reads and the feed of a database. */
export interface Readers {
  readonly query: Query.Service
  readonly feed: Feed.Service
}

export interface Host {
  readonly database: TestDatabase.Service
  /** A superuser's session. */
  readonly db: Session
  /** A further session: the superuser's, or that of the role which stands for a label. */
  readonly session: (label?: string) => Effect.Effect<Session, SqlError, Scope.Scope>
  readonly role: (label: string) => Effect.Effect<string>
  readonly apply: (
    ...tables: ReadonlyArray<string | Capture.TableConfig>
  ) => Effect.Effect<ReadonlyArray<Capture.Step>, Capture.Failure>
  /** Kinds of the findings of all captured tables, without those of severity `info`. */
  readonly findings: (
    ...tables: ReadonlyArray<Capture.TableConfig>
  ) => Effect.Effect<ReadonlyArray<string>, Capture.Failure>
  readonly capture: Capture.Capture["Type"]
  /** Over sessions that live as long as the suite: most of what a first read costs is what its session has to learn. */
  readonly readers: Readers
  /** The present instant by the server's clock. */
  readonly now: Effect.Effect<string, SqlError>
}

const config = (table: string | Capture.TableConfig): Capture.TableConfig =>
  typeof table === "string" ? { table } : table

const hostLayer = Layer.mergeAll(Capture.layer, Query.layer, Feed.layer).pipe(
  Layer.provideMerge(TestDatabase.layerWith({ maxConnections: 4 }))
)

const makeHost = Effect.gen(function* () {
  const database = yield* TestDatabase.TestDatabase
  const capture = yield* Capture.Capture
  const session: Host["session"] = (label) => Effect.map(database.rawClient(label), sessionOf)
  const db = yield* session()
  const host: Host = {
    database,
    db,
    session,
    readers: { query: yield* Query.Query, feed: yield* Feed.Feed },
    now: Effect.map(db.value(instantNow), String),
    role: (label) => Effect.map(database.role(label), ({ name }) => name),
    apply: (...tables) => capture.apply(tables.map(config)),
    findings: (...tables) =>
      Effect.map(capture.status(tables.length === 0 ? undefined : tables), (statuses) =>
        statuses.flatMap(({ findings }) =>
          findings.filter(({ severity }) => severity !== "info").map(({ kind }) => kind)
        )
      ),
    capture
  }
  return host
})

// Everything of the host's, every generated function, everything captured: as if the schema had just been installed. Policies first: one may
// guard its table.
export const reset = `
  set lock_timeout = '5s';
  ${emptied(
    "audit_changes",
    "audit_transactions",
    "audit_actions",
    "capture_policies",
    "capture_alterations",
    "capture_baselines",
    "schema_events"
  )};
  drop schema public cascade;
  create schema public;
  grant usage on schema public to public;
  do $$
  declare
    name text;
  begin
    for name in
      select p.oid::regprocedure
      from pg_proc p
      where p.pronamespace = 'threadline'::regnamespace
        and p.proname ~ '_[0-9a-f]{10}$'
    loop
      execute 'drop function ' || name || ' cascade';
    end loop;
    for name in
      select quote_ident(nspname) from pg_namespace where nspname !~ '^(pg_|information_schema|public$|threadline$)'
    loop
      execute 'drop schema ' || name || ' cascade';
    end loop;
  end
  $$;
  reset lock_timeout`

/** Defines one test. Its database holds Threadline's schema and an empty schema `public`. */
export type Attack = (
  name: string,
  body: (host: Host) => Effect.Effect<void, SqlError | Capture.Failure | Feed.FeedError, Scope.Scope>,
  timeout?: number
) => void

/** A suite with a database of its own, emptied before each test. */
export const attacks = (name: string, suite: (attack: Attack) => void): void =>
  layer(hostLayer, { excludeTestServices: true, timeout: 300_000 })(name, (it) =>
    suite((label, body, timeout) => {
      it.scoped(
        label,
        () =>
          Effect.gen(function* () {
            const host = yield* makeHost
            yield* host.db.run(reset)
            yield* body(host)
          }),
        timeout
      )
    })
  )

/** Runs a read of the host's. */
export const reading = <A, E>(
  { readers: { feed, query } }: Pick<Host, "readers">,
  read: Effect.Effect<A, E, Query.Query | Feed.Feed>
): Effect.Effect<A> =>
  read.pipe(Effect.provideService(Query.Query, query), Effect.provideService(Feed.Feed, feed), Effect.orDie)

/** What as-of answers for a row, as `Present v` with the value of its column `v`, now or at an instant. */
export const asOf = (
  { now, readers }: Pick<Host, "now" | "readers">,
  table: string,
  key: Query.KeyInput,
  at?: string
): Effect.Effect<string, SqlError> =>
  Effect.flatMap(at === undefined ? now : Effect.succeed(at), (instant) =>
    readers.query.asOf(table, key, instant).pipe(
      Effect.map((answer) =>
        answer._tag === "Present" ? `Present ${stringify(answer.row["v"] ?? null)}` : answer._tag
      ),
      Effect.catchTag("threadline/NotFound", () => Effect.succeed("NotFound")),
      Effect.orDie
    )
  )

/** Like `asOf`, without the word `Present` in front of a value. */
export const valueAsOf = (...args: Parameters<typeof asOf>): ReturnType<typeof asOf> =>
  Effect.map(asOf(...args), (answer) => answer.replace(/^Present /, ""))

/** One captured change; `before` is the image that it started from. */
export interface Change {
  readonly id: string
  readonly tx: string
  readonly table: string
  readonly partition: string | null
  readonly op: string
  readonly pk: string | null
  readonly key: string | null
  readonly previous: string | null
  readonly fields: string | null
  readonly from: string | null
  readonly before: string | null
  readonly after: string | null
  readonly details: string | null
}

/** Changes in the order of their capture, all of them or those of one table. */
export const changes = (db: Session, table?: string): Effect.Effect<ReadonlyArray<Change>, SqlError> =>
  Effect.map(
    db.rows(
      `select id, transaction_id as tx, table_name as "table", partition_name as partition, op, row_pk as pk, row_key as key,
        previous_row_key as previous, changed_fields as fields, changed_from as "from",
        case op when 'update' then data_after || changed_from when 'delete' then changed_from end as before,
        data_after as after, details
      from threadline.audit_changes
      where $1::text is null or table_name = $1
      order by captured_at, id`,
      [table ?? null]
    ),
    (rows) =>
      rows.map((row) => ({
        id: row["id"] ?? "",
        tx: row["tx"] ?? "",
        table: row["table"] ?? "",
        partition: row["partition"] ?? null,
        op: row["op"] ?? "",
        pk: row["pk"] ?? null,
        key: row["key"] ?? null,
        previous: row["previous"] ?? null,
        fields: row["fields"] ?? null,
        from: row["from"] ?? null,
        before: row["before"] ?? null,
        after: row["after"] ?? null,
        details: row["details"] ?? null
      }))
  )

/** A statement that makes a user the actor of the rest of its transaction. */
export const who = (id: string) => `select threadline.set_context('{"actor": {"type": "user", "id": "${id}"}}')`

/** As a restore into another database leaves it: every table has another OID than its policy says. */
export const restored =
  "update threadline.capture_policies set relation = 0, database = 'elsewhere', partition_marks = '{}'"

/** Runs the migrations, as a deployment does. */
export const migrate = ({ database }: Pick<Host, "database">, options: Migrations.RunOptions = {}) =>
  Migrations.run(options).pipe(Effect.provide(clientOf(database.url, 1)), Effect.orDie)

/** When the last change was captured: a lapse begins right after it, and a table is known up to it if its capture ended unseen. */
export const lastChange = ({ db }: Pick<Host, "db">) =>
  Effect.map(
    db.value(
      `select to_char(max(captured_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') from threadline.audit_changes`
    ),
    String
  )

/** Each change as `update 2<-1`: operation, key, and the key that it had before. */
export const brief = (found: ReadonlyArray<Change>): ReadonlyArray<string> =>
  found.map(({ key, op, previous }) => `${op} ${key ?? "-"}${previous === null ? "" : `<-${previous}`}`)

/** Forgets what was recorded. Of few rows, deleting them costs a quarter of what truncating so many partitions costs. */
export const clear = (db: Session): Effect.Effect<void, SqlError> =>
  db.run(
    "delete from threadline.audit_changes; delete from threadline.audit_actions; delete from threadline.audit_transactions; " +
      "update threadline.capture_policies set kept_since = null"
  )

/**
 * What is wrong with the story that the changes of one table tell: every change starts from an image that the changes before
 * it have left, and the last images are the rows of the table. `rows` are those rows, as `to_jsonb` has them.
 */
const brokenChain = (found: ReadonlyArray<Change>, rows: ReadonlyArray<string | null>): ReadonlyArray<string> => {
  const present: Array<string> = []
  const wrong: Array<string> = []
  for (const change of found) {
    if (change.op === "truncate") {
      present.length = 0
      continue
    }
    if (change.before !== null) {
      const place = present.indexOf(change.before)
      if (place === -1) {
        wrong.push(`${change.op} ${change.id} starts from ${change.before}, which nothing has left`)
      } else {
        present.splice(place, 1)
      }
    }
    if (change.op !== "delete" && change.after !== null) {
      present.push(change.after)
    }
  }
  const left = [...present].sort()
  const there = rows.map(String).sort()
  if (JSON.stringify(left) !== JSON.stringify(there)) {
    wrong.push(`the story ends with ${left.join(" ")}, the table holds ${there.join(" ")}`)
  }
  return wrong
}

/** `brokenChain` of a table of the schema `public` that had no rows when its capture began. */
export const chain = (db: Session, table: string): Effect.Effect<ReadonlyArray<string>, SqlError> =>
  Effect.gen(function* () {
    const rows = yield* db.column(`select to_jsonb(t.*) from ${table} t`)
    return brokenChain(yield* changes(db, table), rows)
  })
