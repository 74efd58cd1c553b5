/**
 * The one table of all filters. Each is an entry: the schema of its field, and what it adds to a statement.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import * as Schema from "effect/Schema"
import * as Actor from "../../Actor.js"
import type { Part } from "./filterPart.js"
import { acted, correlated, ofStatus } from "./filterSources.js"
import { Instant, type InstantInput } from "../core/instant.js"
import { stringify } from "../core/json.js"
import type { JsonObject } from "../core/jsonValue.js"
import { mostValues } from "../core/limits.js"
import { choice, Id, order, paging, ShortText } from "../core/request.js"
import { shortTextRule } from "../core/text.js"
import { Operation } from "../record/change.js"
import { contains, type Naming, namings } from "../record/columns.js"
import { Document } from "../record/document.js"
import { type Key, type KeyInput, KeySchema, TableSchema, tableOf } from "../record/key.js"
import { all, type Storage } from "../record/storage.js"
import { ofTable, type Table, withinSpan } from "../record/tables.js"
import { visibleBefore } from "../record/visible.js"

/** What a filter may need to know of the others. */
export interface Others {
  readonly table?: ReadonlyArray<string> | undefined
  readonly actionStatus?: "ok" | "error" | undefined
  readonly action?: ReadonlyArray<string> | undefined
  readonly includeCaptureOnly?: boolean | undefined
}

interface Definition<A, I> {
  readonly schema: Schema.Schema<A, I>
  readonly part: (value: A, storage: Storage, otherFields: Others, tables: ReadonlyArray<Table>) => Part
}

// Types are named where they are given, so that declarations made of `Query.Filter` name those of the public module.
const filter = <A, I>(schema: Schema.Schema<A, I>, part: Definition<A, I>["part"]): Definition<A, I> => ({
  schema,
  part
})

const oneOrMore = <A extends string, I>(element: Schema.Schema<A, I>, rule: string | undefined) => {
  const union = Schema.Union(element, Schema.NonEmptyArray(element))
  return rule === undefined ? union : union.annotations({ message: () => ({ message: rule, override: true }) })
}

/** One value or several; decoded to a sorted list without repetitions. */
const several = <A extends string, I>(
  element: Schema.Schema<A, I>,
  rule?: string
): Schema.Schema<readonly [A, ...Array<A>], I | readonly [I, ...Array<I>]> =>
  Schema.transform(oneOrMore(element, rule), Schema.NonEmptyArray(Schema.typeSchema(element)), {
    strict: true,
    decode: (input) =>
      [...new Set(typeof input === "string" ? [input] : input)].sort() as unknown as readonly [A, ...Array<A>],
    encode: (values) => values
  }).pipe(
    Schema.filter((values) => values.length <= mostValues, { message: () => `must not be more than ${mostValues}` })
  )

const actorRule = "must be { type, id? } with a type of user, admin, service_account, job, system or anonymous"

const ActorFilter = Schema.Struct({
  type: Schema.Literal(...Actor.types),
  id: Schema.optional(ShortText)
}).annotations({ message: (issue) => ({ message: ruleOfActor(issue.actual), override: true }) })

const isActorLike = Schema.is(Schema.Struct({ type: Schema.String, id: Schema.String }))

const ruleOfActor = (actual: unknown): string => {
  const rule = isActorLike(actual) ? shortTextRule(actual.id) : undefined
  return rule === undefined ? actorRule : `id ${rule}`
}

const operationRule = "must be insert, update, delete, truncate or baseline, or several of them"

const Status = choice("ok", "error")

const Flag = Schema.Boolean.annotations({ message: () => "must be true or false" })

