/**
 * The names that a table and its columns had, for people.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { InvalidRequest, NotFound, ThreadlineError } from "../../ThreadlineError.js"
import { request } from "../core/request.js"
import { format } from "../core/tableName.js"
import { tableOf, TableSchema } from "./key.js"
import type { Storage } from "./storage.js"
import { checkTables, resolveTables } from "./tables.js"

/** Instants in UTC with microseconds; null if the time has no such end. */
const time = { since: Schema.NullOr(Schema.String), until: Schema.NullOr(Schema.String) }

/**
 * The names under which a table is recorded, and the former names of its columns. Each name is valid from `since` up to `until`;
 * `until` is not part of the time.
 *
 * @since 0.1.0
 * @category schemas
 */
export const TableNames = Schema.Struct({
  table: Schema.String,
  /** Written as in SQL, the earlier names first. */
  names: Schema.Array(Schema.Struct({ table: Schema.String, ...time })),
  columns: Schema.Array(Schema.Struct({ column: Schema.String, formerly: Schema.String, ...time }))
}).annotations({ identifier: "threadline.TableNames" })

/**
 * @since 0.1.0
 * @category models
 */
export interface TableNames extends Schema.Schema.Type<typeof TableNames> {}

const NamesRequest = Schema.Struct({ table: TableSchema })

export const names = Effect.fnUntraced(function* (
  storage: Storage,
  table: string
): Effect.fn.Return<TableNames, InvalidRequest | NotFound | ThreadlineError> {
  const decoded = yield* request(NamesRequest)({ table })
  const name = tableOf(decoded.table)
  yield* checkTables(storage, [name])
  const [resolved] = yield* resolveTables(storage, [name])
  return {
    table: decoded.table,
    names: (resolved?.spans ?? []).map(({ since, until, ...span }) => ({ table: format(span), since, until })),
    columns: resolved?.columns ?? []
  }
})
