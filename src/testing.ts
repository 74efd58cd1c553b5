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
import { isDeepStrictEqual } from "node:util"
import type * as Actor from "./Actor.js"
import { many, shortTable } from "./internal/core/words.js"
import * as owned from "./internal/sql/owned.js"
import { identifier } from "./internal/sql/sqlText.js"
import * as Json from "./Json.js"
import * as Query from "./Query.js"
import { StorageSchema } from "./StorageSchema.js"
import * as TableName from "./TableName.js"
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
 * A change: its operation, its table as in SQL, and fields. Of an update a field is `[before, after]`, of an insert its value after, of
 * a delete its value before. Fields that are not named may have any value.
 *
 * @since 0.1.0
 * @category models
 */
export type ExpectedChange =
  | readonly [op: Query.Operation, table: string]
  | readonly [op: Query.Operation, table: string, fields: { readonly [field: string]: Json.JsonValue }]

/**
 * One audited transaction, or one action without changes. Only what is given is compared; `changes` are all of its changes, in their
 * order.
 *
 * @since 0.1.0
 * @category models
 */
export interface Expected {
  /** The name of its first action; null for none. */
  readonly action?: string | null | undefined
  /** The status of that action. */
  readonly status?: "ok" | "error" | undefined
  /** Who acted; null for nobody. An actor without a label has any label. */
  readonly actor?: Actor.Given | null | undefined
  /** Its correlation id; null for none. */
  readonly correlationId?: string | null | undefined
  /** Its request id; null for none. */
  readonly requestId?: string | null | undefined
  /** All of its changes, in their order. */
  readonly changes?: ReadonlyArray<ExpectedChange> | undefined
}

/** What was audited together. */
interface Group {
  readonly action: Query.Action | undefined
  readonly transaction: Query.AuditTransaction | undefined
  readonly changes: ReadonlyArray<Query.Change>
}

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
  readonly expect: (expected: Expected | ReadonlyArray<Expected>) => Effect.Effect<void, Failure>
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

const isSame = (left: Json.JsonValue | undefined, right: Json.JsonValue | undefined): boolean => {
  if (left === undefined || right === undefined) {
    return left === right
  }
  const [one, other] = [Json.stringify(left), Json.stringify(right)]
  return one === other || isDeepStrictEqual(JSON.parse(one), JSON.parse(other))
}

const valueText = (value: Json.JsonValue | undefined): string =>
  value === undefined ? "nothing" : Json.stringify(value)

const actorText = (actor: Actor.Given | null | undefined): string =>
  actor === null || actor === undefined
    ? "nobody"
    : `${actor.type}${actor.type === "anonymous" ? "" : ` ${String(actor.id)}`}${actor.label === undefined ? "" : ` (${actor.label})`}${
        actor.impersonator === undefined ? "" : ` by ${actorText(actor.impersonator)}`
      }`

/** The same actor, with a label only where one is expected. */
const asExpected = (actor: Actor.Given | null, expected: Actor.Given | null | undefined): Actor.Given | null => {
  if (actor === null || expected === null || expected === undefined) {
    return actor
  }
  const { impersonator, label, ...rest } = actor
  const shown = impersonator === undefined ? undefined : asExpected(impersonator, expected.impersonator ?? impersonator)
  return {
    ...rest,
    ...(label === undefined || expected.label === undefined ? {} : { label }),
    ...(shown === undefined || shown === null ? {} : { impersonator: shown })
  }
}

const fieldText = (field: string, ...values: ReadonlyArray<Json.JsonValue | undefined>): string =>
  `${field}: ${values.map(valueText).join(" -> ")}`

const isListOf = (value: Json.JsonValue): value is Json.JsonArray => Array.isArray(value)

/** The two values of a field of an update, or the one of another change. */
const valuesOf = (op: Query.Operation, value: Json.JsonValue): ReadonlyArray<Json.JsonValue> =>
  op === "update" && isListOf(value) && value.length === 2 ? value : [value]

