/**
 * From one table's configuration and the catalog to the shape its triggers are generated from, or to the reason why it
 * cannot be captured as asked.
 */
import * as Either from "effect/Either"
import type { Catalog, ColumnRow, Deployed, Name, Relation, Table } from "./catalog.js"
import { CaptureError, type Mode, type Reason, type TableConfig } from "./model.js"
import type { ColumnShape, KeyColumn, RelationShape, TableShape } from "./generate/model.js"
import { nearest } from "../core/suggest.js"
import { typeFacts } from "./types.js"
import * as TableName from "../core/tableName.js"

export interface Wanted extends Name {
  readonly config: TableConfig
}

export interface Resolved {
  readonly name: Name
  /** As people write it. */
  readonly label: string
  readonly config: TableConfig
  readonly table: Table
  readonly shape: TableShape
  readonly relations: ReadonlyArray<{ readonly row: Relation; readonly shape: RelationShape }>
  readonly acknowledgeCasts: boolean
}

export const label = (name: Name): string => TableName.format(name)

export const sameName = (a: Name, b: Name): boolean => a.schema === b.schema && a.name === b.name

export const findTable = (catalog: Catalog, name: Name): Table | undefined =>
  catalog.tables.find((table) => sameName(table.relations[0], name))

export const findDeployed = (catalog: Catalog, name: Name): Deployed | undefined =>
  catalog.deployed.find(({ policy }) => policy.tableSchema === name.schema && policy.tableName === name.name)

/** The kinds of relation that triggers can capture: tables, partitioned tables, foreign tables. */
const relationKinds: ReadonlyMap<string, RelationShape["kind"]> = new Map([
  ["r", "table"],
  ["p", "partitioned"],
  ["f", "foreign"]
])

const otherKinds: ReadonlyMap<string, string> = new Map([
  ["v", "a view; capture the tables under it"],
  ["m", "a materialized view; capture the tables under it"],
  ["S", "a sequence"],
  ["c", "a composite type"],
  ["i", "an index"],
  ["I", "an index"],
  ["t", "a TOAST table"]
])

export const relationShape = (row: Relation): RelationShape => ({
  schema: row.schema,
  name: row.name,
  position: row.level === 0 ? "root" : "partition",
  kind: relationKinds.get(row.kind) ?? "table"
})

