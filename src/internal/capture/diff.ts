/**
 * What differs between a table as it should be captured and what is installed. Plans and findings both use it.
 */
import { createHash } from "node:crypto"
import type { Catalog, Deployed, Name, Relation, Table, TriggerRow } from "./catalogModel.js"
import type { Policy } from "./model.js"
import { hiding, nameOf, type Redactions, redactionsOfPolicy } from "./redaction.js"
import { findDeployed, findGap, findTable, label, relationShape, sameName } from "./resolve.js"
import type { ColumnShape, Generated, TableShape, Trigger } from "./generate/model.js"
import { generate } from "./generate/generate.js"
import { functionNames } from "./generate/names.js"
import { functionSource, triggerStatements } from "./generate/print.js"

/** One trigger as generated, with its statements in order and what the catalog will say of it. */
export interface Expected extends Pick<Trigger, "always" | "calls" | "name"> {
  readonly conditional: boolean
  readonly sql: ReadonlyArray<string>
  /** `pg_trigger.tgtype`. */
  readonly type: number
}

/** The triggers of one relation, compared with those that it should have. */
export interface RelationState {
  readonly relation: Relation
  readonly expected: ReadonlyArray<Expected>
  readonly missing: ReadonlyArray<Expected>
  /** They call another function, or differ in whether they have a condition. */
  readonly altered: ReadonlyArray<Expected>
  /** Disabled, or enabled in the wrong way (`always` or not). Includes those that PostgreSQL cloned from the parent. */
  readonly disabled: ReadonlyArray<TriggerRow>
  /** Threadline's triggers that should not be here, or that have the wrong level or event. They are dropped before others are made. */
  readonly surplus: ReadonlyArray<TriggerRow>
  /** Names of triggers of the host that Threadline needs for its own. */
  readonly colliding: ReadonlyArray<string>
}

/** The bits of `pg_trigger.tgtype`. */
const eventBits: Record<Trigger["event"], number> = { insert: 4, delete: 8, update: 16, truncate: 32 }

const triggerType = ({ event, level, timing }: Trigger): number =>
  (level === "row" ? 1 : 0) | (timing === "before" ? 2 : 0) | eventBits[event]

const expectedTriggers = (
  storage: string,
  generated: Generated,
  relation: Relation,
  serverVersion: number
): ReadonlyArray<Expected> => {
  const shape = relationShape(relation)
  return generated
    .triggers(shape)
    .filter(({ event }) => event !== "truncate" || seesTruncate(relation, serverVersion))
    .map((trigger) => ({
      name: trigger.name,
      sql: triggerStatements(storage, shape, trigger),
      type: triggerType(trigger),
      always: trigger.always,
      conditional: trigger.condition !== undefined,
      calls: trigger.calls
    }))
}

/** Foreign tables have TRUNCATE triggers since PostgreSQL 16. */
const seesTruncate = (relation: Relation, serverVersion: number): boolean =>
  relation.kind !== "f" || serverVersion >= 160000

/** Relations whose TRUNCATE fires no trigger. */
export const truncateUnseen = ({ relations }: Table, serverVersion: number): ReadonlyArray<string> =>
  relations.filter((relation) => !seesTruncate(relation, serverVersion)).map(label)

/** Relations that a crash empties. */
export const unloggedRelations = ({ relations }: Table): ReadonlyArray<string> =>
  relations.filter(({ unlogged }) => unlogged).map(label)

