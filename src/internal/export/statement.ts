/**
 * The query of an export: the changes that `search` finds, each with its transaction and its first action, as strings of a format.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Either from "effect/Either"
import { InvalidRequest } from "../../ThreadlineError.js"
import { bytesOfMarked } from "../core/notUtf8.js"
import type { Storage } from "../record/storage.js"
import { shownChangeColumns } from "../record/visible.js"
import type { EveryChange } from "../search/everything.js"
import { literal } from "../sql/sqlText.js"
import { Unwritable, type Write, written } from "../sql/written.js"
import { areOfFields, cellsOfTransaction, fieldsOf, selected } from "./columns.js"
import type { Rows } from "./copy.js"
import { changeDocument, describedTransaction, keyColumn, lineFeed, restOfTransaction } from "./document.js"
import { hasColumns, type Request } from "./request.js"
import { shapeColumns, shapedDocument } from "./shapes.js"

/**
 * The changes as rows `s`, in order, each with the columns of its transaction and its action, and with what is `made` of those. The sort
 * also makes PostgreSQL compute each column only once.
 */
const listed = (
  storage: Storage,
  { changes, order }: EveryChange,
  condition: Fragment | undefined,
  extra: ReadonlyArray<Fragment>,
  made: ReadonlyArray<Fragment>
): Fragment => {
  const { sql } = storage
  return sql`
  select ${sql.csv([shownChangeColumns(storage), ...extra, "x.*"])}
  from (${changes}) c${describedTransaction(storage, condition, made)}
  order by ${order}`
}

const query = (
  storage: Storage,
  { columns, format, shape }: Request,
  found: EveryChange,
  condition: Fragment | undefined
): Fragment => {
  const { anyBytes, sql } = storage
  if (hasColumns(format)) {
    return sql`
select ${selected(storage, columns)}
from (${listed(storage, found, condition, [], cellsOfTransaction(storage, columns))}
) s${areOfFields(columns) ? fieldsOf(storage) : sql``}`
  }
  const isShaped = shape !== undefined
  const line = isShaped
    ? sql`(${shapedDocument(storage, shape)}${sql.literal(lineFeed)})`
    : changeDocument(storage, format === "json" ? "," : "")
  const key = keyColumn(storage)
  return sql`
select ${anyBytes ? sql`pg_catalog.convert_to(${line}, 'SQL_ASCII')` : line} as line
from (${listed(storage, found, condition, isShaped ? [key, shapeColumns(storage)] : [key], [restOfTransaction(storage, isShaped ? "" : lineFeed)])}
) s`
}

/** In a database without an encoding, a string may hold bytes that cannot be sent as a string. */
const writeBytes: Write = (text) => {
  const bytes = bytesOfMarked(text)
  return bytes === undefined
    ? literal(text)
    : `pg_catalog.convert_from(pg_catalog.decode('${bytes.toString("hex")}', 'hex'), 'SQL_ASCII')`
}

const unwritable = () =>
  new InvalidRequest({
    field: "scope",
    rule: "binds values that an export cannot write into its statement: let the template of the condition hold them"
  })

/** The query to copy. The condition is one on the transaction `t`. */
export const rowsOf = (
  storage: Storage,
  request: Request,
  found: EveryChange,
  condition: Fragment | undefined
): Either.Either<Rows, InvalidRequest> =>
  Either.try({
    try: () => ({
      query: written(storage.sql, query(storage, request, found, condition), storage.anyBytes ? writeBytes : literal),
      anyBytes: storage.anyBytes
    }),
    catch: (error) => {
      if (error instanceof Unwritable) {
        return unwritable()
      }
      throw error
    }
  })
