/**
 * The order of a table's columns. `jsonb` keeps no order of its own, so images do not have it.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { InvalidRequest, NotFound, ThreadlineError } from "../../ThreadlineError.js"
import { request } from "../core/request.js"
import { format, type TableName } from "../core/tableName.js"
import { tableOf, TableSchema } from "./key.js"
import { rows, type Storage, unionAll } from "./storage.js"
import { checkTables } from "./tables.js"

const OrderRow = Schema.Struct({ columns: Schema.parseJson(Schema.Array(Schema.String)) })

/** The columns that a table has in this database, by the relation that its policy knows or by its name, then those of its policy. */
const orderStatement = ({ name, sql }: Storage, table: TableName, place: number) => sql`
    select
      coalesce((
        select pg_catalog.json_agg(n.name order by n.place, n.former, n.name)
        from (
          select a.attname::text as name, a.attnum::bigint as place, 0 as former
          from pg_attribute a
          where a.attnum > 0
            and not a.attisdropped
            and a.attrelid = r.relation
          union all
          select e.formerly, coalesce(a.attnum::bigint, ${mostColumns}), 1
          from ${name("column_names")}(${table.schema}, ${table.name}) e
            left join pg_attribute a on a.attrelid = r.relation and a.attname = e.column_name
          union all
          select e.value ->> 'name'::text, ${mostColumns} + e.place, 0
          from pg_catalog.jsonb_array_elements(r.columns) with ordinality e (value, place)
        ) n
      ), '[]')::text as columns,
      ${sql.literal(String(place))} as place
    from (
      select
        p.columns,
        coalesce(
          (select c.oid from pg_class c where c.oid = p.relation and p.database = current_database()::text),
          (
            select c.oid
            from pg_class c
              join pg_namespace s on s.oid = c.relnamespace
            where s.nspname = ${table.schema}
              and c.relname = ${table.name}
          )
        ) as relation
      from (select 1) one
        left join ${name("policy_of")}(${table.schema}, ${table.name}) o on true
        left join ${name("capture_policies")} p on p.table_schema = o.policy_schema and p.table_name = o.policy_name
    ) r`

/** More columns than a table can have. */
const mostColumns = 2000

/** By a table's name as in SQL: the columns that it has, each followed by the names that it had, then those that are gone. */
export type ColumnOrder = ReadonlyMap<string, ReadonlyArray<string>>

export const columnOrder = (
  storage: Storage,
  tables: ReadonlyArray<TableName>
): Effect.Effect<ColumnOrder, ThreadlineError> => {
  const distinct = [...new Map(tables.map((table) => [format(table), table])).values()]
  if (distinct.length === 0) {
    return Effect.succeed(new Map())
  }
  const statement = storage.sql`${unionAll(distinct.map((table, place) => orderStatement(storage, table, place)))}
    order by place`
  return Effect.map(
    rows(OrderRow, statement),
    (orders) => new Map(distinct.map((table, place) => [format(table), [...new Set(orders[place]?.columns ?? [])]]))
  )
}

/** Sorts by the order of columns. Those that it does not have come last, by name. */
export const inOrder = <A>(
  items: ReadonlyArray<A>,
  columns: ReadonlyArray<string>,
  nameOf: (item: A) => string
): ReadonlyArray<A> => {
  const places = new Map(columns.map((column, place) => [column, place]))
  const placeOf = (item: A): number => places.get(nameOf(item)) ?? columns.length
  const byName = (left: A, right: A): number =>
    nameOf(left) < nameOf(right) ? -1 : nameOf(left) === nameOf(right) ? 0 : 1
  return [...items].sort((left, right) => placeOf(left) - placeOf(right) || byName(left, right))
}

const ColumnsRequest = Schema.Struct({ table: TableSchema })

/** The columns of one table that the record knows. */
export const columns = Effect.fnUntraced(function* (
  storage: Storage,
  table: string
): Effect.fn.Return<ReadonlyArray<string>, InvalidRequest | NotFound | ThreadlineError> {
  const name = tableOf((yield* request(ColumnsRequest)({ table })).table)
  yield* checkTables(storage, [name])
  const order = yield* columnOrder(storage, [name])
  return order.get(format(name)) ?? []
})