export const relationState = (
  storage: string,
  generated: Generated,
  relation: Relation,
  shape: TableShape,
  serverVersion: number
): RelationState => {
  const expected = expectedTriggers(storage, generated, relation, serverVersion)
  const ownTriggers = relation.triggers.filter(({ calls }) => calls !== null)
  const expectedFor = (trigger: TriggerRow) =>
    expected.find(({ name, type }) => trigger.name === name && trigger.type === type && !trigger.cloned)
  const matches = ({ calls, conditional }: Expected, installed: TriggerRow) =>
    installed.calls === calls && installed.conditional === conditional
  return {
    relation,
    expected,
    missing: expected.filter(
      (trigger) => !ownTriggers.some((installed) => expectedFor(installed)?.name === trigger.name)
    ),
    altered: expected.filter((trigger) =>
      ownTriggers.some((installed) => expectedFor(installed)?.name === trigger.name && !matches(trigger, installed))
    ),
    disabled: ownTriggers.filter((trigger) => {
      const always = trigger.cloned ? shape.always : expectedFor(trigger)?.always
      return always !== undefined && trigger.enabled !== (always ? "A" : "O")
    }),
    surplus: ownTriggers.filter((trigger) => !trigger.cloned && expectedFor(trigger) === undefined),
    colliding: relation.triggers
      .filter(({ calls: ours, name }) => ours === null && expected.some((trigger) => trigger.name === name))
      .map(({ name }) => name)
  }
}

const installedFunctions = new WeakMap<Catalog["functions"], ReadonlyMap<string, Catalog["functions"][number]>>()

/** The functions of the schema by name; computed once for a catalog, because every table asks for its own. */
export const functionsByName = ({ functions }: Catalog): ReadonlyMap<string, Catalog["functions"][number]> => {
  const cached = installedFunctions.get(functions)
  if (cached !== undefined) {
    return cached
  }
  const byName = new Map(functions.map((row) => [row.name, row]))
  installedFunctions.set(functions, byName)
  return byName
}

/** Generated functions that the schema lacks, and those that it has with another body. */
export const functionState = (catalog: Catalog, { functions, watchful }: Generated) => {
  const names = [watchful, ...functions.map(({ name }) => name)]
  const installed = functionsByName(catalog)
  const hashOf = (generated: Generated["functions"][number]) =>
    createHash("sha256").update(functionSource(generated)).digest("hex")
  return {
    missing: names.filter((name) => !installed.has(name)),
    altered: functions
      .filter(
        (generated) => installed.has(generated.name) && installed.get(generated.name)?.bodyHash !== hashOf(generated)
      )
      .map(({ name }) => name),
    /** Owned by a role other than the owner of the schema. They would run with the wrong privileges. */
    foreign: names.flatMap((name) => installed.get(name) ?? []).filter(({ owner }) => owner !== catalog.storage.owner)
  }
}

/** The shape a deployed policy was generated from. */
const policyShape = (policy: Policy, table: Table): TableShape => ({
  schema: policy.tableSchema,
  name: policy.tableName,
  columns: policy.columns,
  key: policy.key,
  mode: policy.mode,
  partitioned: table.relations[0].kind === "p",
  always: policy.always,
  onTruncate: policy.truncate,
  ...redactionsOfPolicy(policy)
})

/**
 * The shape that the installed code was generated from, and that code. A renamed table keeps the code of its former name until capture is
 * applied.
 */
export const installedSource = (
  storage: string,
  policy: Policy,
  table: Table
): { readonly shape: TableShape; readonly source: Generated } => {
  const shape = policyShape(policy, table)
  const former = policy.formerNames
    .filter(({ declared }) => !declared)
    .map(({ name, schema }) => ({ ...shape, schema, name }))
    .reverse()
  const present = { shape, source: generate(storage, shape) }
  if (present.source.sourceHash === policy.sourceHash) {
    return present
  }
  return (
    former
      .map((each) => ({ shape: each, source: generate(storage, each) }))
      .find(({ source }) => source.sourceHash === policy.sourceHash) ?? present
  )
}

export const policyName = (policy: Policy): Name => ({ schema: policy.tableSchema, name: policy.tableName })

export const activePolicies = (catalog: Catalog): ReadonlyArray<Policy> =>
  catalog.deployed.map(({ policy }) => policy).filter(({ removedAt }) => removedAt === null)

