/**
 * Row-level security on the record. It hides rows silently, so whatever reads the record, or removes from it, refuses to work while
 * rows may be hidden from it.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { ParseError } from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { ThreadlineError } from "../../ThreadlineError.js"
import { single } from "./owned.js"
import { literal } from "./sqlText.js"

/**
 * Whether row-level security may hide rows of a table from the connected role, or from the owner of the record: what belongs to that role
 * is hidden from it if it is forced, and the functions of the record read as that role. An expression of SQL; both arguments are too,
 * a row of `pg_class` and the OID of the owner.
 */
export const mayHide = (table: string, owner: string): string => `(
    pg_catalog.row_security_active(${table}.oid)
    or ${table}.relrowsecurity
    and (${table}.relforcerowsecurity or not pg_catalog.pg_has_role(${owner}, ${table}.relowner, 'usage'))
    and not exists (select from pg_catalog.pg_roles r where r.oid = ${owner} and (r.rolsuper or r.rolbypassrls))
  )`

// Reads of a partitioned table go by its own row-level security, whatever its partitions have.
const hiddenStatement = (storage: string): string => `
select pg_catalog.format('%I.%I', n.nspname, c.relname) as name
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = ${literal(storage)}
  and c.relkind in ('r', 'p')
  and not c.relispartition
  and c.relrowsecurity
  and ${mayHide("c", "n.nspowner")}
order by c.relname`

const decode = Schema.decodeUnknown(Schema.Array(Schema.Struct({ name: Schema.String })))

/** The tables of the record whose rows may be hidden. Needs no privilege. */
const hiddenTables = (sql: SqlClient, storage: string): Effect.Effect<ReadonlyArray<string>, SqlError | ParseError> =>
  Effect.map(Effect.flatMap(single(sql.unsafe(hiddenStatement(storage))), decode), (tables) =>
    tables.map(({ name }) => name)
  )

/**
 * Fails if there are such tables: an answer from the rest would be wrong. `consequence` is the part of the sentence that says what
 * would be wrong.
 */
export const refuseHidden = (
  sql: SqlClient,
  storage: string,
  consequence: string
): Effect.Effect<void, SqlError | ParseError | ThreadlineError> =>
  Effect.flatMap(hiddenTables(sql, storage), (tables) =>
    tables.length === 0
      ? Effect.void
      : new ThreadlineError({
          reason: "RecordHidden",
          detail:
            `row-level security may hide rows of ${tables.join(", ")} from this role or from the owner of the record, ` +
            `${consequence}: disable it on these tables, or let the role bypass it`
        })
  )