const expectedChange = ([op, table, fields = {}]: ExpectedChange): string =>
  [
    `    ${op} ${shortTable(table)}`,
    ...Object.entries(fields).map(([field, value]) => `        ${fieldText(field, ...valuesOf(op, value))}`)
  ].join("\n")

const nameOf = ({ tableName, tableSchema }: Query.Change): string =>
  TableName.format({ schema: tableSchema, name: tableName })

/** A change as it would have been expected: the same fields, in the same words where they are the same. */
const auditedChange = (change: Query.Change, expected: ExpectedChange | undefined): string => {
  const [op, table, fields] = expected ?? []
  const alike = op === change.op && table !== undefined && TableName.same(table, nameOf(change))
  const diffs = new Map(Query.fieldDiffs(change).map((diff) => [diff.field, diff]))
  const shown = alike ? Object.keys(fields ?? {}) : [...diffs.keys()]
  return [
    `    ${change.op} ${alike && table !== undefined ? shortTable(table) : shortTable(nameOf(change))}`,
    ...shown.map((field) => {
      const diff = diffs.get(field)
      if (diff === undefined) {
        return `        ${field}: ${change.op === "update" ? "did not change" : "is no column"}`
      }
      const audited =
        change.op === "update" ? [diff.before, diff.after] : [change.op === "delete" ? diff.before : diff.after]
      const given = alike ? fields?.[field] : undefined
      const expectedValues = given === undefined ? [] : valuesOf(change.op, given)
      const isExpected =
        expectedValues.length === audited.length &&
        expectedValues.every((value, place) => isSame(value, audited[place]))
      return `        ${fieldText(field, ...(isExpected ? expectedValues : audited))}`
    })
  ].join("\n")
}

const properties = ["action", "status", "actor", "correlationId", "requestId"] as const

const expectedNames: ReadonlySet<string> = new Set<keyof Expected>([...properties, "changes"])

/** A part whose name is misspelt would be compared with nothing, and the test would pass. */
const mustBeKnown = (expected: ReadonlyArray<unknown>): Effect.Effect<void, InvalidRequest> =>
  Effect.forEach(
    expected,
    (one) => {
      if (typeof one !== "object" || one === null || Array.isArray(one)) {
        return new InvalidRequest({ field: "expected", rule: "must be an object" })
      }
      const unknown = Object.keys(one).find((name) => !expectedNames.has(name))
      return unknown === undefined
        ? Effect.void
        : new InvalidRequest({ field: `expected.${unknown}`, rule: "is not known here" })
    },
    { discard: true }
  )

const expectedLines = (expected: Expected): ReadonlyArray<string> => [
  "audited",
  ...properties.flatMap((property) =>
    expected[property] === undefined
      ? []
      : [`  ${property}: ${property === "actor" ? actorText(expected.actor) : valueText(expected[property])}`]
  ),
  ...(expected.changes ?? []).flatMap((change) => expectedChange(change).split("\n"))
]

const auditedLines = (
  { action, changes, transaction }: Group,
  expected: Expected | undefined
): ReadonlyArray<string> => {
  const actor = transaction?.actor ?? action?.actor ?? null
  const auditedParts = {
    action: action?.name ?? null,
    status: action?.status,
    correlationId: action?.correlationId ?? transaction?.correlationId ?? null,
    requestId: action?.requestId ?? transaction?.requestId ?? null
  }
  return [
    "audited",
    ...properties.flatMap((property) => {
      if (expected === undefined ? property !== "action" && property !== "actor" : expected[property] === undefined) {
        return []
      }
      return [
        `  ${property}: ${property === "actor" ? actorText(asExpected(actor, expected?.actor)) : valueText(auditedParts[property])}`
      ]
    }),
    ...(expected === undefined || expected.changes !== undefined
      ? changes.flatMap((change, place) => auditedChange(change, expected?.changes?.[place]).split("\n"))
      : [])
  ]
}