export const called = (table: Table): ReadonlySet<string> =>
  new Set(table.relations.flatMap(({ triggers }) => triggers.flatMap(({ calls }) => (calls === null ? [] : [calls]))))

const owners = new WeakMap<Catalog, ReadonlyMap<string, Name>>()

/** Which captured table each function belongs to; computed once for a catalog. */
export const functionOwners = (catalog: Catalog): ReadonlyMap<string, Name> => {
  const cached = owners.get(catalog)
  if (cached !== undefined) {
    return cached
  }
  const ownersOfNames = new Map(
    catalog.active.flatMap((name) => functionNames(name).map((functionName) => [functionName, name]))
  )
  owners.set(catalog, ownersOfNames)
  return ownersOfNames
}

/**
 * Policies whose table is this one under an earlier name, or has become a partition of it: their functions are called
 * here, and no table of their name is captured any more.
 */
export const supersededPolicies = (catalog: Catalog, name: Name, table: Table): ReadonlyArray<Policy> => {
  const ownFunctions = functionNames(name)
  const foreignFunctions = [...called(table)].filter((functionName) => !ownFunctions.includes(functionName))
  const otherOwners = foreignFunctions.flatMap((functionName) => {
    const owner = functionOwners(catalog).get(functionName)
    return owner === undefined || sameName(owner, name) ? [] : [owner]
  })
  return otherOwners.length === 0
    ? []
    : activePolicies(catalog).filter((policy) => {
        const formerName = policyName(policy)
        return (
          otherOwners.some((otherOwner) => sameName(otherOwner, formerName)) &&
          (findTable(catalog, formerName) === undefined ||
            table.relations.some((relation) => relation.level > 0 && sameName(relation, formerName)))
        )
      })
}

/** What must stay equal for a column to keep its type. The name is not enough: a type may be made anew under the same name. */
const typeText = ({ comparison, pins, type, virtual }: ColumnShape): string =>
  JSON.stringify([type, comparison, pins, virtual])

export interface ColumnChanges {
  readonly added: ReadonlyArray<string>
  readonly dropped: ReadonlyArray<string>
  readonly renamed: ReadonlyArray<readonly [from: string, to: string]>
  readonly retyped: ReadonlyArray<string>
}

/**
 * Columns that have another name now, while a column still has their former name: names were exchanged, or a new column took one.
 * A restored table numbers its columns anew, but in the same order. Then nothing was exchanged.
 */
export const exchanged = (
  policy: Policy,
  columns: ReadonlyArray<Pick<ColumnShape, "attnum" | "name">>
): ReadonlyArray<readonly [from: string, to: string]> => {
  const places = [...policy.columns]
    .sort((a, b) => a.attnum - b.attnum)
    .flatMap((policyColumn) => columns.filter(({ name }) => name === policyColumn.name).map(({ attnum }) => attnum))
  return places.every((place, index) => index === 0 || place > (places[index - 1] ?? 0))
    ? []
    : policy.columns.flatMap((policyColumn) =>
        columns
          .filter(({ attnum, name }) => attnum === policyColumn.attnum && name !== policyColumn.name)
          .map(({ name }) => [policyColumn.name, name] as const)
      )
}

/** Whether the policy was applied to this very table. Only then do the numbers of columns tell a rename from a drop and an add. */
export interface Sameness {
  readonly isSameTable: boolean
}

