/**
 * A kit for the suites of hosts: what a piece of code has audited, compared with what a test expects. It depends on no test runner:
 * a difference is an error whose message shows it line by line.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { randomBytes } from "node:crypto"
import { notAnObject, unknownField } from "./internal/core/request.js"
import * as owned from "./internal/sql/owned.js"
import { withReason } from "./internal/sql/sqlState.js"
import { identifier } from "./internal/sql/sqlText.js"
import * as comparison from "./internal/testing/comparison.js"
import { loadWithoutCapture } from "./internal/testing/withoutCapture.js"
import * as Query from "./Query.js"
import { StorageSchema } from "./StorageSchema.js"
import { InvalidRequest } from "./ThreadlineError.js"

/**
 * What was audited is not what was expected. `message` shows both, line by line: `-` is expected and missing, `+` was audited and
 * not expected.
 *
 * @since 0.1.0
 * @category errors
 */
export class AuditMismatch extends Schema.TaggedError<AuditMismatch>("threadline.AuditMismatch")(
  "threadline/AuditMismatch",
  { detail: Schema.String }
) {
  override get message(): string {
    return this.detail
  }
}

/**
 * @since 0.1.0
 */
export type { Expected, ExpectedChange } from "./internal/testing/comparison.js"

/** Where the last comparison ended. */
interface Mark {
  readonly change: bigint
  readonly action: bigint
  readonly at: string | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export type Failure = AuditMismatch | Query.ReadError

/**
 * @since 0.1.0
 * @category services
 */
export interface Service {
  /** Compares what was audited since the last comparison, or since the kit was built, with what is expected: all of it, in order. */
  readonly expect: (expected: comparison.Expected | ReadonlyArray<comparison.Expected>) => Effect.Effect<void, Failure>
  /** Fails if a change since the last comparison has no actor. It does not move on. */
  readonly expectNoneUnattributed: Effect.Effect<void, Failure>
  /** Passes over what was audited so far. */
  readonly forget: Effect.Effect<void, Query.ReadError>
  /**
   * Runs an effect, such as a load of fixtures, in a transaction in which the triggers of Threadline are off. They are on again at its
   * end, however it ends. Needs a role that may alter the captured tables, and locks them. Deferred constraints are checked at the end
   * of the load. It is a lapse, which ends with the load if the role may act as the owner of the record, or with a schema watch. Otherwise
   * `capture status` reports it until the next `capture apply`.
   */
  readonly withoutCapture: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, R>
}

/**
 * The kit of one database.
 *
 * @since 0.1.0
 * @category services
 */
export class Testing extends Context.Tag("threadline/Testing")<Testing, Service>() {}

const max = (...ids: ReadonlyArray<bigint>): bigint => ids.reduce((most, id) => (id > most ? id : most), 0n)

const make = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const query = yield* Query.Query
  const schema = yield* StorageSchema

  const since = (mark: Mark) =>
    Effect.gen(function* () {
      // A change of another session may be older than one that was seen, and have a larger id.
      const from =
        mark.at === undefined || mark.at === "" ? undefined : new Date(Date.parse(mark.at) - 60_000).toISOString()
      const changes = yield* Stream.runCollect(query.timelineStream({ order: "oldest", from }))
      const actions = yield* Stream.runCollect(query.actionsStream({ order: "oldest", from }))
      return {
        changes: [...changes].filter(({ id }) => BigInt(id) > mark.change),
        actions: [...actions].filter(({ id }) => BigInt(id) > mark.action)
      }
    })

  const beyond = (mark: Mark, { actions, changes }: comparison.Audited): Mark => ({
    change: max(mark.change, ...changes.map(({ id }) => BigInt(id))),
    action: max(mark.action, ...actions.map(({ id }) => BigInt(id))),
    at: [mark.at ?? "", ...changes.map(({ capturedAt }) => capturedAt), ...actions.map(({ occurredAt }) => occurredAt)]
      .sort()
      .at(-1)
  })

  const start: Mark = { change: 0n, action: 0n, at: undefined }
  const mark = yield* Ref.make(beyond(start, yield* since(start)))

  const expect: Service["expect"] = (given) =>
    Effect.gen(function* () {
      const expected: ReadonlyArray<comparison.Expected> = isList(given) ? given : [given]
      yield* comparison.mustBeKnown(expected)
      const last = yield* Ref.get(mark)
      const auditedSince = yield* since(last)
      yield* Ref.set(mark, beyond(last, auditedSince))
      const detail = comparison.differenceOf(expected, auditedSince)
      if (detail !== undefined) {
        yield* new AuditMismatch({ detail })
      }
    })

  const expectNoneUnattributed = Effect.gen(function* () {
    const { changes } = yield* since(yield* Ref.get(mark))
    const unattributed = changes.filter(({ transaction }) => transaction.actor === null)
    if (unattributed.length > 0) {
      yield* new AuditMismatch({ detail: comparison.unattributedText(unattributed) })
    }
  })