export const filters = {
  table: filter(several(TableSchema), (tables) => ({ tables: tables.map(tableOf) })),
  schema: filter(ShortText, (schema, { sql }) => ({ change: sql`c.table_schema = ${schema}` })),
  key: filter<Key, KeyInput>(KeySchema, (key, _, { table: [table = ""] = [] }) => ({
    row: { table: tableOf(table), key }
  })),
  op: filter(several(Operation, operationRule), (ops, { sql }, { table }) => {
    const condition = ops.length === 1 ? sql`c.op = ${ops[0]}` : sql`c.op in ${sql.in(ops)}`
    // Deletes and truncates have an index of their own, by table.
    return table?.length === 1 && ops.every((op) => op === "delete" || op === "truncate")
      ? { seek: sql`c.op in ('delete', 'truncate') and ${condition}` }
      : { change: condition }
  }),
  contains: filter<JsonObject, JsonObject>(Document, (fields, storage, _, tables) => {
    const { sql } = storage
    return {
      change: byNaming(storage, tables, Object.keys(fields), (naming) => {
        // Values that an update did not change are only in the image after it.
        const before = sql`coalesce(c.data_after, '{}') || coalesce(c.changed_from, '{}')`
        return sql`(
        ${contains(sql, sql`c.data_after`, fields, naming)}
        or ${all([contains(sql, before, fields, naming), visibleBefore(storage)])}
      )`
      })
    }
  }),
  changedField: filter(several(ShortText), (fields, storage, _, tables) => {
    const { sql } = storage
    const changed = byNaming(storage, tables, fields, ({ names }) => {
      const recorded = [...new Set(fields.flatMap((field) => names.get(field) ?? [field]))]
      return recorded.length === 0
        ? sql`false`
        : sql`
      c.changed_fields operator(pg_catalog.&&) ${sql.literal("array")}[${sql.csv(recorded.map((field) => sql`${field}`))}]::text[]`
    })
    return { change: all([changed, visibleBefore(storage)]) }
  }),
  actor: filter(ActorFilter, ({ id, type }, { sql }) => {
    const condition = (alias: string) =>
      id === undefined
        ? sql`${sql.literal(alias)}.actor_type = ${type}`
        : sql`${sql.literal(alias)}.actor_type = ${type} and ${sql.literal(alias)}.actor_id = ${id}`
    return {
      transaction: { condition: condition("t"), index: id === undefined ? "none" : "ordered" },
      context: condition("a"),
      action: condition("a")
    }
  }),
  impersonator: filter(ActorFilter, ({ id, type }, { sql }) => {
    const condition = (alias: string) => {
      const by = sql.literal(`${alias}.actor -> 'impersonator'::text`)
      const typed = sql`${by} ->> 'type'::text = ${type}`
      return id === undefined ? typed : sql`${typed} and ${by} ->> 'id'::text = ${id}`
    }
    return {
      transaction: { condition: condition("t"), index: "none" },
      context: condition("a"),
      action: condition("a")
    }
  }),
  actorLabel: filter(ShortText, (label, { sql }) => {
    const condition = (alias: string) => {
      const contained = (column: string) =>
        sql`pg_catalog.strpos(pg_catalog.lower(${sql.literal(`${alias}.${column}`)}), pg_catalog.lower(${label})) > 0`
      return sql`(${contained("actor ->> 'label'::text")} or ${contained("actor #>> '{impersonator,label}'::text[]")})`
    }
    return {
      transaction: { condition: condition("t"), index: "none" },
      context: condition("a"),
      action: condition("a")
    }
  }),
  unattributed: filter(Flag, (isUnattributed, { sql }) =>
    isUnattributed
      ? {
          transaction: { condition: sql`t.actor_type is null`, index: "ordered" },
          context: sql`a.actor_type is null`,
          action: sql`a.actor_type is null`
        }
      : { action: sql`true` }
  ),
  action: filter(several(ShortText), (names, storage, { actionStatus }) => {
    const nameComparison = names.length === 1 ? storage.sql`= ${names[0]}` : storage.sql`in ${storage.sql.in(names)}`
    const status = actionStatus === undefined ? storage.sql`` : storage.sql` and acted.status = ${actionStatus}`
    return {
      source: acted(storage, storage.sql`acted.name ${nameComparison}${status}`),
      action: storage.sql`a.name ${nameComparison}`
    }
  }),
  actionStatus: filter(Status, (status, storage, { action }) => ({
    // Together with a name, both are about the same action.
    ...(action === undefined ? ofStatus(storage, status) : {}),
    action: storage.sql`a.status = ${status}`
  })),
  correlationId: filter(ShortText, (id, storage, { includeCaptureOnly = false }) => ({
    source: correlated(id, storage, includeCaptureOnly),
    action: storage.sql`a.correlation_id = ${id}`
  })),
  requestId: filter(ShortText, (id, { sql }) => ({
    transaction: inBloom(sql, sql`t.request_id = ${id}`),
    context: sql`a.request_id = ${id}`,
    action: sql`a.request_id = ${id}`
  })),
  jobId: filter(ShortText, (id, { sql }) => ({
    transaction: inBloom(sql, sql`t.job_id = ${id}`),
    context: sql`a.job_id = ${id}`,
    action: sql`a.job_id = ${id}`
  })),
  traceId: filter(ShortText, (id, { sql }) => ({
    transaction: inBloom(sql, sql`t.trace_id = ${id}`),
    context: sql`a.trace_id = ${id}`,
    action: sql`a.trace_id = ${id}`
  })),
  source: filter(ShortText, (source, { sql }) => ({
    transaction: { condition: sql`t.source = ${source}`, index: "none" },
    context: false
  })),
  meta: filter<JsonObject, JsonObject>(Document, (meta, { sql }) => ({
    transaction: { condition: sql`t.meta @> ${stringify(meta)}::jsonb`, index: "none" },
    context: false
  })),
  dbUser: filter(ShortText, (user, { sql }) => ({
    transaction: { condition: sql`t.db_user = ${user}`, index: "none" },
    context: false
  })),
  transactionId: filter(Id, (id, { sql }) => ({
    seek: sql`c.transaction_id = ${id}::bigint`,
    action: sql`a.transaction_id = ${id}::bigint`
  })),
  from: filter<string, InstantInput>(Instant, (from, { sql }) => ({
    from,
    seek: sql`c.captured_at >= ${from}::timestamptz`,
    action: sql`a.occurred_at >= ${from}::timestamptz`
  })),
  to: filter<string, InstantInput>(Instant, (to, { sql }) => ({
    to,
    seek: sql`c.captured_at <= ${to}::timestamptz`,
    action: sql`a.occurred_at <= ${to}::timestamptz`
  }))
}