/** Lines of both, the common ones once: the shortest way from one to the other. */
const difference = (expected: ReadonlyArray<string>, audited: ReadonlyArray<string>): ReadonlyArray<string> => {
  const common = Array.from({ length: expected.length + 1 }, () => new Array<number>(audited.length + 1).fill(0))
  const length = (left: number, right: number): number => common[left]?.[right] ?? 0
  for (let left = expected.length - 1; left >= 0; left--) {
    for (let right = audited.length - 1; right >= 0; right--) {
      const row = common[left]
      if (row !== undefined) {
        row[right] =
          expected[left] === audited[right]
            ? length(left + 1, right + 1) + 1
            : Math.max(length(left + 1, right), length(left, right + 1))
      }
    }
  }
  const lines: Array<string> = []
  let [left, right] = [0, 0]
  while (left < expected.length || right < audited.length) {
    if (left < expected.length && expected[left] === audited[right]) {
      lines.push(`  ${expected[left++]}`)
      right++
    } else if (
      right >= audited.length ||
      (left < expected.length && length(left + 1, right) >= length(left, right + 1))
    ) {
      lines.push(`- ${expected[left++]}`)
    } else {
      lines.push(`+ ${audited[right++]}`)
    }
  }
  return lines
}

/** What was audited since a mark. */
interface Audited {
  readonly changes: ReadonlyArray<Query.Change>
  readonly actions: ReadonlyArray<Query.Action>
}

/** Each transaction with its action and its changes, and each action without a transaction, in the order of time. */
const groupsOf = ({ actions, changes }: Audited): ReadonlyArray<Group> => {
  const groups: Array<{ readonly at: string; readonly group: Group }> = []
  const taken = new Set<string>()
  for (const change of changes) {
    if (!taken.has(change.transactionId)) {
      taken.add(change.transactionId)
      groups.push({
        at: change.capturedAt,
        group: {
          transaction: change.transaction,
          action: actions.find(({ transactionId }) => transactionId === change.transactionId),
          changes: changes.filter(({ transactionId }) => transactionId === change.transactionId)
        }
      })
    }
  }
  for (const action of actions) {
    if (action.transactionId === null || !taken.has(action.transactionId)) {
      groups.push({ at: action.occurredAt, group: { transaction: undefined, action, changes: [] } })
    }
  }
  return groups.sort((one, other) => (one.at < other.at ? -1 : one.at === other.at ? 0 : 1)).map(({ group }) => group)
}

/** Changes without an actor, the first of them line by line. */
const unattributedText = (unattributed: ReadonlyArray<Query.Change>): string =>
  [
    `${many(unattributed.length, "change has", "changes have")} no actor:`,
    ...unattributed
      .slice(0, 20)
      .map(
        (change) =>
          `  ${change.op} ${shortTable(nameOf(change))} ${change.rowKey ?? ""} by the database user ${change.transaction.dbUser}${
            change.transaction.contextError === null ? "" : `; ${change.transaction.contextError}`
          }`
      ),
    ...(unattributed.length > 20 ? [`  and ${unattributed.length - 20} more`] : [])
  ].join("\n")

/** The statements that turn every trigger of Threadline off, and to what it was. */
const triggersOf = (sql: SqlClient.SqlClient, schema: string) => sql<{ readonly off: string; readonly on: string }>`
  select
    format('alter table %s disable trigger %I', t.tgrelid::regclass, t.tgname) as off,
    format(
      'alter table %s enable %s trigger %I',
      t.tgrelid::regclass,
      case t.tgenabled when 'A' then 'always' when 'R' then 'replica' else '' end,
      t.tgname
    ) as on
  from pg_trigger t
    join pg_proc p on p.oid = t.tgfoid
    join pg_namespace n on n.oid = p.pronamespace
    join pg_class c on c.oid = t.tgrelid
  where n.nspname = ${schema}
    and c.relnamespace <> n.oid
    and not t.tgisinternal
    and t.tgparentid = 0
    and t.tgenabled <> 'D'
  order by 1`