  return Testing.of({
    expect,
    expectNoneUnattributed,
    forget: Effect.gen(function* () {
      const last = yield* Ref.get(mark)
      yield* Ref.set(mark, beyond(last, yield* since(last)))
    }),
    withoutCapture: (effect) => loadWithoutCapture(sql, schema, effect)
  })
})

const isList = (
  given: comparison.Expected | ReadonlyArray<comparison.Expected>
): given is ReadonlyArray<comparison.Expected> => Array.isArray(given)

/**
 * The kit of the client's database, which has Threadline's schema. What is there when it is built counts as compared. The client needs
 * a reader, and for `withoutCapture` a role that owns the captured tables.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Testing, Query.ReadError, SqlClient.SqlClient> = Layer.effect(Testing, make).pipe(
  Layer.provide(Query.layer)
)

/**
 * Runs a test in a transaction that is rolled back at its end, however it ends. Audited calls in it are savepoints, and so is it inside
 * another transaction. An action that is kept of a failure (`onError`, `onFailure`) is recorded outside of it, and stays.
 *
 * @since 0.1.0
 * @category running
 */
export const rolledBack = <A, E, R>(
  test: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R | SqlClient.SqlClient> =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => owned.rolledBack(sql, "begin", test))

/**
 * A database of a suite's own, `threadline_test_...`, made on the server of `url` and dropped at the end. `template` names a database
 * to copy, such as one that your migrations and `threadline migrate up` have run in: a copy takes a tenth of a second. The role
 * of `url` must be allowed to create databases, and nobody else may be connected to the template. Throws `InvalidRequest` for options that
 * are wrong.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerDatabase = (options: {
  /** Of a database of the server; the role must be allowed to create databases. */
  readonly url: Redacted.Redacted | string
  /** The database to copy; PostgreSQL's `template1` unless given. */
  readonly template?: string | undefined
}): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, SqlError> => {
  const { server, template } = serverOf(options)
  return Layer.unwrapScoped(
    Effect.gen(function* () {
      const name = `threadline_test_${randomBytes(6).toString("hex")}`
      yield* Effect.acquireRelease(
        onServer(server, `create database ${name}${template === undefined ? "" : ` template ${identifier(template)}`}`),
        () => Effect.orDie(onServer(server, `drop database if exists ${name} with (force)`))
      )
      const own = new URL(server)
      own.pathname = `/${name}`
      return PgClient.layer({ url: Redacted.make(own.toString()) }).pipe(Layer.orDie)
    })
  )
}

/** The options, once they are known to be right: often `url` is a variable of the environment that is not set. */
const serverOf = (options: Parameters<typeof layerDatabase>[0]) => {
  const wrong = notAnObject(options) ?? unknownField(options, { url: true, template: true })
  if (wrong !== undefined) {
    throw wrong
  }
  const url: unknown = Redacted.isRedacted(options.url) ? Redacted.value(options.url) : options.url
  if (typeof url !== "string" || !URL.canParse(url)) {
    throw new InvalidRequest({
      field: "url",
      rule: "must be the address of a database, such as postgres://localhost/postgres"
    })
  }
  return { server: url, template: options.template }
}

const onServer = (url: string, statement: string): Effect.Effect<void, SqlError> =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.asVoid(sql.unsafe(statement))).pipe(
    Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })),
    Effect.mapError(withReason)
  )

/**
 * Compares what was audited since the last comparison with what is expected: all of it, in order.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Actor } from "threadline"
 * import * as Testing from "threadline/testing"
 * import * as Effect from "effect/Effect"
 *
 * declare const pay: Effect.Effect<void>
 *
 * export const test = Effect.gen(function* () {
 *   yield* pay
 *   yield* Testing.expect({
 *     action: "invoice.paid",
 *     actor: Actor.user("42"),
 *     changes: [["update", "invoices", { state: ["draft", "paid"] }]]
 *   })
 * }).pipe(Testing.rolledBack)
 * ```
 */
export const expect = (
  expected: comparison.Expected | ReadonlyArray<comparison.Expected>
): Effect.Effect<void, Failure, Testing> => Effect.flatMap(Testing, (testing) => testing.expect(expected))

/**
 * Fails if a change since the last comparison has no actor, and says which, by which database user, and what was wrong.
 *
 * @since 0.1.0
 * @category accessors
 */
export const expectNoneUnattributed: Effect.Effect<void, Failure, Testing> = Effect.flatMap(
  Testing,
  (testing) => testing.expectNoneUnattributed
)

/**
 * Passes over what was audited so far.
 *
 * @since 0.1.0
 * @category accessors
 */
export const forget: Effect.Effect<void, Query.ReadError, Testing> = Effect.flatMap(
  Testing,
  (testing) => testing.forget
)

/**
 * Runs a load of fixtures with capture off, and only that.
 *
 * @since 0.1.0
 * @category accessors
 */
export const withoutCapture = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R | Testing> =>
  Effect.flatMap(Testing, (testing) => testing.withoutCapture(effect))
