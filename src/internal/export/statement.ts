/**
 * The query of an export: the changes that `search` finds, each with its transaction and its first action, as strings of a format.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Either from "effect/Either"
import { InvalidRequest } from "../../ThreadlineError.js"
import { bytesOfMarked } from "../core/notUtf8.js"
import { actionColumns, transactionColumns } from "../record/change.js"
import type { Storage } from "../record/storage.js"
import { shownChangeColumns } from "../record/visible.js"
import type { EveryChange } from "../search/everything.js"
import { literal } from "../sql/sqlText.js"
import { Unwritable, type Write, written } from "../sql/written.js"
import { areOfFields, fieldsOf, selected, selectedBytes } from "./columns.js"
import type { Rows } from "./copy.js"
import { actorColumn, changeDocument, describedTransaction, keyColumn } from "./document.js"
import { hasColumns, type Request } from "./request.js"
import { shapeColumns, shapedDocument } from "./shapes.js"

/** The changes as rows `s`, in order, each with the columns of its transaction and action. The sort also makes PostgreSQL compute each column only once. */
const listed = (storage: Storage, { changes, order }: EveryChange, condition: Fragment | undefined): Fragment => {
  const { name, sql } = storage
  return sql`
  select ${shownChangeColumns(storage)}, ${transactionColumns(sql)}, ${actionColumns(sql)}, ${actorColumn(storage)}
  from (${changes}) c
  left join ${name("audit_transactions")} t on t.id = c.transaction_id
  left join ${name("audit_actions")} a on a.id = t.action_id${
    condition === undefined
      ? sql``
      : sql`
  where ${condition}`
  }
  order by ${order}`
}

/** The same, with what a document has of its key and of its transaction. */
const described = (
  storage: Storage,
  { changes, order }: EveryChange,
  condition: Fragment | undefined,
  isShaped: boolean
): Fragment => {
  const { sql } = storage
  return sql`
  select ${shownChangeColumns(storage)}, ${keyColumn(storage)}${isShaped ? sql`, ${shapeColumns(storage)}` : sql``}, x.*
  from (${changes}) c${describedTransaction(storage, condition)}
  order by ${order}`
}

const query = (
  storage: Storage,
  { columns, format, raw, shape }: Request,
  found: EveryChange,
  condition: Fragment | undefined
): Fragment => {
  const { sql } = storage
  const rows = hasColumns(format)
    ? listed(storage, found, condition)
    : described(storage, found, condition, shape !== undefined)
  switch (format) {
    case "csv":
      return sql`
select ${selected(storage, columns, !raw)}
from (${rows}
) s${areOfFields(columns) ? fieldsOf(storage) : sql``}`
    case "parquet":
      return sql`
select ${selectedBytes(storage, columns)}
from (${rows}
) s${areOfFields(columns) ? fieldsOf(storage) : sql``}`
    case "ndjson":
    case "json":
      return sql`
select ${shape === undefined ? changeDocument(storage, format === "json" ? "," : "") : shapedDocument(storage, shape)} as line
from (${rows}
) s`
  }
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
      binary: request.format === "parquet",
      header: request.format === "csv" ? request.columns : undefined,
      anyBytes: storage.anyBytes
    }),
    catch: (error) => {
      if (error instanceof Unwritable) {
        return unwritable()
      }
      throw error
    }
  })
