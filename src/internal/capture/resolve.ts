/**
 * From one table's configuration and the catalog to the shape its triggers are generated from, or to the reason why it
 * cannot be captured as asked.
 */
import * as Either from "effect/Either"
import type { Catalog, ColumnRow, Deployed, Gap, Name, Relation, Table } from "./catalogModel.js"
import { byNameOnce } from "./byName.js"
import { CaptureError } from "./captureError.js"
import { commandMend, hostMend, type HostAction, type Mend, watchCommand } from "./mend.js"
import type { Mode, TableConfig } from "./model.js"
import type { KeyProblem, Refusal, RowModeReason } from "./refusal.js"
import { gather, nameOf, readRedaction, type Redaction, type Redactions, redactionsOf } from "./redaction.js"
import type { ColumnShape, KeyColumn, RelationShape, TableShape } from "./generate/model.js"
import { nearest } from "../core/suggest.js"
import { typeFacts } from "./types.js"
import * as TableName from "../core/tableName.js"

export interface ConfiguredTable extends Name {
  readonly config: TableConfig
}

export interface Resolved {
  readonly name: Name
  /** Written as in SQL. */
  readonly label: string
  readonly config: TableConfig
  readonly table: Table
  readonly shape: TableShape
  readonly relations: ReadonlyArray<{ readonly row: Relation; readonly shape: RelationShape }>
  readonly acknowledgeCasts: boolean
  readonly dropGuard: boolean
}

export const label = (name: Name): string => TableName.format(name)

export const sameName = (a: Name, b: Name): boolean => a.schema === b.schema && a.name === b.name

const tableNamed = byNameOnce<Table>(({ relations: [root] }) => root)
const deployedNamed = byNameOnce<Deployed>(({ policy }) => ({ schema: policy.tableSchema, name: policy.tableName }))
const gapNamed = byNameOnce<Gap>((gap) => gap)

export const findTable = (catalog: Catalog, name: Name): Table | undefined => tableNamed(catalog.tables, name)

export const findDeployed = (catalog: Catalog, name: Name): Deployed | undefined =>
  deployedNamed(catalog.deployed, name)

const noGap = {
  gap: null,
  since: null,
  moved: [],
  otherPartitions: [],
  alteredTypes: [],
  rewritten: [],
  shownOtherwise: [],
  unread: false,
  restarted: false,
  elsewhere: false
} as const

/** Why nothing is known of a captured table at present, and which of its partitions moved. */
export const findGap = (catalog: Catalog, name: Name): Omit<Gap, "name" | "schema"> =>
  gapNamed(catalog.gaps, name) ?? noGap

/** The kinds of relation that triggers can capture: tables, partitioned tables, foreign tables. */
const relationKinds: ReadonlyMap<string, RelationShape["kind"]> = new Map([
  ["r", "table"],
  ["p", "partitioned"],
  ["f", "foreign"]
])

const otherKinds: ReadonlyMap<string, Extract<Refusal, { readonly reason: "NotATable" }>["relationKind"]> = new Map([
  ["v", "view"],
  ["m", "materialized view"],
  ["S", "sequence"],
  ["c", "composite type"],
  ["i", "index"],
  ["I", "index"],
  ["t", "TOAST table"]
])

export const relationShape = (row: Relation): RelationShape => ({
  schema: row.schema,
  name: row.name,
  position: row.level === 0 ? "root" : "partition",
  kind: relationKinds.get(row.kind) ?? "table"
})

/** The shape of a table as it is configured, or the first reason why it cannot be captured so. */
export const resolve = (
  catalog: Catalog,
  storage: string,
  configured: ConfiguredTable,
  knownNames: ReadonlyArray<string>
): Either.Either<Resolved, CaptureError> =>
  Either.gen(function* () {
    const { config } = configured
    const table = yield* capturableTable(catalog, storage, configured, knownNames)
    const [root] = table.relations
    const columns = columnShapes(catalog, table)
    const redactions = yield* redactionsFor(catalog, table, configured)
    yield* knownColumns(table, configured, catalog, "columns", Object.keys(config.columns ?? {}))
    const key = yield* keyOf(catalog, table, configured)
    yield* keyInTheClear(configured, key, redactions)
    yield* castsAcknowledged(catalog, configured, columns)
    yield* guardWatched(catalog, configured)
    const mode = yield* modeOf(table, configured)
    const onTruncate = yield* truncateOf(catalog, table, configured)
    return {
      name: { schema: root.schema, name: root.name },
      label: label(configured),
      config,
      table,
      shape: {
        schema: root.schema,
        name: root.name,
        columns: columns.map(({ shape }) => shape),
        key,
        mode,
        partitioned: root.kind === "p",
        always: config.always ?? false,
        onTruncate,
        ...redactions
      },
      relations: table.relations.map((row) => ({ row, shape: relationShape(row) })),
      acknowledgeCasts: config.acknowledgeCasts ?? false,
      dropGuard: config.dropGuard ?? false
    }
  })

