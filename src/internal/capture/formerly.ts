/**
 * Former names that are declared in configuration: what is wrong with them, and how they differ from what is deployed.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { CaptureError } from "./captureError.js"
import type { Catalog, Name } from "./catalogModel.js"
import type { Difference } from "./difference.js"
import { hostMend } from "./mend.js"
import type { Policy, TableConfig } from "./model.js"
import type { FormerNameProblem } from "./refusal.js"
import { label, sameName, type ConfiguredTable } from "./resolve.js"
import { nearest } from "../core/suggest.js"
import * as TableName from "../core/tableName.js"
import { qualified } from "../sql/sqlText.js"

/** The former names of a table in its configuration, which `readConfigs` has checked. */
export const formerNamesOf = ({ formerly = [] }: TableConfig): ReadonlyArray<Name> =>
  formerly.flatMap((text) => Either.match(TableName.parse(text), { onLeft: () => [], onRight: (name) => [name] }))

export interface FormerColumn {
  readonly column: string
  readonly formerly: string
}

export const formerColumnsOf = ({ columns = {} }: TableConfig): ReadonlyArray<FormerColumn> =>
  Object.entries(columns).flatMap(([column, { formerly = [] }]) => formerly.map((name) => ({ column, formerly: name })))

const refuse = (table: Name, name: string, why: FormerNameProblem, of: string | null = null, meant?: string) =>
  new CaptureError({
    table: label(table),
    refusal: { reason: "FormerNameUnusable", name, why, of },
    mend: meant === undefined ? hostMend("leaveOut", ["formerly"]) : hostMend("nameMeant", [meant])
  })

/** Mistakes that the configuration alone shows: a name of the table itself, a name declared by two tables or columns, or a circle. */
export const checkFormerNames = (
  configuredTables: ReadonlyArray<ConfiguredTable>
): Effect.Effect<void, CaptureError> => {
  const declared = configuredTables.map((table) => ({ table, names: formerNamesOf(table.config) }))
  const reaches = (from: Name, to: Name, seen: ReadonlyArray<Name>): boolean =>
    !seen.some((other) => sameName(other, from)) &&
    (declared.find(({ table }) => sameName(table, from))?.names ?? []).some(
      (name) => sameName(name, to) || reaches(name, to, [...seen, from])
    )
  for (const { names, table } of declared) {
    for (const [place, name] of names.entries()) {
      if (sameName(name, table)) {
        return refuse(table, label(name), "present name")
      }
      const other = declared.find(
        (candidate) => candidate.table !== table && candidate.names.some((theirs) => sameName(theirs, name))
      )
      if (other !== undefined || names.slice(0, place).some((earlier) => sameName(earlier, name))) {
        return refuse(table, label(name), "twice", label(other?.table ?? table))
      }
      if (reaches(name, table, [])) {
        return refuse(table, label(name), "circle")
      }
    }
    const columns = formerColumnsOf(table.config)
    for (const [place, { column, formerly }] of columns.entries()) {
      if (column === formerly) {
        return refuse(table, formerly, "present name")
      }
      const earlier = columns.slice(0, place).find((candidate) => candidate.formerly === formerly)
      if (earlier !== undefined) {
        return refuse(table, formerly, "twice", earlier.column)
      }
    }
  }
  return Effect.void
}

const SeenRows = Schema.Array(
  Schema.Struct({ schema: Schema.String, name: Schema.String, seen: Schema.Literal("true", "false") })
)
const decodeSeen = Schema.decodeUnknown(SeenRows)

const seenStatement = (storage: string): string => `
  select w.schema, w.name, (
    exists (select from ${qualified(storage, "policy_of")}(w.schema, w.name))
    or exists (
      select from ${qualified(storage, "audit_changes")} c where c.table_schema = w.schema and c.table_name = w.name)
  )::text as seen
  from jsonb_to_recordset($1::jsonb) as w (schema text, name text)`

/**
 * Mistakes that the record shows. A declared name that it has never seen is misspelt. A name that another table has declared
 * belongs to that table.
 */
export const checkSeen = Effect.fnUntraced(function* (
  sql: SqlClient,
  storage: string,
  catalog: Catalog,
  configuredTables: ReadonlyArray<ConfiguredTable>
) {
  const declared = configuredTables.flatMap((table) => formerNamesOf(table.config).map((name) => ({ table, name })))
  if (declared.length === 0) {
    return
  }
  const rows = yield* Effect.flatMap(
    sql.unsafe(seenStatement(storage), [JSON.stringify(declared.map(({ name }) => name))]),
    decodeSeen
  )
  for (const { name, table } of declared) {
    if (rows.some((row) => sameName(row, name) && row.seen === "false")) {
      const names = [...catalog.active, ...catalog.deployed.flatMap(({ policy }) => policy.formerNames)]
      yield* refuse(table, label(name), "never seen", null, nearest(label(name), names.map(label)))
    }
    const other = catalog.deployed.find(
      ({ policy }) =>
        !configuredTables.some((configured) =>
          sameName(configured, { schema: policy.tableSchema, name: policy.tableName })
        ) && policy.formerNames.some((former) => former.declared && sameName(former, name))
    )
    if (other !== undefined) {
      yield* refuse(
        table,
        label(name),
        "twice",
        label({ schema: other.policy.tableSchema, name: other.policy.tableName })
      )
    }
  }
})

/** Declared names that the policy does not know yet, and those that it should no longer have. */
export const formerDifferences = (policy: Policy, config: TableConfig): ReadonlyArray<Difference> => {
  const names = formerNamesOf(config)
  const columns = formerColumnsOf(config)
  const text = ({ column, formerly }: FormerColumn) => `${column} (${formerly})`
  const isSame = (a: FormerColumn, b: FormerColumn) => a.column === b.column && a.formerly === b.formerly
  const added = [
    ...names.filter((name) => !policy.formerNames.some((former) => sameName(former, name))).map(label),
    ...columns.filter((column) => !policy.formerColumns.some((former) => isSame(former, column))).map(text)
  ]
  const removed = [
    ...policy.formerNames
      .filter((former) => former.declared && !names.some((name) => sameName(former, name)))
      .map(label),
    ...policy.formerColumns
      .filter((former) => former.declared && !columns.some((column) => isSame(former, column)))
      .map(text)
  ]
  return added.length + removed.length === 0 ? [] : [{ _tag: "formerly", added, removed }]
}