/** A condition on the change `c` that depends on what columns were called when it was made. */
const byNaming = (
  storage: Storage,
  tables: ReadonlyArray<Table>,
  columns: ReadonlyArray<string>,
  condition: (naming: Pick<Naming, "names">) => Fragment
): Fragment => {
  const { sql } = storage
  const withGivenNames = condition({ names: new Map(columns.map((column) => [column, [column]])) })
  const ofTables = tables.map((table) => ({ table, times: namings(table, columns) }))
  if (ofTables.every(({ times }) => times.length === 1 && times.every(({ names }) => [...names].every(isUnchanged)))) {
    return withGivenNames
  }
  return sql.or(
    ofTables.map(({ table, times }) =>
      sql.and([
        ...(tables.length === 1 ? [] : [ofTable(storage, table, "c")]),
        sql.or(times.map((naming) => sql.and([...withinSpan(storage, naming, "c"), condition(naming)])))
      ])
    )
  )
}

const isUnchanged = ([column, [name, ...others]]: readonly [string, ReadonlyArray<string>]): boolean =>
  name === column && others.length === 0

/** Found by the Bloom index. The planner estimates its cost by the order of its ids: see `migrations/0011_reads.sql`. */
const inBloom = (sql: SqlClient, condition: Fragment): NonNullable<Part["transaction"]> => ({
  condition: sql`${condition} and t.id >= 0`,
  index: "few"
})

export type Filters = typeof filters

type Fields = {
  readonly [F in keyof Filters]: Schema.optional<Filters[F]["schema"]>
}

const fields = Object.fromEntries(
  Object.entries(filters).map(([field, { schema }]) => [field, Schema.optional(schema as Schema.Schema<unknown>)])
) as unknown as Fields

/**
 * Which changes (or transactions, or actions) a read shows. Every field is optional, and all that are given must hold. If a field takes
 * several values, one of them must hold. The fields are those of `FilterInput`, which says what each of them is.
 *
 * A decoded filter is valid input again. Equal filters decode to one value: tables are sorted, and `1.0` is `1`. A value that
 * PostgreSQL cannot hold is an `InvalidRequest`: a NUL, half of a surrogate pair, a number beyond `numeric`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Filter = Schema.Struct({
  ...fields,
  /** Together with `correlationId`: also transactions that carry it without an action. */
  includeCaptureOnly: Schema.optional(Flag),
  order,
  ...paging
})

/**
 * A filter that was decoded.
 *
 * @since 0.1.0
 * @category models
 */
export interface Filter extends Schema.Schema.Type<typeof Filter> {}
