/**
 * How a finding is mended by applying its table: with which command, or what has to be done first.
 */
import * as Either from "effect/Either"
import type { Catalog, Deployed, Table } from "./catalogModel.js"
import { columnChanges, policyName } from "./diff.js"
import { applyCommand, type Argv, commandMend, type HostAction, hostMend, type Mend, sqlMend } from "./mend.js"
import type { TableConfig } from "./model.js"
import { planTable } from "./plan.js"
import { columnShapes, type ConfiguredTable, label, primaryKey, resolve } from "./resolve.js"
import * as TableName from "../core/tableName.js"

/** How to apply this table: a command if that is enough, otherwise what to do first. */
export interface Apply {
  readonly mend: Mend
  /** Apply, after something that only the host can do. */
  readonly after: (action: HostAction, names?: ReadonlyArray<string>) => Mend
  /** Apply alone if that is enough, otherwise apply after the host has corrected its configuration. */
  readonly corrected: (action: HostAction) => Mend
  readonly afterSql: (statements: readonly [string, ...ReadonlyArray<string>]) => Mend
}

/** The parts of a policy that options of `threadline capture apply` can express. */
interface ColumnOptions extends TableConfig {
  readonly exclude: ReadonlyArray<string>
  readonly mask: ReadonlyArray<string>
}

/**
 * The options that repeat the policy of a table which no configuration names, under the present names of its columns. A command
 * without them would ask for less redaction. Undefined if options cannot express the policy: such a table needs a
 * configuration.
 */
const configOf = (catalog: Catalog, { policy, relation }: Deployed, table: Table): ColumnOptions | undefined => {
  const { acknowledgeCasts, always, dropGuard, exclude, key, mask, masks, mode, paths, truncate } = policy
  if (
    Object.keys({ ...masks, ...paths }).length > 0 ||
    mode === "row" ||
    always ||
    acknowledgeCasts ||
    dropGuard ||
    truncate !== "event"
  ) {
    return undefined
  }
  const shapes = columnShapes(catalog, table).map(({ shape }) => shape)
  const { renamed } = columnChanges(policy, shapes, { isSameTable: relation === table.oid })
  const present = (columns: ReadonlyArray<string>) =>
    columns
      .map((column) => renamed.find(([from]) => from === column)?.[1] ?? column)
      .filter((column) => table.columns.some(({ name }) => name === column))
  const [firstKey, ...restOfKey] = primaryKey(table) === undefined ? present(key.map(({ name }) => name)) : []
  return {
    table: label(policyName(policy)),
    exclude: present(exclude),
    mask: present(mask),
    ...(firstKey === undefined ? {} : { key: [firstKey, ...restOfKey] as const })
  }
}

const commandOf = ({ exclude, key, mask, table }: ColumnOptions): Argv => {
  const option = (named: string, columns: ReadonlyArray<string>) =>
    columns.flatMap((column) => [`--${named}`, `${table}.${TableName.quote(column)}`])
  return [
    ...applyCommand,
    "--table",
    table,
    ...option("exclude", exclude),
    ...option("mask", mask),
    ...option("key", key ?? [])
  ]
}

/** Why apply would refuse a table, and what to do first. Undefined if it would not. */
const obstacle = (storage: string, catalog: Catalog, configuredTable: ConfiguredTable): Mend | undefined => {
  const planned = Either.flatMap(resolve(catalog, storage, configuredTable, []), (resolved) =>
    planTable(storage, catalog, resolved, {})
  )
  return Either.match(planned, {
    onLeft: ({ mend }) => mend,
    onRight: ({ steps }) =>
      steps.some(({ lessRedaction }) => lessRedaction.length > 0) ? hostMend("allowLessRedaction") : undefined
  })
}

/** Calls `obstructed` only when a finding needs its mend: it plans the table, and most tables have no finding. */
const applyOf = (argv: Argv, obstructed: () => Mend | undefined): Apply => {
  const after = (action: HostAction, names: ReadonlyArray<string> = []) => hostMend(action, names, { then: argv })
  let answer: { readonly refused: Mend | undefined } | undefined
  const refused = () => (answer ??= { refused: obstructed() }).refused
  const mend = (): Mend => {
    const first = refused()
    return first === undefined
      ? commandMend(argv)
      : first._tag === "command"
        ? first
        : { ...first, then: first.then ?? argv }
  }
  return {
    get mend() {
      return mend()
    },
    after,
    corrected: (action) => (refused() === undefined ? mend() : after(action)),
    afterSql: (statements) => sqlMend(statements, argv)
  }
}

/** How to apply a table: by its configuration if that names it, otherwise by options that repeat its policy. */
export const applyFor = (
  storage: string,
  catalog: Catalog,
  configuredTable: ConfiguredTable | undefined,
  deployed: Deployed | undefined,
  table: Table | undefined
): Apply => {
  if (configuredTable !== undefined) {
    return applyOf(applyCommand, () => obstacle(storage, catalog, configuredTable))
  }
  const config = deployed === undefined || table === undefined ? undefined : configOf(catalog, deployed, table)
  return deployed === undefined || config === undefined
    ? applyOf(applyCommand, () => hostMend("nameInConfiguration"))
    : applyOf(commandOf(config), () => obstacle(storage, catalog, { ...policyName(deployed.policy), config }))
}
