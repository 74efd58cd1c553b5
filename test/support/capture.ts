/** What the tests of capture share. */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Capture from "../../src/Capture.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { instantNow } from "./instantNow.js"

/** A database with capture over the superuser's client. */
export const layer = Capture.layer.pipe(Layer.provideMerge(TestDatabase.layer))

/** A fresh database for one test, where what is captured is counted. */
export const fresh = <A, E>(
  body: Effect.Effect<A, E, Capture.Capture | SqlClient.SqlClient | TestDatabase.TestDatabase | Scope.Scope>
): Effect.Effect<A, E | SqlError> => Effect.scoped(body).pipe(Effect.provide(layer))

/** Runs statements, each on its own. */
export const run = Effect.fnUntraced(function* (...statements: ReadonlyArray<string>) {
  const sql = yield* SqlClient.SqlClient
  for (const statement of statements) {
    yield* sql.unsafe(statement)
  }
})

/** Rows of a query, whose columns should be texts, numbers or booleans. */
export const rows = Effect.fnUntraced(function* (query: string) {
  const sql = yield* SqlClient.SqlClient
  return yield* sql.unsafe<Record<string, unknown>>(query)
})

/** The only value of a query. */
export const value = (query: string) => Effect.map(rows(query), (found) => Object.values(found[0] ?? {})[0])

/** The present instant by the server's clock. */
export const now = Effect.map(value(instantNow), String)

/** Runs statements and tells the instant after them. */
export const after = (...statements: ReadonlyArray<string>) => Effect.zipRight(run(...statements), now)

/** Steps with their sentences. */
const said = (steps: ReadonlyArray<Capture.Step>) =>
  steps.map((step) => ({ ...step, summary: Capture.describeStep(step) }))

export const apply = (tables: ReadonlyArray<Capture.TableConfig>, options?: Capture.ApplyOptions) =>
  Effect.flatMap(Capture.Capture, (capture) => Effect.map(capture.apply(tables, options), said))

export const plan = (tables: ReadonlyArray<Capture.TableConfig>, options?: Capture.PlanOptions) =>
  Effect.flatMap(Capture.Capture, (capture) => Effect.map(capture.plan(tables, options), said))

export const remove = (...tables: ReadonlyArray<string>) =>
  Effect.flatMap(Capture.Capture, (capture) => Effect.map(capture.remove(tables), said))

export const status = (tables?: ReadonlyArray<Capture.TableConfig>) =>
  Effect.flatMap(Capture.Capture, (capture) => capture.status(tables))

/** `[table, operation, key]` of every change, oldest first. */
export const changes = Effect.map(
  rows("select table_schema, table_name, op, row_key from threadline.audit_changes order by id"),
  (found) => found.map((row) => `${String(row["table_name"])} ${String(row["op"])} ${String(row["row_key"])}`)
)

export const kinds = (steps: ReadonlyArray<Capture.Step>): ReadonlyArray<string> =>
  steps.map(({ kind, table }) => `${kind} ${table}`)

/** Kinds of findings of one table, or of all. */
export const findingKinds = (statuses: ReadonlyArray<Capture.TableStatus>, table?: string): ReadonlyArray<string> =>
  statuses
    .filter((each) => table === undefined || each.table === table)
    .flatMap(({ findings }) => findings.map(({ kind }) => kind))

/** The first finding of a kind, with its sentences. */
export const finding = (statuses: ReadonlyArray<Capture.TableStatus>, kind: Capture.FindingKind) =>
  statuses
    .flatMap(({ findings }) => findings)
    .filter((each) => each.kind === kind)
    .map((each) => ({
      ...each,
      detail: Capture.describeFinding(each),
      fix: each.mend === null ? null : Capture.describeMend(each.mend)
    }))[0]

/** The reason, detail and hint with which capture refuses. */
export const refusal = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.either(effect), (outcome) => {
    if (Either.isRight(outcome)) {
      return { reason: "nothing was refused", detail: "", hint: "", table: "" }
    }
    const error: unknown = outcome.left
    return Capture.CaptureError.is(error)
      ? { reason: error.reason, detail: error.detail, hint: error.hint, table: error.table }
      : { reason: String(error), detail: "", hint: "", table: "" }
  })

/** Capture as the role that stands for `label`, in the database of the test. */
export const as = (label: string) =>
  Effect.gen(function* () {
    const database = yield* TestDatabase.TestDatabase
    const sql = yield* database.connect(label)
    const context = yield* Layer.build(Capture.layer.pipe(Layer.provide(Layer.succeed(SqlClient.SqlClient, sql))))
    return { sql, capture: Context.get(context, Capture.Capture) }
  })

/** The role that owns Threadline's schema. */
export const schemaOwner = Effect.map(
  value("select nspowner::regrole::text from pg_namespace where nspname = 'threadline'"),
  String
)