/** The table of this name, if it is one that triggers can capture by itself. */
const capturableTable = (
  catalog: Catalog,
  storage: string,
  configured: ConfiguredTable,
  knownNames: ReadonlyArray<string>
): Either.Either<Table, CaptureError> => {
  const refuse = (refusal: Refusal, action: HostAction, names: ReadonlyArray<string> = []) =>
    refused(configured, refusal, hostMend(action, names))

  const table = findTable(catalog, configured)
  if (table === undefined) {
    const renamed = findDeployed(catalog, configured)?.relationNow
    return refused(
      configured,
      { reason: "UnknownTable" },
      renamed
        ? hostMend("nameRenamed", [label(renamed)])
        : mendOf(nearest(label(configured), knownNames), "nameAsInSql")
    )
  }
  const [root] = table.relations
  if (root.schema === storage) {
    return refuse({ reason: "OwnTable" }, "captureApplicationTables")
  }
  if (root.temporary) {
    return refuse({ reason: "TemporaryTable" }, "capturePermanentTables")
  }
  if (root.system) {
    return refuse({ reason: "SystemTable" }, "captureApplicationTables")
  }
  if (!relationKinds.has(root.kind)) {
    const relationKind = otherKinds.get(root.kind) ?? "other"
    return refuse(
      { reason: "NotATable", relationKind },
      relationKind === "view" || relationKind === "materialized view" ? "captureTablesUnder" : "captureTables"
    )
  }
  if (root.partitionOf !== null) {
    const rootLabel = label(root.partitionOf)
    return refuse({ reason: "PartitionNamed", root: rootLabel }, "nameRoot", [rootLabel])
  }
  return Either.right(table)
}

/** Refuses a redaction of the key: every change carries it. */
const keyInTheClear = (
  configured: ConfiguredTable,
  key: ReadonlyArray<KeyColumn>,
  redactions: Redactions
): Either.Either<void, CaptureError> => {
  const redactedColumns = redactionsOf(redactions).map(({ column }) => column)
  const redactedKeyColumn = key.find(({ name }) => redactedColumns.includes(name))
  return redactedKeyColumn === undefined
    ? Either.right(undefined)
    : refused(
        configured,
        { reason: "KeyRedacted", column: redactedKeyColumn.name },
        hostMend("leaveOut", ["exclude", "mask"])
      )
}

/** Refuses casts that the host can write, which capture would run as the owner of the record, unless they are acknowledged. */
const castsAcknowledged = (
  { storage: { owner } }: Catalog,
  configured: ConfiguredTable,
  columns: ReadonlyArray<DescribedColumn>
): Either.Either<void, CaptureError> => {
  const casting = columns.find(({ hostCasts }) => hostCasts.length > 0)
  return casting === undefined || configured.config.acknowledgeCasts === true
    ? Either.right(undefined)
    : refused(
        configured,
        { reason: "HostCast", column: casting.shape.name, types: casting.hostCasts, owner },
        hostMend("dropCast")
      )
}

/** Refuses a drop guard without the schema watch, which does its work. */
const guardWatched = ({ watch }: Catalog, configured: ConfiguredTable): Either.Either<void, CaptureError> =>
  configured.config.dropGuard === true && watch.state !== "on"
    ? refused(configured, { reason: "WatchMissing", watch: watch.state }, commandMend(watchCommand))
    : Either.right(undefined)

/** What a TRUNCATE leaves. Refuses to keep rows that the owner of the record may not be able to read. */
const truncateOf = (
  { storage: { owner } }: Catalog,
  table: Table,
  configured: ConfiguredTable
): Either.Either<TableShape["onTruncate"], CaptureError> => {
  const onTruncate = configured.config.truncate ?? "event"
  const foreignTable = table.relations.find(({ kind }) => kind === "f")
  const unreadable = foreignTable ?? table.relations.find(({ rowSecurity }) => rowSecurity)
  return onTruncate !== "rows" || unreadable === undefined
    ? Either.right(onTruncate)
    : refused(
        configured,
        {
          reason: "TruncateUnsupported",
          relation: label(unreadable),
          why: foreignTable === undefined ? "row security" : "foreign table",
          owner
        },
        hostMend("chooseTruncate")
      )
}

/**
 * The redactions of a table. Refuses columns that it does not have, paths into columns that are not json, and parts named
 * twice.
 */
