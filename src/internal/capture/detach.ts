/**
 * Steps that end a capture: of a table, of a partition that left, of a name that a table no longer has.
 */
import type { Catalog, Table } from "./catalogModel.js"
import { activePolicies, called, functionOwners, partitionLabels, policyName } from "./diff.js"
import { functionNames, watchfulOf } from "./generate/names.js"
import type { Policy } from "./model.js"
import { findTable, label, type Resolved, sameName } from "./resolve.js"
import { spreadOf } from "./spread.js"
import * as statements from "./statements.js"
import type { Step } from "./step.js"
import type { PlanOptions, TablePlan } from "./tablePlan.js"

/** The functions that the triggers of a table call, and the function that each of these asks whether the table was altered. */
const calledWithWatchful = (table: Table): ReadonlyArray<string> =>
  [...called(table)].flatMap((functionName) => [functionName, watchfulOf(functionName)])

/** Functions that belong to this table alone, and that nothing calls after its steps are done. */
export const staleFunctions = (
  catalog: Catalog,
  resolved: Resolved,
  superseded: ReadonlyArray<Policy>
): ReadonlyArray<string> => {
  const currentFunctions = functionNames(resolved.name)
  const supersededNames = superseded.map(policyName)
  const isAnothers = (functionName: string): boolean => {
    const owner = functionOwners(catalog).get(functionName)
    return owner !== undefined && ![...supersededNames, resolved.name].some((name) => sameName(name, owner))
  }
  // A clone, or a renamed table, still calls them.
  const leaving = knownPartitions(catalog, resolved, superseded)
  const elsewhere = new Set(
    catalog.strays
      .filter((stray) => !leaving.has(label(stray)))
      .flatMap(({ triggers }) => triggers.flatMap(({ calls }) => (calls === null ? [] : [calls, watchfulOf(calls)])))
  )
  const candidates = new Set([
    ...calledWithWatchful(resolved.table),
    ...[...supersededNames, resolved.name].flatMap((name) => functionNames(name))
  ])
  const installed = new Set(catalog.functions.map(({ name }) => name))
  return [...candidates]
    .filter(
      (name) => installed.has(name) && !currentFunctions.includes(name) && !isAnothers(name) && !elsewhere.has(name)
    )
    .sort()
}

/** Partitions that a table is known to have had, under this name or those before. */
const knownPartitions = (
  catalog: Catalog,
  { name }: Resolved,
  superseded: ReadonlyArray<Policy>
): ReadonlySet<string> =>
  new Set(
    [...superseded, ...activePolicies(catalog).filter((policy) => sameName(policyName(policy), name))].flatMap(
      ({ partitions }) => partitions
    )
  )

/**
 * Steps for partitions that the policy knows and the table no longer has. If such a partition still has triggers, its changes
 * are recorded under its own name.
 */
export const partitionsThatLeft = (
  storage: string,
  catalog: Catalog,
  resolved: Resolved,
  policy: Policy | undefined,
  superseded: ReadonlyArray<Policy>,
  options: PlanOptions
): Array<Step> => {
  const functions = new Set([resolved.name, ...superseded.map(policyName)].flatMap((name) => functionNames(name)))
  const formerPartitions = knownPartitions(catalog, resolved, superseded)
  const strays = catalog.strays.filter(
    (stray) =>
      formerPartitions.has(label(stray)) && stray.triggers.some(({ calls }) => calls !== null && functions.has(calls))
  )
  const presentPartitions = new Set(partitionLabels(resolved.table))
  const leftPartitions = new Set([
    ...(policy?.partitions ?? []).filter((partition) => !presentPartitions.has(partition)),
    ...strays.map(label)
  ])
  return [...leftPartitions].sort().map((partition) => {
    const stray = strays.find((candidate) => label(candidate) === partition)
    // The rows of a partitioned table are those of its partitions, and these left with it.
    const mark =
      options.markPartitions === true &&
      stray !== undefined &&
      stray.kind !== "p" &&
      policy?.partitions.includes(partition) === true
    return {
      kind: "detach partition",
      table: resolved.label,
      partition,
      gone: stray === undefined,
      marked: mark,
      lapse: false,
      sql: [
        ...(stray?.triggers ?? [])
          .filter(({ calls, cloned }) => calls !== null && !cloned)
          .map(({ name }) => statements.dropTrigger(stray ?? resolved.name, name)),
        ...statements.asOwner(catalog.storage.owner, [
          statements.forgetPartition(storage, resolved.name, partition),
          // Marked rows are known again, so a noted lapse ends before them.
          ...(mark
            ? [
                statements.closeLapse(storage, resolved.name),
                statements.markRows(storage, stray, resolved.name, "delete")
              ]
            : [])
        ])
      ],
      lessRedaction: []
    }
  })
}

/** The steps that end the capture of a table. Its history and its policy row stay. */
export const planDetach = (
  storage: string,
  catalog: Catalog,
  policy: Policy,
  reason: "requested" | "not configured"
): TablePlan => {
  const name = policyName(policy)
  const table = findTable(catalog, name)
  const ownFunctions = new Set(
    [...functionNames(name), ...(table === undefined ? [] : calledWithWatchful(table))].filter((functionName) => {
      const owner = functionOwners(catalog).get(functionName)
      return owner === undefined || sameName(owner, name)
    })
  )
  const relations = [...catalog.tables.flatMap((captured) => captured.relations), ...catalog.strays]
  const triggers = relations.flatMap((relation) =>
    relation.triggers
      .filter(({ calls, cloned }) => calls !== null && ownFunctions.has(calls) && !cloned)
      .map((trigger) => statements.dropTrigger(relation, trigger.name))
  )
  const installed = new Set(catalog.functions.map((row) => row.name))
  const steps: ReadonlyArray<Step> = [
    {
      kind: "detach",
      table: label(name),
      reason,
      capturedAs: null,
      sql: [
        ...statements.asOwner(catalog.storage.owner, [
          statements.workBegins(storage, name),
          statements.noteLapse(storage, name)
        ]),
        ...new Set(triggers),
        ...statements.asOwner(catalog.storage.owner, [
          ...[...ownFunctions]
            .filter((functionName) => installed.has(functionName))
            .sort()
            .map((functionName) => statements.dropFunction(storage, functionName)),
          statements.retirePolicy(storage, name),
          // A table that took this name takes over what is recorded under it.
          ...(table === undefined ? [statements.releaseNames(storage, name)] : []),
          statements.workEnds(storage, name, "removed")
        ])
      ],
      lessRedaction: []
    }
  ]
  return {
    steps,
    names: [name],
    needs: (table?.relations ?? []).map((relation) => ({ relation, privilege: "ownership" })),
    spread: spreadOf(table?.relations ?? [], [], steps)
  }
}