export const resolve = (
  catalog: Catalog,
  storage: string,
  wanted: Wanted,
  knownNames: ReadonlyArray<string>
): Either.Either<Resolved, CaptureError> => {
  const { config } = wanted
  const table = label(wanted)
  const refuse = (reason: Reason, detail: string, hint: string) =>
    Either.left(new CaptureError({ reason, table, detail, hint }))

  const found = findTable(catalog, wanted)
  if (found === undefined) {
    const meant = nearest(table, knownNames)
    const renamed = findDeployed(catalog, wanted)?.relationNow
    return refuse(
      "UnknownTable",
      "there is no such table",
      renamed
        ? `it seems to have been renamed to ${label(renamed)}: name that instead`
        : meant === undefined
          ? "name it as in SQL; a table without a schema is looked up in public"
          : `did you mean ${meant}?`
    )
  }
  const root = found.relations[0]
  if (root.schema === storage) {
    return refuse("OwnTable", "it belongs to Threadline", "capture the tables of the application")
  }
  if (root.temporary) {
    return refuse("TemporaryTable", "it is a temporary table", "only permanent tables are captured")
  }
  if (root.system) {
    return refuse("SystemTable", "it belongs to PostgreSQL", "capture the tables of the application")
  }
  if (!relationKinds.has(root.kind)) {
    return refuse(
      "NotATable",
      `it is ${otherKinds.get(root.kind)?.split(";")[0] ?? "no table"}`,
      otherKinds.get(root.kind)?.split("; ")[1] ?? "only tables are captured"
    )
  }
  if (root.partitionOf !== null) {
    return refuse(
      "PartitionNamed",
      `it is a partition of ${label(root.partitionOf)}`,
      `name ${label(root.partitionOf)}: its partitions are captured with it`
    )
  }

  return Either.gen(function* () {
    const columns = columnShapes(catalog, found)
    const excluded = yield* columnNames(found, wanted, catalog, "exclude", config.exclude ?? [])
    const masked = yield* columnNames(found, wanted, catalog, "mask", config.mask ?? [])
    const both = excluded.filter((name) => masked.includes(name))
    if (both[0] !== undefined) {
      yield* refuse("ExcludedAndMasked", `column ${both[0]} is both excluded and masked`, "keep one of the two")
    }

    const key = yield* keyOf(catalog, found, wanted)
    const hidden = key.find(({ name }) => excluded.includes(name) || masked.includes(name))
    if (hidden !== undefined) {
      yield* refuse(
        "KeyRedacted",
        `column ${hidden.name} belongs to the key, which every change carries in the clear`,
        "leave it out of exclude and mask"
      )
    }

    const casting = columns.find(({ hostCasts }) => hostCasts.length > 0)
    if (casting !== undefined && config.acknowledgeCasts !== true) {
      yield* refuse(
        "HostCast",
        `column ${casting.shape.name}: type ${casting.hostCasts.join(", ")} has a cast to json that anybody who owns the type can ` +
          `write, and capture would run it as ${catalog.storage.owner}`,
        "drop the cast, or set acknowledgeCasts; excluding the column does not keep the cast from running"
      )
    }

    const mode = yield* modeOf(found, wanted)
    const onTruncate = config.truncate ?? "event"
    if (onTruncate === "rows") {
      const foreign = found.relations.find(({ kind }) => kind === "f")
      const secured = found.relations.find(({ rowSecurity }) => rowSecurity)
      if (foreign !== undefined) {
        yield* refuse(
          "TruncateUnsupported",
          `${label(foreign)} is a foreign table, whose rows may not be readable when it is truncated`,
          `use truncate "event" or "refuse"`
        )
      }
      if (secured !== undefined) {
        yield* refuse(
          "TruncateUnsupported",
          `${label(secured)} has row level security, which may hide rows from ${catalog.storage.owner}`,
          `use truncate "event" or "refuse"`
        )
      }
    }

    return {
      name: { schema: root.schema, name: root.name },
      label: table,
      config,
      table: found,
      shape: {
        schema: root.schema,
        name: root.name,
        columns: columns.map(({ shape }) => shape),
        key,
        mode,
        always: config.always ?? false,
        onTruncate,
        excluded,
        masked
      },
      relations: found.relations.map((row) => ({ row, shape: relationShape(row) })),
      acknowledgeCasts: config.acknowledgeCasts ?? false
    }
  })
}

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

const columnNames = (
  table: Table,
  wanted: Wanted,
  catalog: Catalog,
  option: "exclude" | "mask" | "key",
  names: ReadonlyArray<string>
): Either.Either<ReadonlyArray<string>, CaptureError> => {
  const virtual = names.find((name) => table.columns.some((column) => column.name === name && column.virtual))
  if (virtual !== undefined) {
    return Either.left(
      new CaptureError({
        reason: "UnknownColumn",
        table: label(wanted),
        detail: `${option} names column ${virtual}, which is generated when it is read: no change holds it`,
        hint: `leave it out of ${option}`
      })
    )
  }
  const unknown = names.find((name) => !table.columns.some((column) => column.name === name))
  if (unknown === undefined) {
    return Either.right(option === "key" ? names : [...new Set(names)].sort())
  }
  const renamed = renamedTo(catalog, wanted, table, unknown)
  const meant = nearest(
    unknown,
    table.columns.map(({ name }) => name)
  )
  return Either.left(
    new CaptureError({
      reason: "UnknownColumn",
      table: label(wanted),
      detail: `${option} names column ${unknown}, which the table does not have`,
      hint:
        renamed !== undefined
          ? `it was renamed to ${renamed.name} since the table was last applied`
          : meant === undefined
            ? "columns are given by their exact names"
            : `did you mean ${meant}?`
    })
  )
}