const redactionsFor = (
  catalog: Catalog,
  table: Table,
  configured: ConfiguredTable
): Either.Either<Redactions, CaptureError> =>
  Either.gen(function* () {
    const { exclude = [], mask = [] } = configured.config
    const names = table.columns.map(({ name }) => name)
    const excluded = exclude.map((entry) => readRedaction(entry, names, "exclude"))
    const masked = mask.map((entry) => readRedaction(entry, names, "mask"))
    const columnsOf = (redactions: ReadonlyArray<Redaction>) => redactions.map(({ column }) => column)
    yield* knownColumns(table, configured, catalog, "exclude", columnsOf(excluded))
    yield* knownColumns(table, configured, catalog, "mask", columnsOf(masked))
    const redactedColumns = [...excluded, ...masked]
    for (const [place, one] of redactedColumns.entries()) {
      const other = redactedColumns.slice(0, place).find((earlier) => overlap(earlier, one))
      if (other !== undefined) {
        yield* refused(
          configured,
          (other.as === "exclude") !== (one.as === "exclude")
            ? { reason: "ExcludedAndMasked", column: nameOf(one) }
            : { reason: "RedactedTwice", columns: [nameOf(other), nameOf(one)] },
          hostMend("keepOne")
        )
      }
      const column = table.columns.find(({ name }) => name === one.column)
      if (one.path.length > 0 && column !== undefined && !isJson(catalog, column)) {
        yield* refused(
          configured,
          { reason: "PathUnsupported", column: one.column, type: column.type, path: nameOf(one) },
          hostMend("nameColumnsExactly")
        )
      }
    }
    return gather(
      redactedColumns.filter(
        (one, place) => redactedColumns.findIndex((each) => nameOf(each) === nameOf(one)) === place
      )
    )
  })

/**
 * Whether two redactions contradict: both are about the same part, or one is about a part of the other. An exact repetition is
 * allowed.
 */
const overlap = (a: Redaction, b: Redaction): boolean => {
  const shared = Math.min(a.path.length, b.path.length)
  return (
    a.column === b.column &&
    a.path.slice(0, shared).every((part, place) => part === b.path[place]) &&
    !(a.as === b.as && a.path.length === b.path.length)
  )
}

const isJson = (catalog: Catalog, { typeOid }: ColumnRow): boolean => {
  const type = catalog.types.find(({ oid }) => oid === typeOid)
  const base = type?.kind === "d" ? catalog.types.find(({ oid }) => oid === type.base) : type
  return base?.builtin === true && (base.name === "json" || base.name === "jsonb")
}

const refused = (table: Name, refusal: Refusal, mend: Mend) =>
  Either.left(new CaptureError({ table: label(table), refusal, mend }))

/** The name that was probably meant. Otherwise another thing to do. */
const mendOf = (name: string | undefined, otherwise: HostAction): Mend =>
  name === undefined ? hostMend(otherwise) : hostMend("nameMeant", [name])

export interface DescribedColumn {
  readonly shape: ColumnShape
  readonly hostCasts: ReadonlyArray<string>
}

export const columnShapes = (catalog: Catalog, table: Table): ReadonlyArray<DescribedColumn> => {
  const types = new Map(catalog.types.map((type) => [type.oid, type]))
  return table.columns.map((column) => {
    const facts = typeFacts(column.typeOid, types)
    return {
      shape: {
        name: column.name,
        attnum: column.attnum,
        type: column.type,
        comparison: facts.comparison,
        pins: facts.pins,
        virtual: column.virtual
      },
      hostCasts: facts.hostCasts
    }
  })
}

/**
 * The names, if the table has such columns and they are not virtual. In the order of the key for `key`, otherwise sorted and each once.
 */
const knownColumns = (
  table: Table,
  configured: ConfiguredTable,
  catalog: Catalog,
  option: "exclude" | "mask" | "key" | "columns",
  names: ReadonlyArray<string>
): Either.Either<ReadonlyArray<string>, CaptureError> => {
  const virtualColumn = names.find((name) => table.columns.some((column) => column.name === name && column.virtual))
  if (virtualColumn !== undefined) {
    return refused(
      configured,
      { reason: "UnknownColumn", option, column: virtualColumn, virtual: true },
      hostMend("leaveOut", [option])
    )
  }
  const unknownColumn = names.find((name) => !table.columns.some((column) => column.name === name))
  if (unknownColumn === undefined) {
    return Either.right(option === "key" ? names : [...new Set(names)].sort())
  }
  const renamed = renamedTo(catalog, configured, table, unknownColumn)
  const columnNames = table.columns.map(({ name }) => name)
  return refused(
    configured,
    { reason: "UnknownColumn", option, column: unknownColumn, virtual: false },
    renamed === undefined
      ? mendOf(nearest(unknownColumn, columnNames), "nameColumnsExactly")
      : hostMend("correctColumn", [renamed.name])
  )
}