/** Ends the lapses of the load, as the owner of the record, if this role may act as that. */
const settle = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, schema: string) {
  const owners = yield* sql<{ readonly owner: string; readonly role: string }>`
    select pg_get_userbyid(n.nspowner)::text as owner, current_setting('role') as role
    from pg_namespace n
    where n.nspname = ${schema} and pg_has_role(n.nspowner, 'usage')`
  for (const { owner, role } of owners) {
    yield* sql`select set_config('role', ${owner}, true)`
    yield* sql`
      select ${sql(schema)}.triggers_settled(p.table_schema, p.table_name)
      from ${sql(schema)}.capture_policies p
      where p.removed_at is null`
    yield* sql`select set_config('role', ${role}, true)`
  }
})

/** Runs the effect with every trigger of Threadline turned off, in one transaction. */
const loadWithoutCapture = <A, E, R>(
  sql: SqlClient.SqlClient,
  schema: string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> => {
  const runAll = (statements: ReadonlyArray<string>) =>
    Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
  return owned.transactionOrSavepoint(
    sql,
    "begin",
    Effect.gen(function* () {
      const switches = yield* triggersOf(sql, schema)
      yield* runAll(switches.map(({ off }) => off))
      const value = yield* effect
      yield* runAll(["set constraints all immediate", ...switches.map(({ on }) => on)])
      yield* settle(sql, schema)
      return value
    })
  )
}

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

  const beyond = (mark: Mark, { actions, changes }: Audited): Mark => ({
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
      const expected: ReadonlyArray<Expected> = isList(given) ? given : [given]
      yield* mustBeKnown(expected)
      const last = yield* Ref.get(mark)
      const auditedSince = yield* since(last)
      yield* Ref.set(mark, beyond(last, auditedSince))
      const groups = groupsOf(auditedSince)
      const wantedLines = expected.flatMap(expectedLines)
      const audited = groups.flatMap((group, place) => auditedLines(group, expected[place]))
      if (!isDeepStrictEqual(wantedLines, audited)) {
        yield* new AuditMismatch({
          detail: ["what was audited differs (- expected, + audited):", ...difference(wantedLines, audited)].join("\n")
        })
      }
    })

  const expectNoneUnattributed = Effect.gen(function* () {
    const { changes } = yield* since(yield* Ref.get(mark))
    const unattributed = changes.filter(({ transaction }) => transaction.actor === null)
    if (unattributed.length > 0) {
      yield* new AuditMismatch({ detail: unattributedText(unattributed) })
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

const isList = (given: Expected | ReadonlyArray<Expected>): given is ReadonlyArray<Expected> => Array.isArray(given)

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
 * Runs a test in a transaction that is rolled back at its end, however it ends. Audited calls in it are savepoints. An action that is
 * kept of a failure (`onError`, `onFailure`) is recorded outside of it, and stays.
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
 * of `url` must be allowed to create databases.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerDatabase = (options: {
  /** Of a database of the server; the role must be allowed to create databases. */
  readonly url: Redacted.Redacted | string
  /** The database to copy; PostgreSQL's `template1` unless given. */
  readonly template?: string | undefined
}): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, SqlError> =>
  Layer.unwrapScoped(
    Effect.gen(function* () {
      const { template, url } = options
      const server = typeof url === "string" ? url : Redacted.value(url)
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

const onServer = (url: string, statement: string): Effect.Effect<void, SqlError> =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.asVoid(sql.unsafe(statement))).pipe(
    Effect.provide(Layer.orDie(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })))
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
export const expect = (expected: Expected | ReadonlyArray<Expected>): Effect.Effect<void, Failure, Testing> =>
  Effect.flatMap(Testing, (testing) => testing.expect(expected))

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
