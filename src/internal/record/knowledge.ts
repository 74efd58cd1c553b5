/**
 * What is known of a table, for people: since when its changes are kept, and the times of which nothing is known.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { InvalidRequest, NotFound, ThreadlineError } from "../../ThreadlineError.js"
import { request } from "../core/request.js"
import { format } from "../core/tableName.js"
import { tableOf, TableSchema } from "./key.js"
import { Lapses, lapsesOf } from "./lapses.js"
import { rows, type Storage } from "./storage.js"
import { checkTables } from "./tables.js"

/**
 * What is known of a table. Instants are in UTC with microseconds.
 *
 * @since 0.1.0
 * @category schemas
 */
export const TableKnowledge = Schema.Struct({
  /** Written as in SQL. */
  table: Schema.String,
  /** Since when every change is kept, if retention removed older ones. Null if it removed none. */
  keptSince: Schema.NullOr(Schema.String),
  /**
   * Times of which nothing is known, the earlier ones first: before capture began (`since` is null), and lapses (`until` is null if it
   * lasts). `until` is not part of the time.
   */
  unknown: Schema.Array(Schema.Struct({ since: Schema.NullOr(Schema.String), until: Schema.NullOr(Schema.String) }))
}).annotations({ identifier: "threadline.TableKnowledge" })

/**
 * @since 0.1.0
 * @category models
 */
export interface TableKnowledge extends Schema.Schema.Type<typeof TableKnowledge> {}

const KnowledgeRequest = Schema.Struct({ table: TableSchema })

const KnownRow = Schema.Struct({ known: Lapses })

export const knowledge = Effect.fnUntraced(function* (
  storage: Storage,
  table: string
): Effect.fn.Return<TableKnowledge, InvalidRequest | NotFound | ThreadlineError> {
  const name = tableOf((yield* request(KnowledgeRequest)({ table })).table)
  yield* checkTables(storage, [name])
  const [row] = yield* rows(KnownRow, storage.sql`select ${lapsesOf(storage, name)} as known`)
  const { keptSince = null, times = [] } = row?.known ?? {}
  const [first] = times
  const begin = first?.[0] === null ? first[1] : null
  return {
    table: format(name),
    // The oldest month that is kept begins before capture did, if nothing was removed.
    keptSince: keptSince === null || (begin !== null && keptSince <= begin) ? null : keptSince,
    unknown: times.map(([since, until]) => ({ since, until }))
  }
})