/** The present name of a column that the deployed policy knows, if this is the very table that the policy was applied to. */
const renamedTo = (catalog: Catalog, name: Name, table: Table, column: string): ColumnRow | undefined => {
  const deployed = findDeployed(catalog, name)
  if (deployed === undefined || deployed.relation !== table.oid) {
    return undefined
  }
  const attnum = deployed.policy.columns.find((policyColumn) => policyColumn.name === column)?.attnum
  return table.columns.find((current) => current.attnum === attnum && current.name !== column)
}

export const primaryKey = (table: Table): ReadonlyArray<string> | undefined =>
  table.indexes.find(({ primary }) => primary)?.columns.filter((name) => name !== null)

/**
 * The columns that identify a row: the primary key, else the declared key, else none. Refuses a declared key that differs from
 * the primary key, or that no unique index backs.
 */
const keyOf = (
  catalog: Catalog,
  table: Table,
  configured: ConfiguredTable
): Either.Either<ReadonlyArray<KeyColumn>, CaptureError> =>
  Either.gen(function* () {
    const primary = primaryKey(table)
    const declared = yield* knownColumns(table, configured, catalog, "key", configured.config.key ?? [])
    if (declared.length > 0 && primary !== undefined) {
      if (declared.length !== primary.length || declared.some((name, place) => name !== primary[place])) {
        yield* refused(
          configured,
          { reason: "KeyDiffers", key: declared, primaryKey: primary },
          hostMend("leaveKeyOut")
        )
      }
    } else if (declared.length > 0) {
      const problem = keyProblem(table, declared)
      if (problem !== undefined) {
        yield* refused(configured, { reason: "KeyUnusable", problem }, hostMend(keyMend(problem)))
      }
    }
    return keyColumns(catalog, table, primary ?? declared)
  })

const keyColumns = (catalog: Catalog, table: Table, names: ReadonlyArray<string>): ReadonlyArray<KeyColumn> => {
  const types = new Map(catalog.types.map((type) => [type.oid, type]))
  return names.flatMap((name) =>
    table.columns
      .filter((column) => column.name === name)
      .map((column) => ({
        name,
        attnum: column.attnum,
        type: column.type,
        text: typeFacts(column.typeOid, types).keyText
      }))
  )
}

/** Why these columns are no key. Undefined if a unique index makes them one. */
export const keyProblem = (table: Table, key: ReadonlyArray<string>): KeyProblem | undefined => {
  const nullable = key.filter((name) => table.columns.some((column) => column.name === name && !column.notNull))
  if (nullable.length > 0) {
    return { key, nullable, index: null }
  }
  const over = table.indexes.filter(
    ({ columns }) => columns.length === key.length && key.every((name) => columns.includes(name))
  )
  return over.some(({ usable }) => usable) ? undefined : { key, nullable: [], index: over[0]?.name ?? null }
}

const keyMend = ({ index, nullable }: KeyProblem): HostAction =>
  nullable.length > 0 ? "setNotNull" : index === null ? "createUniqueIndex" : "changeIndex"

/** Why statement triggers with transition tables cannot be used. Undefined if they can. */
export const whyRowMode = (table: Table): RowModeReason | undefined => {
  const [root] = table.relations
  const foreignTable = table.relations.find(({ kind }) => kind === "f")
  if (foreignTable !== undefined) {
    return foreignTable.level === 0
      ? { cause: "foreign table", relation: null }
      : { cause: "foreign partition", relation: label(foreignTable) }
  }
  if (root.inherits) {
    return { cause: "inherits", relation: null }
  }
  return root.children.length > 0 ? { cause: "inherited", relation: null } : undefined
}

/**
 * Whether a foreign table may become a partition. From then on, PostgreSQL would refuse writes that reach it if the table has
 * statement triggers with transition tables. A unique index of the table keeps foreign tables out.
 */
export const admitsForeign = ({ indexes, relations: [root] }: Table): boolean =>
  root.kind === "p" && !indexes.some(({ unique }) => unique)

const modeOf = (table: Table, { config, ...name }: ConfiguredTable): Either.Either<Mode, CaptureError> => {
  const why: RowModeReason | undefined =
    whyRowMode(table) ?? (config.always === true ? { cause: "always", relation: null } : undefined)
  return why !== undefined && config.mode === "statement"
    ? refused(name, { reason: "ModeUnsupported", why }, hostMend("leaveModeOut"))
    : Either.right(config.mode ?? (why === undefined && !admitsForeign(table) ? "statement" : "row"))
}