/** What became of the columns since the policy was applied. */
export const columnChanges = (
  policy: Policy,
  columns: ReadonlyArray<ColumnShape>,
  { isSameTable }: Sameness
): ColumnChanges => {
  const droppedColumns = policy.columns.filter(
    (policyColumn) => !columns.some(({ name }) => name === policyColumn.name)
  )
  const newColumns = columns.filter((column) => !policy.columns.some(({ name }) => name === column.name))
  const renamed = isSameTable
    ? [
        ...droppedColumns.flatMap((policyColumn): ReadonlyArray<readonly [string, string]> =>
          newColumns
            .filter(({ attnum }) => attnum === policyColumn.attnum)
            .map((column) => [policyColumn.name, column.name])
        ),
        ...exchanged(policy, columns).filter(([from]) => !droppedColumns.some(({ name }) => name === from))
      ]
    : []
  return {
    added: newColumns.map(({ name }) => name).filter((name) => !renamed.some(([, to]) => to === name)),
    dropped: droppedColumns.map(({ name }) => name).filter((name) => !renamed.some(([from]) => from === name)),
    renamed,
    retyped: columns
      .filter((column) =>
        policy.columns.some(
          (policyColumn) => policyColumn.name === column.name && typeText(policyColumn) !== typeText(column)
        )
      )
      .map(({ name }) => name)
  }
}

/** How much of a column as a whole is hidden. */
const level = ({ excluded, masked, masks }: Redactions, name: string): number =>
  hiding(excluded.includes(name) ? "exclude" : masked.includes(name) ? (masks[name] ?? "[masked]") : undefined)

/** How much of a path inside a column is hidden, by itself or with what it is a part of. */
const levelInside = (redactions: Redactions, column: string, path: ReadonlyArray<string>): number =>
  Math.max(
    level(redactions, column),
    ...(redactions.paths[column] ?? [])
      .filter((each) => each.path.every((part, place) => part === path[place]))
      .map(({ as }) => hiding(as))
  )

/**
 * Columns that would show more than they did when the table was last captured. A redacted column that is gone was either dropped
 * or renamed. If the catalog cannot tell which, any new column could be the renamed one.
 */
export const lessRedaction = (
  catalog: Catalog,
  shape: TableShape,
  table: Table,
  superseded: ReadonlyArray<Policy>
): ReadonlyArray<string> => {
  const previous =
    findDeployed(catalog, shape) ??
    catalog.deployed.find(({ policy, relation }) => relation === table.oid && superseded.includes(policy))
  return previous === undefined ? [] : lessRedacted(previous, shape, table)
}

const lessRedacted = ({ policy, relation }: Deployed, shape: TableShape, table: Table): ReadonlyArray<string> => {
  const before = redactionsOfPolicy(policy)
  const isSameTable = relation === table.oid
  const elsewhere = new Map(isSameTable ? exchanged(policy, table.columns) : [])
  const inside = Object.entries(policy.paths).flatMap(([column, paths]) => {
    const presentName = elsewhere.get(column) ?? column
    return paths
      .filter(({ as, path }) => levelInside(shape, presentName, path) < hiding(as))
      .map(({ path }) => nameOf({ column: presentName, path }))
  })
  const whole = [...policy.exclude, ...policy.mask].flatMap((name) => {
    const levelBefore = level(before, name)
    const presentName = elsewhere.get(name) ?? name
    if (table.columns.some((column) => column.name === presentName)) {
      return level(shape, presentName) < levelBefore ? [presentName] : []
    }
    const attnum = policy.columns.find((policyColumn) => policyColumn.name === name)?.attnum
    const suspects = isSameTable
      ? table.columns.filter((column) => column.attnum === attnum)
      : table.columns.filter((column) => !policy.columns.some((policyColumn) => policyColumn.name === column.name))
    return suspects.some((column) => level(shape, column.name) < levelBefore) ? [name] : []
  })
  return [...whole, ...inside]
}

/**
 * Finds the partitions that the policy of a table does not know: of another name than those it knows, or of the name of one and another
 * relation.
 */
export const unknownTo = (catalog: Catalog, policy: Policy): ((relation: Relation) => boolean) => {
  const known = new Set(policy.partitions)
  for (const other of findGap(catalog, policyName(policy)).otherPartitions) {
    known.delete(label(other))
  }
  return (relation) => relation.level > 0 && !known.has(label(relation))
}

/** Partitions by the names the policy keeps. */
export const partitionLabels = (table: Table): ReadonlyArray<string> =>
  table.relations.filter(({ level: depth }) => depth > 0).map(label)
