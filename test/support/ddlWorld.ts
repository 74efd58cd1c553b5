/** A database of a host as its catalog and its tables have it at an instant: what random histories of DDL are made from and judged by. */
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { parse, stringify } from "../../src/internal/core/json.js"
import type { JsonObject, JsonValue } from "../../src/internal/core/jsonValue.js"
import type { Session } from "./adversarial.js"
import { instantNow } from "./instantNow.js"

const Column = Schema.Struct({
  attnum: Schema.Number,
  name: Schema.String,
  type: Schema.String,
  /** What the column's comment says: `masked` and `excluded` hold secrets. */
  role: Schema.NullOr(Schema.String),
  generated: Schema.String,
  identity: Schema.String
})

export type Column = typeof Column.Type

const Partition = Schema.Struct({
  schema: Schema.String,
  name: Schema.String,
  bound: Schema.String
})

const Table = Schema.Struct({
  oid: Schema.String,
  schema: Schema.String,
  name: Schema.String,
  kind: Schema.String,
  /** What the table's comment says: how its capture is configured. */
  options: Schema.NullOr(Schema.String),
  columns: Schema.Array(Column),
  /** Columns of the primary key, in its order. */
  key: Schema.Array(Schema.String),
  keyConstraint: Schema.NullOr(Schema.String),
  /** Numbers of the columns by which the record tells its rows apart; null if it is not captured. */
  recordedKey: Schema.NullOr(Schema.Array(Schema.Number)),
  partitions: Schema.Array(Partition)
})

export type Table = typeof Table.Type

const World = Schema.Struct({
  tables: Schema.Array(Table),
  schemas: Schema.Array(Schema.String),
  labels: Schema.Array(Schema.String)
})

/** Tables by schema and name, partitions under their roots; schemas of the host, and the values of its enum. */
export type World = typeof World.Type

const hostSchemas = "n.nspname !~ '^(pg_|information_schema$|threadline$)'"

const worldQuery = (captured: boolean) => `
  select json_build_object(
    'tables', (
      select coalesce(json_agg(t order by t.schema, t.name), '[]')
      from (
        select c.oid::text as oid, n.nspname as schema, c.relname as name, c.relkind as kind,
          obj_description(c.oid, 'pg_class') as options,
          (
            select coalesce(json_agg(json_build_object(
              'attnum', a.attnum, 'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
              'role', col_description(c.oid, a.attnum), 'generated', a.attgenerated, 'identity', a.attidentity
            ) order by a.attnum), '[]')
            from pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
          ) as columns,
          (
            select coalesce(json_agg(a.attname order by k.place), '[]')
            from pg_index i
            cross join unnest(i.indkey::int2[]) with ordinality k (attnum, place)
            join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
            where i.indrelid = c.oid and i.indisprimary
          ) as key,
          (select k.conname from pg_constraint k where k.conrelid = c.oid and k.contype = 'p') as "keyConstraint",
          ${
            captured
              ? `(
            select coalesce(jsonb_path_query_array(p.key_columns, '$[*].attnum'), '[]')
            from threadline.capture_policies p
            where p.relation = c.oid and p.removed_at is null
            order by p.applied_at desc
            limit 1
          )`
              : "null"
          } as "recordedKey",
          (
            select coalesce(json_agg(json_build_object(
              'schema', pn.nspname, 'name', p.relname, 'bound', pg_get_expr(p.relpartbound, 0)
            ) order by pn.nspname, p.relname), '[]')
            from pg_inherits i
            join pg_class p on p.oid = i.inhrelid
            join pg_namespace pn on pn.oid = p.relnamespace
            where i.inhparent = c.oid
          ) as partitions
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't' and ${hostSchemas}
      ) t
    ),
    'schemas', (select coalesce(json_agg(n.nspname order by n.nspname), '[]') from pg_namespace n where ${hostSchemas}),
    'labels', (
      select coalesce(json_agg(e.enumlabel order by e.enumsortorder), '[]')
      from pg_enum e join pg_type y on y.oid = e.enumtypid
      where y.typname = 'mood'
    )
  ) as world`

const decodeWorld = Schema.decodeUnknownSync(Schema.parseJson(World))

/** The world as a session sees it. The recorded keys are those of a database with capture. */
export const readWorld = (session: Session, captured: boolean): Effect.Effect<World, SqlError> =>
  Effect.map(session.value(worldQuery(captured)), (text) => decodeWorld(text))

/** The table's name as SQL writes it. */
export const nameOf = ({ name, schema }: { readonly schema: string; readonly name: string }): string =>
  `${schema}.${name}`

/** The columns that a table has, and their names and types, at some time of its life. */
export type Layout = ReadonlyArray<Column>

/** A row, by the numbers of its columns. */
export interface Row {
  readonly key: string | null
  readonly values: ReadonlyMap<number, JsonValue>
}

/** A table at an instant. */
export interface Standing {
  readonly table: Table
  readonly rows: ReadonlyArray<Row>
}

/** All tables at an instant at which no transaction is open. */
export interface Note {
  readonly at: string
  readonly tables: ReadonlyArray<Standing>
}

const textOf = (value: JsonValue | undefined): string => (typeof value === "string" ? value : stringify(value ?? null))

const keyTextOf = (table: Table, image: JsonObject): string | null => {
  const columns =
    table.recordedKey === null
      ? table.key
      : table.recordedKey
          .flatMap((attnum) => table.columns.filter((column) => column.attnum === attnum))
          .map(({ name }) => name)
  const texts = columns.map((name) => textOf(image[name]))
  return texts.length === 0 ? null : texts.length === 1 ? String(texts[0]) : JSON.stringify(texts)
}

/** What images are made under. */
export const pinned =
  "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set bytea_output = 'hex'; set extra_float_digits = 1"

export const takeNote = Effect.fnUntraced(function* (session: Session): Effect.fn.Return<Note, SqlError> {
  const at = String(yield* session.value(instantNow))
  const { tables } = yield* readWorld(session, true)
  const found =
    tables.length === 0
      ? []
      : yield* session.rows(
          tables
            .map((table) => `select '${table.oid}' as oid, to_jsonb(t.*)::text as image from ${nameOf(table)} t`)
            .join(" union all ")
        )
  return {
    at,
    tables: tables.map((table) => ({
      table,
      rows: found
        .filter(({ oid }) => oid === table.oid)
        .map(({ image }): Row => {
          const fields = parse(image ?? "{}") as JsonObject
          return {
            key: keyTextOf(table, fields),
            values: new Map(table.columns.map(({ attnum, name }) => [attnum, fields[name] ?? null]))
          }
        })
    }))
  }
})

/** What a host sees of its tables, whatever they are called inside. */
export const contents = Effect.fnUntraced(function* (
  session: Session
): Effect.fn.Return<ReadonlyArray<string>, SqlError> {
  const { tables } = yield* readWorld(session, false)
  return tables.length === 0
    ? []
    : (yield* session.column(
        tables
          .map((table) => `select '${nameOf(table)} ' || to_jsonb(t.*)::text from ${nameOf(table)} t`)
          .join(" union all ")
      ))
        .map(String)
        .sort()
})

/** The text of a value, the same for a number and a string that says it. */
export { textOf }