/** What a column known to the deployed policy is called today, where the table is the very one it was applied to. */
const renamedTo = (catalog: Catalog, name: Name, table: Table, column: string): ColumnRow | undefined => {
  const deployed = findDeployed(catalog, name)
  if (deployed === undefined || deployed.relation !== table.oid) {
    return undefined
  }
  const attnum = deployed.policy.columns.find((known) => known.name === column)?.attnum
  return table.columns.find((current) => current.attnum === attnum && current.name !== column)
}

export const primaryKey = (table: Table): ReadonlyArray<string> | undefined =>
  table.indexes.find(({ primary }) => primary)?.columns.filter((name) => name !== null)

/** The key the catalog gives, whatever is configured: the primary key, or none. */
const keyOf = (catalog: Catalog, table: Table, wanted: Wanted): Either.Either<ReadonlyArray<KeyColumn>, CaptureError> =>
  Either.gen(function* () {
    const primary = primaryKey(table)
    const declared = yield* columnNames(table, wanted, catalog, "key", wanted.config.key ?? [])
    if (declared.length > 0 && primary !== undefined) {
      if (declared.length !== primary.length || declared.some((name, place) => name !== primary[place])) {
        yield* Either.left(
          new CaptureError({
            reason: "KeyDiffers",
            table: label(wanted),
            detail: `the key given is (${declared.join(", ")}), the primary key is (${primary.join(", ")})`,
            hint: "a table that has a primary key is identified by it: leave the key out"
          })
        )
      }
    } else if (declared.length > 0) {
      const why = whyNotKey(table, declared)
      if (why !== undefined) {
        yield* Either.left(
          new CaptureError({ reason: "KeyUnusable", table: label(wanted), detail: why.detail, hint: why.hint })
        )
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

/** Why a unique index does not make these columns a key, if it does not. */
export const whyNotKey = (
  table: Table,
  names: ReadonlyArray<string>
): { readonly detail: string; readonly hint: string } | undefined => {
  const list = names.join(", ")
  const nullable = names.filter((name) => table.columns.some((column) => column.name === name && !column.notNull))
  if (nullable.length > 0) {
    return {
      detail: `the key (${list}) may be null in ${nullable.join(", ")}`,
      hint: "set the columns not null, or leave the key out"
    }
  }
  const over = table.indexes.filter(
    ({ columns }) => columns.length === names.length && names.every((name) => columns.includes(name))
  )
  if (over.some(({ usable }) => usable)) {
    return undefined
  }
  const unusable = over[0]
  return unusable === undefined
    ? { detail: `no unique index covers exactly (${list})`, hint: "create one, or leave the key out" }
    : {
        detail: `index ${unusable.name} over (${list}) does not identify rows`,
        hint: "it must be unique, valid, checked at once, and without a predicate"
      }
}

/** Why statement triggers with transition tables would not do, if they would not. */
export const whyRowMode = (table: Table): string | undefined => {
  const [root] = table.relations
  const foreign = table.relations.find(({ kind }) => kind === "f")
  if (foreign !== undefined) {
    return foreign.level === 0 ? "it is a foreign table" : `its partition ${label(foreign)} is a foreign table`
  }
  if (root.inherits) {
    return "it inherits from another table"
  }
  return root.children.length > 0 ? "other tables inherit from it" : undefined
}

const modeOf = (table: Table, { config, ...name }: Wanted): Either.Either<Mode, CaptureError> => {
  const why =
    whyRowMode(table) ?? (config.always === true ? "it is captured always, also under replication" : undefined)
  if (why !== undefined && config.mode === "statement") {
    return Either.left(
      new CaptureError({
        reason: "ModeUnsupported",
        table: label(name),
        detail: `statement mode does not work here: ${why}`,
        hint: `leave mode out, or use "row"`
      })
    )
  }
  return Either.right(config.mode ?? (why === undefined ? "statement" : "row"))
}
